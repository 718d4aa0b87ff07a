package basalt.engine.state;

import basalt.engine.Checks;
import java.util.Arrays;
import java.util.Optional;

/**
 * Where a sequence stands between two turns: a saved state that has consumed the first tokens of its history, and the
 * pending ones after them. Immutable; copies share the saved state, so they cost nothing.
 */
public final class SessionState {
    /** Of a sequence without tokens. */
    public static final SessionState EMPTY = new SessionState(Optional.empty(), new int[0], TokenHistory.EMPTY);

    private final Optional<SavedState> saved;
    private final int[] pending;
    private final TokenHistory history;

    private SessionState(Optional<SavedState> saved, int[] pending, TokenHistory history) {
        this.saved = saved;
        this.pending = pending;
        this.history = history;
        assert consumedCount() + pending.length == history.count() : pending.length;
    }

    /**
     * A state as it was written down.
     *
     * @param saved none if nothing is consumed
     * @param history of all tokens, the pending ones included
     */
    public static SessionState of(Optional<SavedState> saved, int[] pending, TokenHistory history) {
        long consumed = saved.map(SavedState::tokenCount).orElse(0L);
        Checks.argument(consumed + pending.length == history.count(), "history.count", history.count());
        return new SessionState(saved, pending.clone(), history);
    }

    /** What has consumed the first tokens; none if none are consumed. */
    public Optional<SavedState> saved() {
        return saved;
    }

    /** Tokens that the saved state has consumed. */
    public long consumedCount() {
        return saved.map(SavedState::tokenCount).orElse(0L);
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
        return new SessionState(saved, longer, history.append(tokens));
    }

    /** With a state that has consumed some of the pending tokens, too. */
    public SessionState advance(SavedState further) {
        long count = further.tokenCount() - consumedCount();
        Checks.argument(count >= 0 && count <= pending.length, "further.tokenCount", further.tokenCount());
        return new SessionState(
                Optional.of(further), Arrays.copyOfRange(pending, (int) count, pending.length), history);
    }
}
