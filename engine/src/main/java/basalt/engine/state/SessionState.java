package basalt.engine.state;

import basalt.engine.Checks;
import java.util.Arrays;
import java.util.Optional;

/**
 * Where a sequence stands between two turns: an image that has consumed the first tokens of its history, and the
 * pending ones after them. Immutable; states share images, so a copy costs nothing.
 */
public final class SessionState {
    /** Of a sequence without tokens. */
    public static final SessionState EMPTY = new SessionState(Optional.empty(), new int[0], TokenHistory.EMPTY);

    private final Optional<StateImage> image;
    private final int[] pending;
    private final TokenHistory history;

    private SessionState(Optional<StateImage> image, int[] pending, TokenHistory history) {
        this.image = image;
        this.pending = pending;
        this.history = history;
        assert consumedCount() + pending.length == history.count() : pending.length;
    }

    /**
     * A state as it was written down.
     *
     * @param image none if nothing is consumed; not to be changed any more
     * @param history of all tokens, the pending ones included
     */
    public static SessionState of(Optional<StateImage> image, int[] pending, TokenHistory history) {
        long consumed = image.map(StateImage::tokenCount).orElse(0L);
        Checks.argument(consumed + pending.length == history.count(), "history.count", history.count());
        return new SessionState(image, pending.clone(), history);
    }

    /** What has consumed the first tokens; none if none are consumed. Not to be changed. */
    public Optional<StateImage> image() {
        return image;
    }

    /** Tokens that the image has consumed. */
    public long consumedCount() {
        return image.map(StateImage::tokenCount).orElse(0L);
    }

    /** A copy of the tokens after those, which lead the next prefill. */
    public int[] pending() {
        return pending.clone();
    }

    /** How many those are. */
    public int pendingCount() {
        return pending.length;
    }

    /** All tokens. */
    public TokenHistory history() {
        return history;
    }

    /** All tokens, counted. */
    public long tokenCount() {
        return history.count();
    }

    /** With these tokens after all others, pending. */
    public SessionState append(int... tokens) {
        int[] longer = Arrays.copyOf(pending, Math.addExact(pending.length, tokens.length));
        System.arraycopy(tokens, 0, longer, pending.length, tokens.length);
        return new SessionState(image, longer, history.append(tokens));
    }

    /** With an image that has consumed some of the pending tokens, too. */
    public SessionState advance(StateImage further) {
        long count = further.tokenCount() - consumedCount();
        Checks.argument(count >= 0 && count <= pending.length, "further.tokenCount", further.tokenCount());
        return new SessionState(
                Optional.of(further), Arrays.copyOfRange(pending, (int) count, pending.length), history);
    }
}
