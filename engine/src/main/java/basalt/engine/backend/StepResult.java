package basalt.engine.backend;

/**
 * What one step produced. Mutable and reused; arrays are indexed by the batch's row, or by the flat index of a token
 * within the batch (rows in order, each row's tokens in order).
 */
public final class StepResult {
    /** Likeliest ids kept per position at most. */
    public static final int TOP_COUNT_MAX = basalt.engine.GenerationRequest.LOGPROB_COUNT_MAX;

    /** Token a row sampled, or -1: it was not asked to, or is frozen. [rowCountMax] */
    public final int[] tokens;
    /** Log-probability of the sampled token, if asked for. [rowCountMax] */
    public final float[] logprobs;
    /** Likeliest ids after a row's last token. [rowCountMax, TOP_COUNT_MAX] */
    public final int[] topIds;
    /** Their log-probabilities. [rowCountMax, TOP_COUNT_MAX] */
    public final float[] topLogprobs;
    /** Log-probability of the token that follows flat token i, for rows that are scored. [tokenCountMax] */
    public final float[] scoreLogprobs;
    /** Likeliest ids after flat token i. [tokenCountMax, TOP_COUNT_MAX] */
    public final int[] scoreTopIds;
    /** Their log-probabilities. [tokenCountMax, TOP_COUNT_MAX] */
    public final float[] scoreTopLogprobs;

    private long nanos;

    /** For batches of at most so many rows and tokens. */
    public StepResult(int rowCountMax, int tokenCountMax) {
        tokens = new int[rowCountMax];
        logprobs = new float[rowCountMax];
        topIds = new int[rowCountMax * TOP_COUNT_MAX];
        topLogprobs = new float[rowCountMax * TOP_COUNT_MAX];
        scoreLogprobs = new float[tokenCountMax];
        scoreTopIds = new int[tokenCountMax * TOP_COUNT_MAX];
        scoreTopLogprobs = new float[tokenCountMax * TOP_COUNT_MAX];
    }

    /** Time the device took. */
    public long nanos() {
        return nanos;
    }

    /** Sets the time the device took. */
    public void nanos(long value) {
        nanos = value;
    }
}
