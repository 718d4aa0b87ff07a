package basalt.engine.schedule;

import basalt.engine.Checks;

/**
 * Chooses how many prompt tokens a step takes, so that a step with running streams takes about as long as asked.
 * Confined to the engine thread.
 *
 * <p>It learns two prices from the steps done: a step that only decodes, by its number of rows, and a prompt token on
 * top of that; both as moving averages.
 */
final class StepPacer {
    /** Prompt tokens of a step at least, so that prefill always goes on. */
    static final int CHUNK_TOKENS_MIN = 8;
    /** Prompt tokens beside running streams while nothing is known of the speed. */
    static final int CHUNK_TOKENS_UNKNOWN = 32;

    /** What prompts may add to a step, as a part of its decoding, even where that alone takes as long as asked. */
    private static final double PREFILL_SHARE_MIN = 0.25;

    private static final double WEIGHT = 0.2; // of the newest measurement
    private static final double UNKNOWN = 0;

    private final int chunkTokensMax;
    private final double targetNanos;
    private final double[] decodeNanos; // [rows + 1]; UNKNOWN where never seen
    private double prefillTokenNanos = UNKNOWN;

    StepPacer(int rowCountMax, int chunkTokensMax, double targetNanos) {
        this.chunkTokensMax = chunkTokensMax;
        this.targetNanos = targetNanos;
        decodeNanos = new double[rowCountMax + 1];
    }

    /** Prompt tokens of the next step, beside so many decoding rows. */
    int chunkTokens(int decodeRowCount) {
        if (decodeRowCount == 0) {
            return chunkTokensMax;
        }
        double tokens = CHUNK_TOKENS_UNKNOWN;
        if (prefillTokenNanos > UNKNOWN) {
            double decode = decodeNanos(decodeRowCount);
            tokens = Math.max(targetNanos - decode, PREFILL_SHARE_MIN * decode) / prefillTokenNanos;
        }
        return (int) Math.clamp(tokens, Math.min(CHUNK_TOKENS_MIN, chunkTokensMax), chunkTokensMax);
    }

    /** Learns from a step. */
    void measured(int decodeRowCount, int prefillTokenCount, long nanos) {
        Checks.argument(nanos >= 0, "nanos", nanos);
        if (prefillTokenCount == 0) {
            decodeNanos[decodeRowCount] = average(decodeNanos[decodeRowCount], (double) nanos);
        } else if (prefillTokenCount >= CHUNK_TOKENS_MIN) {
            double prefill = Math.max(1, nanos - decodeNanos(decodeRowCount));
            prefillTokenNanos = average(prefillTokenNanos, prefill / prefillTokenCount);
        }
    }

    private static double average(double old, double value) {
        return old == UNKNOWN ? value : old + WEIGHT * (value - old);
    }

    /** Price of a step with so many rows, from the nearest smaller number seen, or else the nearest larger. */
    private double decodeNanos(int rowCount) {
        if (rowCount == 0) {
            return 0;
        }
        for (int rows = rowCount; rows > 0; rows--) {
            if (decodeNanos[rows] > UNKNOWN) {
                return decodeNanos[rows];
            }
        }
        for (int rows = rowCount + 1; rows < decodeNanos.length; rows++) {
            if (decodeNanos[rows] > UNKNOWN) {
                return decodeNanos[rows];
            }
        }
        return UNKNOWN;
    }
}
