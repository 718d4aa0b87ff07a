package basalt.engine.schedule;

/**
 * Estimates how long a slot is held, from which follows how soon the next ones are given back. Confined to the engine
 * thread.
 *
 * <p>It is the time that slots were held over the number of those given back. Only that is right from the start: the
 * mean over those given back would at first know the shortest answers only. As long as few were, it is drawn towards
 * what the allowed lengths of the answers, and the part of them that answers so far have used, say at the measured
 * speed.
 */
final class HoldEstimate {
    /** An answer is not expected to be longer than this, whatever is allowed. */
    static final int EXPECTED_TOKENS_MAX = 4_096;

    private static final double NANOS_UNKNOWN = 1e9;
    private static final double LENGTH_WEIGHT = 0.1; // of the newest answer in the means of lengths
    private static final int MEMORY_SLOTS = 8; // returns of each slot after which the past counts half

    private final int slotCount;
    private double heldNanos; // of all slots together
    private double sampledTokens;
    private double releases;
    private double lengthMean; // allowed tokens of an answer
    private double usedMean = 1; // part of the allowed tokens that an answer uses
    private long lastNanos;

    HoldEstimate(int slotCount) {
        this.slotCount = slotCount;
    }

    /** Notes that slots are held for answers of at most so many tokens. */
    void admitted(int maxTokens) {
        double length = Math.min(maxTokens, EXPECTED_TOKENS_MAX);
        lengthMean = lengthMean == 0 ? length : lengthMean + LENGTH_WEIGHT * (length - lengthMean);
    }

    /** Notes that a slot was given back, after so many tokens of so many allowed. */
    void released(int tokens, int maxTokens) {
        double length = Math.clamp(maxTokens, 1, EXPECTED_TOKENS_MAX);
        usedMean += LENGTH_WEIGHT * (Math.min(1, tokens / length) - usedMean);
        releases++;
        if (releases > (double) slotCount * MEMORY_SLOTS) {
            releases /= 2;
            heldNanos /= 2;
            sampledTokens /= 2;
        }
    }

    /** Lets time pass. Slots that were free in between count for nothing. */
    void passed(long nowNanos, long busySlots, long tokens) {
        if (lastNanos != 0) {
            heldNanos += (double) busySlots * (nowNanos - lastNanos);
        }
        lastNanos = nowNanos;
        sampledTokens += (double) tokens;
    }

    /** Nanoseconds that a slot is held, on average. */
    long nanos() {
        if (sampledTokens == 0) {
            return (long) Math.max(NANOS_UNKNOWN, heldNanos / slotCount);
        }
        // Weighs as much as the return of all slots once.
        double prior = lengthMean * usedMean * heldNanos / sampledTokens;
        return (long) Math.max(1, (slotCount * prior + heldNanos) / (slotCount + releases));
    }
}
