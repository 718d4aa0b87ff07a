package basalt.bench;

import java.util.List;

/**
 * Figures of one run of streams.
 *
 * @param completeCount streams that finished with all their tokens
 * @param cancelledCount streams that this side closed on purpose
 * @param refusedCount answers 429
 * @param failedCount everything else
 * @param differentCount streams whose tokens are not those of the same request run alone
 * @param failures some of the reasons
 * @param tokens that arrived within {@code seconds}
 * @param seconds from the first request to the last answer, or to the end of the time set
 * @param firstTokenMillis from sending a request to its first token
 * @param gapMillis between events with tokens of one stream
 * @param slotsBusyMean by the server's metrics; NaN if it has none
 * @param rowsPerStep by the server's metrics; NaN if it has none
 */
record LoadReport(
        int completeCount,
        int cancelledCount,
        int refusedCount,
        int failedCount,
        int differentCount,
        List<String> failures,
        long tokens,
        double seconds,
        double tokensPerSecond,
        Quantiles firstTokenMillis,
        Quantiles gapMillis,
        double slotsBusyMean,
        double rowsPerStep) {

    /** Of durations in milliseconds. */
    record Quantiles(double p50, double p90, double p99) {
        static Quantiles of(Samples samples) {
            return new Quantiles(samples.millisAt(0.5), samples.millisAt(0.9), samples.millisAt(0.99));
        }
    }
}
