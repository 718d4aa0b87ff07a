package basalt.engine.backend.cuda;

import basalt.engine.SamplingParams;
import basalt.engine.backend.RowSampling;
import basalt.engine.backend.cpu.CpuDraws;
import basalt.engine.backend.cuda.DrawKernels.Draw;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.SplittableRandom;

/** Draws of a vocabulary: each at a position that shows where filters end, if there is one. */
final class DrawCases {
    private static final float[] TEMPERATURES = {0, 0.01f, 1, 1, 1, 2};
    private static final float[] TOP_PS = {Float.MIN_VALUE, 1e-6f, 0.5f, 0.999999f};
    private static final float[] MIN_PS = {0.05f, 1};
    private static final int[] LOGPROB_COUNTS = {-1, 0, 1, 5, 20};
    private static final int[] TIES = {511, 512, 513, 1_025};
    private static final int HIGHER = 7; // logits above equal ones

    private final int vocabSize;
    private final CpuDraws cpu;

    DrawCases(int vocabSize) {
        this.vocabSize = vocabSize;
        cpu = new CpuDraws(vocabSize);
    }

    /** Every kind of logits under each filter. */
    List<Draw> everyFilter() {
        var random = new SplittableRandom(vocabSize);
        var draws = new ArrayList<Draw>();
        for (var kind : DrawLogits.values()) {
            float[] logits = kind.make(vocabSize, random);
            for (var params : filters()) {
                draws.add(draw(kind.name(), logits, params, -(draws.size() % 2), random));
            }
            for (int fifths = 2; fifths <= 3; fifths++) {
                var params = SamplingParams.DEFAULT.withFilters(vocabSize * fifths / 5 + 1, 1, 0);
                draws.add(draw(kind.name(), logits, params, -1, random));
            }
        }
        return draws;
    }

    private List<SamplingParams> filters() {
        var all = new ArrayList<>(List.of(SamplingParams.GREEDY));
        for (float temperature : new float[] {0.01f, 1, 2}) {
            var params = SamplingParams.DEFAULT.withTemperature(temperature);
            all.add(params);
            all.add(params.withFilters(vocabSize / 2 + 1, 0.9f, 0));
        }
        for (int topK : new int[] {1, 2, vocabSize - 1, vocabSize, vocabSize + 1}) {
            if (topK > 0) {
                all.add(SamplingParams.DEFAULT.withFilters(topK, 1, 0));
            }
        }
        for (float topP : TOP_PS) {
            all.add(SamplingParams.DEFAULT.withFilters(0, topP, 0));
        }
        for (float minP : MIN_PS) {
            all.add(SamplingParams.DEFAULT.withFilters(0, 1, minP));
        }
        all.add(SamplingParams.DEFAULT.withFilters(vocabSize / 3 + 1, 0.95f, 0.05f));
        return all;
    }

    /** Filters that end within equal logits, before the first and after the last of them. */
    List<Draw> ties() {
        var random = new SplittableRandom(vocabSize);
        var draws = new ArrayList<Draw>();
        for (int tied : TIES) {
            if (HIGHER + tied + 1 > vocabSize) {
                continue;
            }
            float[] logits = DrawLogits.ties(vocabSize, HIGHER, tied, random);
            for (int within : new int[] {0, 1, 2, tied / 2, tied - 1, tied, tied + 1}) {
                for (int offset : new int[] {-1, 0}) {
                    var params = SamplingParams.DEFAULT.withFilters(HIGHER + within, 1, 0);
                    draws.add(draw("TIES " + tied, logits, params, offset, random));
                }
            }
            for (float topP : new float[] {0.1f, 0.3f, 0.5f, 0.7f, 0.999999f}) {
                for (int topK : new int[] {0, HIGHER + tied / 2}) {
                    for (int offset : new int[] {-1, 0}) {
                        var params = SamplingParams.DEFAULT.withFilters(topK, topP, 0);
                        draws.add(draw("TIES " + tied, logits, params, offset, random));
                    }
                }
            }
        }
        return draws;
    }

    /** Under each filter logits in which some or all are no numbers or infinite, each beside one of a model. */
    List<Draw> poisoned() {
        var random = new SplittableRandom(vocabSize);
        var draws = new ArrayList<Draw>();
        for (float poison : new float[] {Float.NaN, Float.intBitsToFloat(-1), Float.POSITIVE_INFINITY}) {
            for (int count : new int[] {1, vocabSize / 2 + 1, vocabSize}) {
                for (var params : filters()) {
                    float[] logits = DrawLogits.SPREAD.make(vocabSize, random);
                    draws.add(draw("SPREAD", logits.clone(), params, -1, random));
                    int first = random.nextInt(vocabSize - count + 1);
                    Arrays.fill(logits, first, first + count, poison);
                    var sampling = draws.getLast().sampling();
                    String text = count + " times " + poison + " of " + vocabSize + ", " + params;
                    draws.add(new Draw(
                            text, logits, sampling, new int[0], draws.getLast().position()));
                }
            }
        }
        return draws;
    }

