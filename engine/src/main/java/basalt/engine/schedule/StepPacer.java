package basalt.engine.schedule;

import basalt.engine.Checks;

/**
 * Chooses how many prompt tokens a step takes, so that running streams are not slowed down by more than is asked for.
 * Confined to the engine thread.
 *
 * <p>It learns prices from the steps done: of a step that only decodes, by its number of rows, as a moving average; and
 * what prompt tokens cost on top of that, as a line through moving averages: a part that any number costs, as a pass
 * over the weights does, and a part for each.
 */
final class StepPacer {
    /** Prompt tokens of a step at least, so that prefill always goes on. */
    static final int CHUNK_TOKENS_MIN = 8;
    /** Prompt tokens beside running streams while nothing is known of the speed. */
    static final int CHUNK_TOKENS_UNKNOWN = 32;

    /**
     * What prompts may add to a step, as a multiple of its decoding, where nothing is asked for: with it the gap
     * between two tokens of a stream stays below three steps, and prompts are read about as fast as can be.
     */
    private static final double PREFILL_SHARE = 1.4;
    /** The same where a length is asked for, even if decoding alone takes that long. */
    private static final double PREFILL_SHARE_MIN = 0.25;
    /** What prompts may always add to a step where nothing is asked for. */
    private static final double PREFILL_NANOS_MIN = 3e6;

    private static final double WEIGHT = 0.2; // of the newest measurement
    private static final double DECODE_PART_MIN = 0.2; // of a step with prompts, where that is all that is known
    private static final double GROWTH_MAX = 2; // of the price of more rows than were ever seen
    private static final double UNKNOWN = 0;

    private final int chunkTokensMax;
    private final double targetNanos;
    private final double[] decodeNanos; // [rows + 1]; UNKNOWN where never seen
    // Of prompts on top of decoding: means of the tokens and the time, their variance and covariance.
    private double tokensMean = UNKNOWN;
    private double nanosMean;
    private double tokensVariance;
    private double covariance;

    /**
     * Knows nothing yet.
     *
     * @param targetNanos of a step with prompts; 0 leaves it to the time of a step without
     */
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
        if (tokensMean > UNKNOWN) {
            double decode = decodeNanos(decodeRowCount);
            double prompts = targetNanos > 0
                    ? Math.max(targetNanos - decode, PREFILL_SHARE_MIN * decode)
                    : Math.max(PREFILL_NANOS_MIN, PREFILL_SHARE * decode);
            tokens = (prompts - nanosOfAny()) / nanosEach();
        }
        return (int) Math.clamp(tokens, Math.min(CHUNK_TOKENS_MIN, chunkTokensMax), chunkTokensMax);
    }

    /** What prompts cost a step however short they are; 0 while nothing is known. */
    double nanosOfAny() {
        return tokensMean == UNKNOWN ? 0 : nanosMean - nanosEach() * tokensMean;
    }

    /** What one more token costs: at most what it does on average, and not much less than that, which is noise. */
    double nanosEach() {
        double average = tokensMean == UNKNOWN ? 1 : nanosMean / tokensMean;
        return tokensVariance > 0 ? Math.clamp(covariance / tokensVariance, average / 8, average) : average;
    }

    /** Learns from a step. */
    void measured(int decodeRowCount, int prefillTokenCount, long nanos) {
        Checks.argument(nanos >= 0, "nanos", nanos);
        if (prefillTokenCount == 0) {
            double old = decodeNanos[decodeRowCount];
            decodeNanos[decodeRowCount] = old == UNKNOWN ? nanos : old + WEIGHT * (nanos - old);
        } else if (prefillTokenCount >= CHUNK_TOKENS_MIN) {
            if (knows(decodeRowCount)) {
                learn(prefillTokenCount, Math.max(1, nanos - decodeNanos(decodeRowCount)));
            } else if (tokensMean > UNKNOWN) {
                // While prompts always wait no step is without them: then their price tells that of the rows.
                double prompts = nanosOfAny() + nanosEach() * prefillTokenCount;
                decodeNanos[decodeRowCount] = Math.max(nanos - prompts, nanos * DECODE_PART_MIN);
            }
        }
    }

    /** Whether the price of about so many rows is known. */
    private boolean knows(int rowCount) {
        int off = rowCount / 8;
        for (int rows = rowCount - off; rows <= Math.min(rowCount + off, decodeNanos.length - 1); rows++) {
            if (rows == 0 || decodeNanos[rows] > UNKNOWN) {
                return true;
            }
        }
        return false;
    }

    private void learn(int tokens, double nanos) {
        if (tokensMean == UNKNOWN) {
            tokensMean = tokens;
            nanosMean = nanos;
            return;
        }
        if (Math.abs(tokens - tokensMean) < 1) { // tells nothing of the slope
            nanosMean += WEIGHT * (nanos - nanosMean);
            return;
        }
        double dTokens = tokens - tokensMean;
        double dNanos = nanos - nanosMean;
        tokensMean += WEIGHT * dTokens;
        nanosMean += WEIGHT * dNanos;
        tokensVariance = (1 - WEIGHT) * (tokensVariance + WEIGHT * dTokens * dTokens);
        covariance = (1 - WEIGHT) * (covariance + WEIGHT * dTokens * dNanos);
    }

    /**
     * Price of a step with so many rows: on the line between the nearest numbers that were seen. With more than all of
     * them, a step takes longer by as much as it has more rows, twice as long at most; with fewer, as long.
     */
    double decodeNanos(int rowCount) {
        if (rowCount == 0) {
            return 0;
        }
        int below = rowCount;
        while (below > 0 && decodeNanos[below] == UNKNOWN) {
            below--;
        }
        int above = rowCount;
        while (above < decodeNanos.length && decodeNanos[above] == UNKNOWN) {
            above++;
        }
        if (above == decodeNanos.length) {
            return below == 0 ? UNKNOWN : decodeNanos[below] * Math.min((double) rowCount / below, GROWTH_MAX);
        }
        if (below == 0 || below == above) {
            return decodeNanos[above];
        }
        double share = (double) (rowCount - below) / (above - below);
        return decodeNanos[below] + share * (decodeNanos[above] - decodeNanos[below]);
    }
}
