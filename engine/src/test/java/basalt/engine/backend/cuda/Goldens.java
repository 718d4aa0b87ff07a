package basalt.engine.backend.cuda;

import basalt.engine.SamplingParams;
import basalt.engine.backend.Batch;
import basalt.engine.backend.RowSampling;
import basalt.engine.backend.StepResult;
import basalt.engine.backend.cpu.Reference;
import basalt.engine.model.Checkpoint;
import basalt.engine.model.ElementType;
import basalt.engine.model.Golden;
import basalt.engine.model.ModelConfig;
import basalt.engine.model.Weights;
import java.util.function.Function;

/**
 * Goldens run on a device: the error of a position is the 2-norm of the difference of the logits over that of the
 * logits. In f32 the reference is the golden; in bf16 it is {@link Reference} in f64 on the weights as rounded, which
 * is what the device computes with.
 */
final class Goldens {
    /** Rounding of f32 arithmetic, summed over the layers. */
    static final double F32_ERROR_MAX = 1e-3;
    /** Rounding of activations to bf16, about 2^-9 at each of ten places a layer. */
    static final double BF16_ERROR_MEAN_MAX = 2.5e-2;

    static final double BF16_ERROR_MAX = 8e-2;

    private static final int ROWS_MAX = 16;
    private static final int TOKENS_MAX = 64;
    private static final int SLOT = 3;
    private static final int[] CHUNKS = {40, 5};
    private static final int[] MIXED_CHUNKS = {40, 5, 1, 33};
    private static final int[] SINGLE_CHUNKS = {1};
    private static final int[] OTHER_CHUNKS = {7, 2, 30, 3}; // of a row after it, at odd places too

    private Goldens() {}

    /** Over all positions. */
    record Errors(double mean, double max, int count) {
        Errors and(double error) {
            return new Errors((mean * count + error) / (count + 1), Math.max(max, error), count + 1);
        }

        boolean areWithin(double meanMax, double largestMax) {
            return count > 0 && mean <= meanMax && max <= largestMax;
        }
    }

    /**
     * Errors of one golden; every case prefilled in one piece and in pieces, then decoded token by token; and read in
     * pieces beside rows that decode.
     */
    static Errors errors(
            String name, ElementType type, boolean isDeterministic, Function<ElementType, Device> openDevice) {
        var total = new Errors(0, 0, 0);
        var golden = Golden.open(name);
        try (var checkpoint = Checkpoint.open(golden.directory())) {
            var config = checkpoint.config();
            var weights = type == ElementType.F32
                    ? checkpoint.weights()
                    : RoundedWeights.of(checkpoint.weights(), config.isHeadTied(), type);
            var options = new CudaBackend.Options(ROWS_MAX, ROWS_MAX, TOKENS_MAX, isDeterministic, type);
            try (var backend = CudaBackend.open(openDevice.apply(type), config, weights, options)) {
                for (Golden.Case c : golden.cases()) {
                    double[][] reference =
                            type == ElementType.F32 ? expected(c) : reference(config, weights, c.inputIds()[0]);
                    for (int chunk : CHUNKS) {
                        total = runSequence(backend, config, c, reference, chunk, total);
                    }
                    total = runMixed(backend, config, c, reference, total);
                }
            }
        }
        return total;
    }

    private static double[][] expected(Golden.Case c) {
        var logits = new double[c.inputIds()[0].length][];
        for (int i = 0; i < logits.length; i++) {
            logits[i] = new double[c.paddedVocab()];
            for (int id = 0; id < logits[i].length; id++) {
                logits[i][id] = c.logit(0, i, id);
            }
        }
        return logits;
    }

    private static double[][] reference(ModelConfig config, Weights weights, int[] ids) {
        var model = new Reference(config, weights);
        var logits = new double[ids.length][];
        for (int i = 0; i < ids.length; i++) {
            logits[i] = model.step(ids[i]);
        }
        return logits;
    }