    /** Whether no order is defined. */
    static boolean isPoisoned(float[] logits) {
        for (float logit : logits) {
            if (Float.isNaN(logit) || logit == Float.POSITIVE_INFINITY) {
                return true;
            }
        }
        return false;
    }

    private Draw draw(String name, float[] logits, SamplingParams params, int offset, SplittableRandom random) {
        int logprobCount = LOGPROB_COUNTS[random.nextInt(LOGPROB_COUNTS.length)];
        var none = new int[0];
        var sampling = new RowSampling(params, random.nextLong(), 0, none, 0, 1 << 30, logprobCount, none);
        return draw(name, logits, sampling, none, offset, random);
    }

    private Draw draw(
            String name, float[] logits, RowSampling sampling, int[] earlier, int offset, SplittableRandom random) {
        long first = random.nextLong(64, 1L << random.nextInt(7, 40));
        long position = cpu.positionAtEdge(logits, sampling, earlier, offset, first);
        String text = String.format(
                "%s of %d, %s, seed %d, position %d, edge %d",
                name, vocabSize, sampling.params(), sampling.seed(), position, offset);
        return new Draw(text, logits, sampling, earlier, position);
    }

    /** Anything at all. */
    List<Draw> random(long seed, int count) {
        var random = new SplittableRandom(seed);
        var kinds = List.of(DrawLogits.values());
        var draws = new ArrayList<Draw>();
        for (int i = 0; i < count; i++) {
            var kind = kinds.get(random.nextInt(kinds.size()));
            float[] logits = kind.make(vocabSize, random);
            int[] earlier = random.nextBoolean() ? new int[0] : ids(random.nextInt(30), random);
            int[] stops = random.nextBoolean() ? new int[0] : stops(logits, random);
            var sampling = new RowSampling(
                    params(random),
                    random.nextLong(),
                    random.nextInt(3),
                    stops,
                    random.nextBoolean() ? 0 : random.nextInt(40),
                    earlier.length + (random.nextInt(3) == 0 ? 1 : random.nextInt(1, 100)),
                    LOGPROB_COUNTS[random.nextInt(LOGPROB_COUNTS.length)],
                    random.nextBoolean() ? new int[0] : ids(random.nextInt(40), random));
            int offset = random.nextInt(4) == 0 ? random.nextInt(-vocabSize, vocabSize) : -random.nextInt(2);
            draws.add(draw("draw " + i + ", " + kind, logits, sampling, earlier, offset, random));
        }
        return draws;
    }

    private SamplingParams params(SplittableRandom random) {
        float temperature = TEMPERATURES[random.nextInt(TEMPERATURES.length)];
        int topK = random.nextInt(1, vocabSize + 2);
        if (random.nextInt(3) == 0) {
            topK = Math.max(1, new int[] {1, 2, vocabSize - 1, vocabSize, vocabSize + 1}[random.nextInt(5)]);
        }
        float topP = random.nextBoolean() ? TOP_PS[random.nextInt(TOP_PS.length)] : (float) random.nextDouble(0.001, 1);
        boolean isPenalized = random.nextInt(3) == 0;
        return new SamplingParams(
                temperature,
                random.nextBoolean() ? 0 : topK,
                random.nextBoolean() ? 1 : topP,
                random.nextInt(3) > 0 ? 0 : MIN_PS[random.nextInt(MIN_PS.length)],
                isPenalized ? (float) random.nextDouble(-2, 2) : 0,
                isPenalized && random.nextBoolean() ? (float) random.nextDouble(-2, 2) : 0,
                isPenalized && random.nextBoolean() ? (float) random.nextDouble(0.5, 2) : 1,
                random.nextInt(3) > 0 ? Map.of() : biases(random));
    }

    private Map<Integer, Float> biases(SplittableRandom random) {
        int count = Math.min(random.nextInt(1, random.nextBoolean() ? 10 : SlotControls.BIASES_MAX + 1), vocabSize);
        var biases = new HashMap<Integer, Float>();
        for (int i = 0; i < count; i++) {
            float bias = random.nextInt(4) == 0 ? -100 : random.nextInt(-8, 9) / 2f;
            biases.put(random.nextInt(vocabSize), bias);
        }
        return biases;
    }

    private int[] ids(int count, SplittableRandom random) {
        int bound = random.nextBoolean() ? vocabSize : Math.min(vocabSize, 8); // some of them often
        return random.ints(count, 0, bound).toArray();
    }

    /** The likeliest id is among them; one that is not, is finite. */
    private int[] stops(float[] logits, SplittableRandom random) {
        int[] likeliest = cpu.likeliest(logits, 2).ids();
        if (vocabSize == 1 || logits[likeliest[1]] == Float.NEGATIVE_INFINITY) {
            return new int[0];
        }
        int[] stops = random.ints(random.nextInt(1, SlotControls.STOPS_MAX + 1), 0, vocabSize)
                .filter(id -> id != likeliest[1])
                .toArray();
        int[] all = Arrays.copyOf(stops, Math.min(stops.length + 1, SlotControls.STOPS_MAX));
        all[all.length - 1] = likeliest[0];
        return all;
    }
}
