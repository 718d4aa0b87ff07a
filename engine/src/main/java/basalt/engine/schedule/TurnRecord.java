package basalt.engine.schedule;

import basalt.engine.EngineException;
import basalt.engine.FinishReason;
import basalt.engine.state.SavedState;
import basalt.engine.state.Slot;
import basalt.engine.text.TextCut;
import basalt.engine.text.TokenBytes;
import java.util.Arrays;
import java.util.Objects;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;
import org.jspecify.annotations.Nullable;

/**
 * What is kept of a session's turn so that it can leave a state behind: the tokens sampled, a spare slot, and who waits
 * for a copy. Confined to the engine thread, but for the futures.
 */
final class TurnRecord {
    private static final int TOKENS_INITIAL = 64;
    private static final byte[] NO_BYTES = {};

    private final boolean keepsStopToken;
    private final CompletableFuture<Optional<Copy>> outcome = new CompletableFuture<>();
    private @Nullable CompletableFuture<Optional<Copy>> fork; // someone waits for a copy
    private int[] tokens = new int[TOKENS_INITIAL];
    private int tokenCount;
    private @Nullable Slot spare;
    private boolean isSpareSet;
    private @Nullable TextCut end;
    private ResidentSlots.@Nullable Resident left;
    private boolean isOver;

    /**
     * A copy of the state of a running or ended turn.
     *
     * @param saved state that has consumed more than the start; empty if there is none, or it could not be rolled back
     * @param sampled tokens that belong to the history
     * @param rest bytes after those tokens, to be encoded again
     */
    @SuppressWarnings("ArrayRecordComponent") // never compared
    record Copy(Optional<SavedState> saved, int[] sampled, byte[] rest) {}

    /** @param keepsStopToken whether a stop id that ends the turn is part of the history */
    TurnRecord(boolean keepsStopToken) {
        this.keepsStopToken = keepsStopToken;
    }

    void sampled(int token) {
        if (tokenCount == tokens.length) {
            tokens = Arrays.copyOf(tokens, 2 * tokenCount);
        }
        tokens[tokenCount++] = token;
    }

    /** Notes where the text ends. */
    void ended(FinishReason reason, long visibleBytes, int stopIndex, int stopToken, @Nullable TokenBytes bytes) {
        if (reason != FinishReason.STOP && reason != FinishReason.LENGTH) {
            return;
        }
        if (stopIndex >= 0 && bytes != null) {
            end = TextCut.of(bytes, tokens, tokenCount, visibleBytes);
        } else {
            boolean dropsLast = stopToken >= 0 && !keepsStopToken;
            end = new TextCut(dropsLast ? tokenCount - 1 : tokenCount, NO_BYTES);
        }
    }

    /** Where the text ended; null before, and if the turn is to be dropped. */
    @Nullable TextCut end() {
        return end;
    }

    int[] tokens(int count) {
        return Arrays.copyOf(tokens, count);
    }

    int tokenCount() {
        return tokenCount;
    }

    @Nullable Slot spare() {
        return spare;
    }

    void spare(@Nullable Slot value) {
        spare = value;
        isSpareSet = false;
    }

    /** Whether the spare slot has a copy of the state. */
    boolean isSpareSet() {
        return isSpareSet;
    }

    void spareSet() {
        isSpareSet = true;
    }

    /** The slot with the state that the turn leaves behind; null if it leaves none. */
    ResidentSlots.@Nullable Resident left() {
        return left;
    }

    void left(ResidentSlots.Resident value) {
        left = value;
    }

    /** Whether its state is being saved, or is, or there is none; or it has failed. */
    boolean isOver() {
        return isOver || outcome.isDone();
    }

    void over() {
        isOver = true;
    }

    /** The state at the end, empty if the turn was dropped. */
    CompletableFuture<Optional<Copy>> outcome() {
        return outcome;
    }

    /** Lets the turn pause until it is copied. */
    void fork(CompletableFuture<Optional<Copy>> future) {
        fork = future;
    }

    boolean isForkDue() {
        return fork != null;
    }

    /** Whoever waits for a copy and is to get one; the turn need not pause any longer. */
    CompletableFuture<Optional<Copy>> takeFork() {
        var waiting = Objects.requireNonNull(fork);
        fork = null;
        return waiting;
    }

    /** Tells whoever waits for a copy that there is none. */
    void endFork() {
        if (fork != null) {
            takeFork().complete(Optional.empty());
        }
    }

    void fail(EngineException cause) {
        outcome.completeExceptionally(cause);
        var waiting = fork;
        fork = null;
        if (waiting != null) {
            waiting.completeExceptionally(cause);
        }
    }
}