    private static Errors runSequence(
            CudaBackend backend, ModelConfig config, Golden.Case c, double[][] reference, int chunk, Errors before) {
        var errors = before;
        int[] tokens = c.inputIds()[0];
        int prompt = c.promptLength();
        reset(backend, SLOT);
        var batch = new Batch(ROWS_MAX, TOKENS_MAX);
        var result = new StepResult(ROWS_MAX, TOKENS_MAX);
        float[] logits = new float[config.paddedVocabSize()];
        for (int from = 0; from < tokens.length; ) {
            int to = from < prompt ? Math.min(from + chunk, prompt) : from + 1;
            // Prompts are scored, so that the logits of all positions are there; the rest is decoded.
            boolean isScored = from < prompt;
            batch.clear();
            batch.add(SLOT, tokens, from, to, !isScored);
            if (isScored) {
                batch.score(0, -1);
            }
            backend.enqueue(batch);
            backend.await(result);
            // Logits are made in blocks of as many rows as a batch has; those of the last block are still there.
            int readable = from + (to - from - 1) / ROWS_MAX * ROWS_MAX;
            for (int i = readable; i < to; i++) {
                backend.readLogits(i - readable, logits);
                errors = errors.and(error(logits, reference[i]));
            }
            from = to;
        }
        return errors;
    }

    private static void reset(CudaBackend backend, int slot) {
        backend.poison(slot);
        backend.zero(slot);
        backend.configure(slot, new RowSampling(SamplingParams.GREEDY, 1, 0, new int[0], 0, 1000, -1, new int[0]));
    }

    /** Two rows that decode, from the middle of the text and from its beginning, and two that are read beside them. */
    private static Errors runMixed(
            CudaBackend backend, ModelConfig config, Golden.Case c, double[][] reference, Errors before) {
        var errors = before;
        int[] tokens = c.inputIds()[0];
        int[] slots = {SLOT, SLOT + 1, SLOT + 2, SLOT + 3};
        int[] counts = {tokens.length / 2, 0, 0, 0};
        int[] picks = {0, 2, 1, 3}; // rows of one token come first
        var batch = new Batch(ROWS_MAX, TOKENS_MAX);
        var result = new StepResult(ROWS_MAX, TOKENS_MAX);
        for (int slot : slots) {
            reset(backend, slot);
        }
        for (int from = 0; from < counts[0]; from += CHUNKS[0]) {
            batch.clear();
            batch.add(slots[0], tokens, from, Math.min(from + CHUNKS[0], counts[0]), false);
            backend.enqueue(batch);
            backend.await(result);
        }
        float[] logits = new float[config.paddedVocabSize()];
        for (int step = 0; counts[1] < tokens.length && counts[0] < tokens.length; step++) {
            batch.clear();
            for (int row = 0; row < slots.length; row++) {
                int[] chunks = row == 1 ? MIXED_CHUNKS : row == 3 ? OTHER_CHUNKS : SINGLE_CHUNKS;
                int count = Math.min(chunks[step % chunks.length], tokens.length - counts[row]);
                batch.add(slots[row], tokens, counts[row], counts[row] + count, true);
                counts[row] += count;
            }
            boolean areSingle = batch.tokenCount(1) == 1;
            backend.enqueue(batch);
            backend.await(result);
            for (int row = 0; row < slots.length; row++) {
                backend.readLogits(areSingle ? row : picks[row], logits);
                errors = errors.and(error(logits, reference[counts[row] - 1]));
            }
        }
        return errors;
    }

    private static double error(float[] logits, double[] reference) {
        double difference = 0;
        double norm = 0;
        for (int i = 0; i < reference.length; i++) {
            difference += (logits[i] - reference[i]) * (logits[i] - reference[i]);
            norm += reference[i] * reference[i];
        }
        double error = Math.sqrt(difference / norm);
        return Double.isNaN(error) ? Double.POSITIVE_INFINITY : error;
    }
}
