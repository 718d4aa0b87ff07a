package basalt.engine.backend.cpu;

/** Log-probabilities of one row of logits over the real vocabulary. */
final class LogSoftmax {
    private LogSoftmax() {}

    /** {@code log Σ e^logit}: subtract it from a logit to get its log-probability. */
    static float normalizer(float[] logits, int at, int vocabSize) {
        float max = VectorOps.max(logits, at, vocabSize);
        return max + (float) Math.log(VectorOps.sumOfExp(logits, at, vocabSize, max));
    }

    /**
     * Finds the likeliest ids, likeliest first, ties to the lower id.
     *
     * @param count how many, at most the vocabulary's size
     * @param ids written from {@code to} on
     * @param topLogits their logits, written from {@code to} on; {@link #subtract} makes log-probabilities of them
     */
    static void top(float[] logits, int at, int vocabSize, int count, int[] ids, float[] topLogits, int to) {
        int size = 0;
        for (int id = 0; id < vocabSize; id++) {
            float logit = logits[at + id];
            if (size == count && (count == 0 || !(logit > topLogits[to + size - 1]))) {
                continue;
            }
            int i = size < count ? size++ : size - 1;
            for (; i > 0 && logit > topLogits[to + i - 1]; i--) {
                ids[to + i] = ids[to + i - 1];
                topLogits[to + i] = topLogits[to + i - 1];
            }
            ids[to + i] = id;
            topLogits[to + i] = logit;
        }
    }

    /** Subtracts the normalizer from {@code count} logits. */
    static void subtract(float[] logits, int at, int count, float normalizer) {
        for (int i = 0; i < count; i++) {
            logits[at + i] -= normalizer;
        }
    }
}
