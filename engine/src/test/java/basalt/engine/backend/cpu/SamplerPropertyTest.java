package basalt.engine.backend.cpu;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import basalt.engine.SamplingParams;
import basalt.engine.backend.RowSampling;
import java.util.Arrays;
import java.util.Comparator;
import java.util.List;
import java.util.Map;
import java.util.SplittableRandom;
import java.util.stream.IntStream;
import java.util.stream.LongStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import org.junit.jupiter.params.provider.ValueSource;

/** Against a sampler that sorts; seeded, {@code -Dseed=N} replays one. */
class SamplerPropertyTest {
    private static final int VOCAB = 101; // as TestConfigs.plain()

    static LongStream seeds() {
        String seed = System.getProperty("seed");
        return seed == null ? LongStream.range(0, 300) : LongStream.of(Long.parseLong(seed));
    }

    @ParameterizedTest(name = "seed {0}")
    @MethodSource("seeds")
    void drawsWhatTheSortingSamplerDraws(long seed) {
        var random = new SplittableRandom(seed);
        var logits = new float[VOCAB + 7];
        for (int i = 0; i < logits.length; i++) {
            logits[i] = (float) (random.nextGaussian() * random.nextInt(1, 8));
            if (random.nextInt(10) == 0 && i > 0) {
                logits[i] = logits[i - 1];
            }
        }
        var params = new SamplingParams(
                random.nextInt(5) == 0 ? 0 : (float) random.nextDouble(0.1, 2),
                random.nextBoolean() ? 0 : random.nextInt(1, 2 * VOCAB),
                random.nextBoolean() ? 1 : (float) random.nextDouble(0.01, 1),
                random.nextBoolean() ? 0 : (float) random.nextDouble(0, 1),
                random.nextBoolean() ? 0 : (float) random.nextDouble(-2, 2),
                random.nextBoolean() ? 0 : (float) random.nextDouble(-2, 2),
                random.nextBoolean() ? 1 : (float) random.nextDouble(0.5, 2),
                random.nextBoolean() ? Map.of() : Map.of(3, 5f, 50, -100f));
        var slot = new CpuSlot(TestConfigs.plain());
        int[] stops = random.nextBoolean() ? new int[0] : new int[] {1, 2, 7};
        slot.configure(new RowSampling(
                params, seed * 31, (int) seed % 3, stops, random.nextInt(4), 100, -1, new int[] {4, 5}));
        for (int i = random.nextInt(4); i > 0; i--) {
            slot.sampled(20 + random.nextInt(30));
        }
        int at = 7;

        int actual = new Sampler(VOCAB).sample(slot, logits, at, seed + 5);

        float[] row = Arrays.copyOfRange(logits, at, at + VOCAB);
        assertEquals(sorted(slot, row, seed + 5), actual);
    }

    @Test
    void frequenciesOfDrawsAreTheProbabilities() {
        var slot = new CpuSlot(TestConfigs.plain());
        slot.configure(new RowSampling(SamplingParams.DEFAULT, 1, 0, new int[0], 0, 1 << 30, -1, new int[0]));
        var logits = new float[VOCAB];
        Arrays.fill(logits, -20);
        logits[3] = (float) Math.log(0.5);
        logits[40] = (float) Math.log(0.3);
        logits[100] = (float) Math.log(0.2);
        var counts = new int[VOCAB];
        var sampler = new Sampler(VOCAB);
        int draws = 200_000;

        for (int position = 0; position < draws; position++) {
            counts[sampler.sample(slot, logits, 0, position)]++;
        }

        // Four standard deviations of the binomial.
        assertEquals(0.5, counts[3] / (double) draws, 0.0045);
        assertEquals(0.3, counts[40] / (double) draws, 0.0042);
        assertEquals(0.2, counts[100] / (double) draws, 0.0036);
        assertTrue(counts[3] + counts[40] + counts[100] > draws - 20);
    }

    @Test
    void nextToNoTemperatureIsNone() {
        var params = SamplingParams.DEFAULT.withTemperature(1e-9f);

        assertEquals(SamplingParams.GREEDY, params);
    }

    @ParameterizedTest(name = "logits that are {0}")
    @ValueSource(floats = {Float.NaN, Float.POSITIVE_INFINITY, Float.NEGATIVE_INFINITY})
    void logitsOfABrokenModelStillGiveATokenOfTheVocabulary(float logit) {
        var drawn = SamplingParams.DEFAULT;
        for (var params : List.of(
                SamplingParams.GREEDY,
                drawn,
                drawn.withFilters(40, 1, 0),
                drawn.withFilters(0, 0.9f, 0),
                drawn.withFilters(0, 1, 0.1f),
                drawn.withFilters(40, 0.9f, 0.1f))) {
            for (int broken : new int[] {1, VOCAB - 1, VOCAB}) {
                var logits = new float[VOCAB];
                Arrays.fill(logits, 0, broken, logit);
                var slot = new CpuSlot(TestConfigs.plain());
                slot.configure(new RowSampling(params, 1, 0, new int[0], 0, 100, -1, new int[0]));

                int token = new Sampler(VOCAB).sample(slot, logits, 0, 5);

                assertTrue(token >= 0 && token < VOCAB, params + ": " + token);
            }
        }
    }

    private static int sorted(CpuSlot slot, float[] logits, long position) {
        RowSampling sampling = slot.sampling();
        SamplingParams params = sampling.params();
        for (int id = 0; id < VOCAB && params.isPenalized(); id++) {
            if (slot.count(id) > 0 || slot.isInPrompt(id)) {
                logits[id] = Sampler.penalized(logits[id], slot.count(id), params);
            }
        }
        params.logitBias().forEach((id, bias) -> logits[id] += bias);
        for (int stop : sampling.stopTokenIds()) {
            if (slot.sampledCount() < sampling.minTokens()) {
                logits[stop] = Float.NEGATIVE_INFINITY;
            }
        }
        int[] order = IntStream.range(0, VOCAB)
                .boxed()
                .sorted(Comparator.<Integer>comparingDouble(id -> -logits[id]).thenComparing(id -> id))
                .mapToInt(Integer::intValue)
                .toArray();
        if (params.temperature() == 0) {
            return order[0];
        }
        float inverse = 1 / params.temperature();
        float max = logits[order[0]];
        int kept = params.topK() == 0 ? VOCAB : Math.min(VOCAB, params.topK());
        var weights = new float[VOCAB];
        long total = 0;
        for (int i = 0; i < kept; i++) {
            weights[i] = FloatMath.exp((logits[order[i]] - max) * inverse);
            total += Sampler.mass(weights[i]);
        }
        long target = params.topP() < 1 ? (long) Math.ceil((double) params.topP() * total) : Long.MAX_VALUE;
        int best = order[0];
        float bestScore = Float.NEGATIVE_INFINITY;
        long mass = 0;
        for (int i = 0; i < kept && mass < target && (i == 0 || weights[i] >= params.minP()); i++) {
            int id = order[i];
            int word = Philox.word(sampling.seed(), sampling.choice(), position, id);
            float score = Math.fma(logits[id], inverse, FloatMath.gumbel(word));
            if (score > bestScore || (score == bestScore && id < best)) {
                bestScore = score;
                best = id;
            }
            mass += Sampler.mass(weights[i]);
        }
        return best;
    }
}
