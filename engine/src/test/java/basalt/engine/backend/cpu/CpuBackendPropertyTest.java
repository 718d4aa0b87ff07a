package basalt.engine.backend.cpu;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import basalt.engine.SamplingParams;
import basalt.engine.backend.Batch;
import basalt.engine.backend.RowSampling;
import basalt.engine.backend.StepResult;
import basalt.engine.model.ElementType;
import basalt.engine.model.ModelConfig;
import basalt.engine.model.Weights;
import basalt.engine.state.StateImage;
import basalt.engine.state.StateLayout;
import java.util.List;
import java.util.SplittableRandom;
import java.util.stream.LongStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** Seeded; {@code -Dseed=N} replays one. */
class CpuBackendPropertyTest {
    /** f32 sums against f64 ones on logits of size 1 to 10. */
    private static final double LOGPROB_TOLERANCE = 1e-4;

    private static final int SLOTS = 6;
    private static final int TOKENS = 64;

    static LongStream seeds() {
        String seed = System.getProperty("seed");
        return seed == null ? LongStream.range(0, 24) : LongStream.of(Long.parseLong(seed));
    }

    @ParameterizedTest(name = "seed {0}")
    @MethodSource("seeds")
    void logprobsEqualTheReferences(long seed) {
        ModelConfig config = seed == 0 ? TestConfigs.plain() : TestConfigs.random(seed);
        Weights weights = RandomWeights.of(config, type(seed), seed);
        int[] tokens = randomTokens(config, 150, seed);
        var reference = new Reference(config, weights);

        float[] actual = scores(config, weights, tokens, seed, 2);

        for (int i = 0; i + 1 < tokens.length; i++) {
            double[] logits = reference.step(tokens[i]);
            double expected = logits[tokens[i + 1]] - logSumExp(logits, config.vocabSize());
            int at = i;
            assertEquals(expected, actual[i], LOGPROB_TOLERANCE, () -> "position " + at);
        }
    }

    @ParameterizedTest(name = "seed {0}")
    @MethodSource("seeds")
    void bitsDependNeitherOnChunksNorOnOtherRowsNorOnThreads(long seed) {
        ModelConfig config = seed == 0 ? TestConfigs.plain() : TestConfigs.random(seed);
        Weights weights = RandomWeights.of(config, type(seed), seed);
        int[] tokens = randomTokens(config, 150, seed);

        float[] expected = scores(config, weights, tokens, -1, 1);

        assertArrayEquals(expected, scores(config, weights, tokens, seed, 1));
        assertArrayEquals(expected, scores(config, weights, tokens, seed + 1, 2));
        assertArrayEquals(expected, scores(config, weights, tokens, seed + 2, 3));
    }

    @ParameterizedTest(name = "seed {0}")
    @MethodSource("seeds")
    void saveLoadCopyAndRollbackContinueWithTheSameBits(long seed) {
        ModelConfig config = seed == 0 ? TestConfigs.plain() : TestConfigs.random(seed);
        Weights weights = RandomWeights.of(config, ElementType.F32, seed);
        var random = new SplittableRandom(seed);
        int[] tokens = randomTokens(config, 150, seed);
        int cut = random.nextInt(1, 140);
        int sinceFold = (cut - 1) % StateLayout.FOLD_INTERVAL; // after the first token of the block
        int rollback = random.nextInt(0, Math.min(sinceFold, StateLayout.ROLLBACK_TOKENS) + 1);
        try (var backend = CpuBackend.open(config, weights, SLOTS, SLOTS, TOKENS, 2)) {
            feed(backend, 0, tokens, 0, tokens.length);
            float[] expected = lastLogprobs(backend, 0, tokens);

            feed(backend, 1, tokens, 0, cut);
            backend.rollback(1, cut - rollback);
            backend.copy(1, 2);
            var image = new StateImage(backend.layout());
            backend.save(2, image);
            backend.load(3, image);
            poison(backend, 2);
            feed(backend, 3, tokens, cut - rollback, tokens.length);

            assertEquals(tokens.length, backend.tokenCount(3));
            assertArrayEquals(expected, lastLogprobs(backend, 3, tokens));
        }
    }

    @Test
    void sameSeedSamplesTheSameTokensAloneAndInABatch() {
        ModelConfig config = TestConfigs.plain();
        Weights weights = RandomWeights.of(config, ElementType.BF16, 5);
        int[][] alone = new int[SLOTS][];
        for (int slot = 0; slot < SLOTS; slot++) {
            try (var backend = CpuBackend.open(config, weights, SLOTS, SLOTS, TOKENS, 1)) {
                alone[slot] = generate(backend, new int[] {slot})[0];
            }
        }

        try (var backend = CpuBackend.open(config, weights, SLOTS, SLOTS, TOKENS, 2)) {
            int[][] together = generate(backend, new int[] {0, 1, 2, 3, 4, 5});

            for (int slot = 0; slot < SLOTS; slot++) {
                assertArrayEquals(alone[slot], together[slot]);
            }
        }
    }

