package basalt.engine.backend;

import basalt.engine.state.SavedState;
import basalt.engine.state.StateImage;
import basalt.engine.state.StateLayout;
import java.util.concurrent.CompletableFuture;

/**
 * A device that holds the states of all slots and advances them, a batch a step. Confined to the engine thread.
 *
 * <p>Operations take effect in the order of the calls: a {@link #copy} after an {@link #enqueue} copies the state that
 * the step leaves behind. {@link #enqueue} returns before the step is done; up to {@link #stepsInFlightMax} steps may
 * be in flight, and {@link #await} delivers their results in order. Each slot knows how many tokens it has consumed
 * ({@link #tokenCount} counts enqueued ones too) and which token it sampled last, so that a row can go on from a token
 * that the host has not seen yet.
 *
 * <p>Recent keys and values of Taylor attention are kept raw and folded into the state in blocks of
 * {@link StateLayout#FOLD_INTERVAL}: consuming the token at position t, a multiple of it and above 0, first folds the
 * block [t - FOLD_INTERVAL, t). The fold is thus a function of the position alone, and splits, copies and loads do not
 * change one bit of what follows on a backend that promises so.
 *
 * <p>Every method throws {@link basalt.engine.EngineException.DeviceFailure} when the device fails; the backend is
 * then unusable.
 */
public interface Backend extends AutoCloseable {
    /** For logs and metrics, such as {@code cpu} or {@code NVIDIA H100 80GB HBM3}. */
    String name();

    /** Order and shapes of one slot's state. */
    StateLayout layout();

    /** Slots S; indices are [0, S). */
    int slotCount();

    /** Rows of one batch at most. */
    int rowCountMax();

    /** Tokens of one batch, all rows together, at most. */
    int tokenCountMax();

    /** Steps that may be enqueued and not yet awaited, at least 1. */
    int stepsInFlightMax();

    /** Empties a slot: zero state, no tokens consumed. */
    void zero(int slot);

    /** Sets how the rows of a slot sample from the next step on; a row that samples needs this once before. */
    void configure(int slot, RowSampling sampling);

    /** Overwrites one slot's state, token count and last token by another's; not what {@link #configure} set. */
    void copy(int fromSlot, int toSlot);

    /** Writes the state of a slot into an image of {@link #layout}; waits for the steps in flight. */
    void save(int slot, StateImage image);

    /**
     * Begins to save the state of a slot in the form that this backend loads fastest, as it is in the order of the
     * calls: the slot may be overwritten at once. No step in flight has a row of it. A backend that can waits for
     * nothing here, and ends it on another thread.
     *
     * @return the state once it is saved; fails with {@link basalt.engine.EngineException.DeviceFailure} if the
     *     device does
     */
    default CompletableFuture<SavedState> beginSave(int slot) {
        var image = new StateImage(layout());
        save(slot, image);
        return CompletableFuture.completedFuture(image);
    }

    /** Whether {@link #beginSave} would wait for nothing now. */
    default boolean canBeginSave() {
        return true;
    }

    /**
     * Brings a state into a form that {@link #load} need not wait for, or gives it back as it is where that cannot be.
     * May be called by any thread, also after the backend is closed.
     */
    default SavedState prepare(SavedState state) {
        return state;
    }

    /** Overwrites a slot's state and token count by a saved one of the same shapes, whichever backend saved it. */
    void load(int slot, SavedState state);

    /**
     * Takes back the last tokens, so that the slot has consumed {@code tokenCount} of them, exactly.
     *
     * @throws IllegalArgumentException if these are more than ROLLBACK_TOKENS, or a fold lies between, that is a
     *     multiple of FOLD_INTERVAL above 0 in [tokenCount, current count): the state before it is gone
     */
    void rollback(int slot, long tokenCount);

    /** Tokens consumed by a slot, enqueued ones included; rows that froze on the device count what they really ate. */
    long tokenCount(int slot);

    /** Starts a step. The batch may be reused when this returns. */
    void enqueue(Batch batch);

    /**
     * Waits for the oldest step in flight.
     *
     * @param result overwritten
     */
    void await(StepResult result);

    /** Frees everything. */
    @Override
    void close();
}
