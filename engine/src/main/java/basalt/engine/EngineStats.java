package basalt.engine;

/**
 * A momentary reading of an engine for metrics and admission; counters only grow.
 *
 * @param slotCount slots in all
 * @param busySlotCount slots held by requests
 * @param residentSlotCount slots that no request holds and that hold a session at rest
 * @param residentHitCount turns that began in such a slot
 * @param runningRequestCount requests that hold slots
 * @param waitingRequestCount requests in the admission queue
 * @param waitingTokenCount prompt tokens of those
 * @param promptTokenCount tokens prefilled
 * @param sampledTokenCount tokens sampled
 * @param stepCount steps completed
 * @param rowCount rows of all steps, so that rows / steps is the mean batch
 * @param stateBytesPerSlot bytes of one sequence's state
 * @param isAlive false once the engine thread has ended
 * @param lastStepNanos {@link System#nanoTime} of the last completed step or idle turn, so that a hung step shows
 */
public record EngineStats(
        int slotCount,
        int busySlotCount,
        int residentSlotCount,
        long residentHitCount,
        int runningRequestCount,
        int waitingRequestCount,
        long waitingTokenCount,
        long promptTokenCount,
        long sampledTokenCount,
        long stepCount,
        long rowCount,
        long stateBytesPerSlot,
        boolean isAlive,
        long lastStepNanos) {

    /** Whether no request holds a slot, waits, or is on its way from the one to the other. */
    public boolean isIdle() {
        return busySlotCount + runningRequestCount + waitingRequestCount == 0;
    }
}