    @Test
    void aRowFreezesAtAStopIdAndAtMaxTokens() {
        ModelConfig config = TestConfigs.plain();
        Weights weights = RandomWeights.of(config, ElementType.F32, 5);
        var result = new StepResult(SLOTS, TOKENS);
        var batch = new Batch(SLOTS, TOKENS);
        try (var backend = CpuBackend.open(config, weights, SLOTS, SLOTS, TOKENS, 1)) {
            backend.configure(0, new RowSampling(SamplingParams.GREEDY, 0, 0, new int[0], 0, 2, -1, new int[0]));
            batch.add(0, new int[] {1}, 0, 1, true);
            backend.enqueue(batch);
            backend.await(result);
            batch.clear();
            batch.addContinuing(0);
            backend.enqueue(batch);
            backend.await(result);
            assertTrue(result.tokens[0] >= 0);

            backend.enqueue(batch);
            backend.await(result);

            assertEquals(-1, result.tokens[0]);
            assertEquals(2, backend.tokenCount(0));
        }
    }

    private static int[][] generate(CpuBackend backend, int[] slots) {
        var batch = new Batch(SLOTS, TOKENS);
        var result = new StepResult(SLOTS, TOKENS);
        var tokens = new int[slots.length][40];
        for (int slot : slots) {
            var params = switch (slot % 3) {
                case 0 -> SamplingParams.GREEDY;
                case 1 -> SamplingParams.DEFAULT;
                default -> SamplingParams.DEFAULT.withFilters(20, 0.9f, 0.01f);
            };
            backend.configure(slot, new RowSampling(params, 77 + slot, slot, new int[0], 0, 100, -1, new int[0]));
            batch.add(slot, new int[] {slot + 1, 2, 3}, 0, 3, true);
        }
        for (int i = 0; i < 40; i++) {
            backend.enqueue(batch);
            backend.await(result);
            batch.clear();
            for (int row = 0; row < slots.length; row++) {
                tokens[row][i] = result.tokens[row];
                batch.addContinuing(slots[row]);
            }
        }
        return tokens;
    }

    private static ElementType type(long seed) {
        return List.of(ElementType.F32, ElementType.F16, ElementType.BF16).get((int) (seed % 3));
    }

    private static int[] randomTokens(ModelConfig config, int count, long seed) {
        return new SplittableRandom(seed).ints(count, 0, config.vocabSize()).toArray();
    }

    /** Log-probability of each next token; chunks and other rows by a seed, one token at a time if it is -1. */
    private static float[] scores(ModelConfig config, Weights weights, int[] tokens, long seed, int threads) {
        var random = new SplittableRandom(seed);
        var scores = new float[tokens.length - 1];
        var batch = new Batch(SLOTS, TOKENS);
        var result = new StepResult(SLOTS, TOKENS);
        try (var backend = CpuBackend.open(config, weights, SLOTS, SLOTS, TOKENS, threads)) {
            int slot = seed == -1 ? 0 : random.nextInt(SLOTS);
            for (int from = 0; from < scores.length; ) {
                batch.clear();
                int before = 0;
                if (seed != -1) {
                    before = addOtherRow(batch, (slot + 1) % SLOTS, config, random);
                }
                int count = seed == -1 ? 1 : Math.min(scores.length - from, random.nextInt(1, 40));
                batch.add(slot, tokens, from, from + count, false);
                batch.score(0, tokens[from + count]);
                if (seed != -1) {
                    addOtherRow(batch, (slot + 2) % SLOTS, config, random);
                }
                backend.enqueue(batch);
                backend.await(result);
                System.arraycopy(result.scoreLogprobs, before, scores, from, count);
                from += count;
            }
        }
        return scores;
    }

    private static int addOtherRow(Batch batch, int slot, ModelConfig config, SplittableRandom random) {
        int count = random.nextInt(0, 10);
        if (count > 0) {
            batch.add(slot, random.ints(count, 0, config.vocabSize()).toArray(), 0, count, false);
        }
        return count;
    }

    private static void feed(CpuBackend backend, int slot, int[] tokens, int from, int to) {
        var batch = new Batch(SLOTS, TOKENS);
        var result = new StepResult(SLOTS, TOKENS);
        for (int at = from; at < to; at += TOKENS) {
            batch.clear();
            batch.add(slot, tokens, at, Math.min(to, at + TOKENS), false);
            backend.enqueue(batch);
            backend.await(result);
        }
    }

    private static float[] lastLogprobs(CpuBackend backend, int slot, int[] tokens) {
        var batch = new Batch(SLOTS, TOKENS);
        var result = new StepResult(SLOTS, TOKENS);
        batch.add(slot, tokens, 0, 1, false);
        batch.score(20, -1);
        backend.enqueue(batch);
        backend.await(result);
        backend.rollback(slot, tokens.length);
        return java.util.Arrays.copyOf(result.scoreTopLogprobs, 20);
    }

    private static void poison(CpuBackend backend, int slot) {
        var image = new StateImage(backend.layout());
        for (int i = 0; i < image.layout().tensors().size(); i++) {
            java.util.Arrays.fill(image.tensor(i), Float.NaN);
        }
        backend.load(slot, image);
    }

    private static double logSumExp(double[] logits, int vocabSize) {
        double max = Double.NEGATIVE_INFINITY;
        for (int id = 0; id < vocabSize; id++) {
            max = Math.max(max, logits[id]);
        }
        double sum = 0;
        for (int id = 0; id < vocabSize; id++) {
            sum += Math.exp(logits[id] - max);
        }
        return max + Math.log(sum);
    }
}
