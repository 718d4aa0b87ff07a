package basalt.engine.backend.cuda;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import basalt.engine.SamplingParams;
import basalt.engine.backend.Batch;
import basalt.engine.backend.RowSampling;
import basalt.engine.backend.StepResult;
import basalt.engine.model.Checkpoint;
import basalt.engine.model.ElementType;
import basalt.engine.model.Golden;
import basalt.engine.model.Mixer;
import basalt.engine.model.ModelConfig;
import basalt.engine.model.Weights;
import basalt.engine.state.StateImage;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.SplittableRandom;
import java.util.TreeMap;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedClass;
import org.junit.jupiter.params.provider.MethodSource;

/**
 * Prompts end the last layer with their picked tokens, and where few are needed for its convolution, those alone go
 * through that. A row that is scored beside them lets all tokens go through all
 * of it, so what such a pass leaves is what the others are compared with.
 */
@ParameterizedClass
@MethodSource("cases")
final class LastLayerTest {
    private static final int ROWS = 14;
    private static final int TOKENS = 200;
    private static final int SCORED_SLOT = ROWS - 1;
    private static final int SCORED_TOKENS = 3;
    private static final int SILENT_ROW = 1; // never sampled
    private static final List<Integer> FREEZING_SLOTS = List.of(0, 3);
    private static final int FREEZING_TOKENS = 3; // sampled ones

    private final Case c;

    LastLayerTest(Case c) {
        this.c = c;
    }

    /** How a model differs from a golden. */
    private enum Change {
        NONE,
        /** Its last layer of a convolution is the last of all. */
        CONVOLUTION_LAST,
        /** The same, and its norms are LayerNorm. */
        CONVOLUTION_LAST_LAYER_NORM
    }

    /**
     * A model.
     *
     * @param logprobError of sums in another order
     */
    record Case(String golden, Change change, ElementType type, EmulatedStreams.Order order, float logprobError) {
        ModelConfig config(ModelConfig c) {
            return new ModelConfig(
                    c.vocabSize(),
                    c.paddedVocabSize(),
                    c.width(),
                    ordered(c.mixers(), c),
                    c.mlp(),
                    c.isRmsNorm() && change != Change.CONVOLUTION_LAST_LAYER_NORM,
                    c.normEpsilon(),
                    c.isHeadTied(),
                    c.hasHeadBias(),
                    c.positionCount(),
                    c.endOfSequence());
        }

        Weights weights(Weights w, ModelConfig c) {
            return new Weights(w.embedding(), w.positions(), ordered(w.layers(), c), w.finalNorm(), w.head());
        }

        private <T> List<T> ordered(List<T> layers, ModelConfig config) {
            var ordered = new ArrayList<>(layers);
            for (int i = layers.size() - 1; change != Change.NONE && i >= 0; i--) {
                if (config.mixers().get(i) instanceof Mixer.Convolution) {
                    ordered.add(ordered.remove(i));
                    break;
                }
            }
            return ordered;
        }
    }

    /**
     * One of LayerNorm, all mixers, and one that the project kernels take, which add in another order; of those that
     * end with a convolution one of four taps, one with all biases, one of LayerNorm, and one in bf16.
     */
    static List<Case> cases() {
        var late = EmulatedStreams.Order.LATE;
        var first = EmulatedStreams.Order.STEPS_FIRST;
        var copies = EmulatedStreams.Order.COPIES_FIRST;
        return List.of(
                new Case("p5_positions_layernorm", Change.NONE, ElementType.F32, late, 0),
                new Case("g03_deep", Change.NONE, ElementType.F32, late, 0),
                new Case("g08_bin_lightning", Change.NONE, ElementType.F32, first, 0),
                new Case("p3_bf16_wide_head", Change.NONE, ElementType.BF16, copies, 0.02f),
                new Case("g05_fla", Change.CONVOLUTION_LAST, ElementType.F32, late, 0),
                new Case("g05_fla", Change.CONVOLUTION_LAST, ElementType.BF16, copies, 0.02f),
                new Case("p1_partial_rotary", Change.CONVOLUTION_LAST, ElementType.F32, late, 0),
                new Case("p6_biases", Change.CONVOLUTION_LAST, ElementType.F32, first, 0),
                new Case("g08_bin_lightning", Change.CONVOLUTION_LAST_LAYER_NORM, ElementType.F32, copies, 0));
    }

    @BeforeEach
    void requireEmulation() {
        assumeTrue(EmulatedDevice.library(c.type()).isPresent(), "the kernels were not compiled for emulation");
    }

    /** Rows of so many tokens, and whether they sample. */
    private record Step(List<Integer> lengths, boolean areSampling) {}

    /**
     * What steps leave.
     *
     * @param logprobs of each step's rows
     * @param states of each slot with rows
     * @param gates launches by tokens
     * @param tailCount launches that gather tails
     * @param layerCount of the model
     */
    private record Left(
            List<float[]> logprobs,
            List<StateImage> states,
            Map<Integer, Integer> gates,
            int tailCount,
            int layerCount) {}

    private static RowSampling sampling(int slot) {
        int tokensMax = FREEZING_SLOTS.contains(slot) ? FREEZING_TOKENS : 1 << 30;
        return new RowSampling(SamplingParams.GREEDY, 1, 0, new int[0], 0, tokensMax, 0, new int[0]);
    }

    private Left run(List<Step> steps, boolean isScoring) {
        var device = new SelectingDevice(new EmulatedDevice(c.type(), new EmulatedStreams(c.order())));
        var options = new CudaBackend.Options(ROWS, ROWS, TOKENS, false, c.type());
        var logprobs = new ArrayList<float[]>();
        var states = new ArrayList<StateImage>();
        try (var checkpoint = Checkpoint.open(Golden.open(c.golden()).directory())) {
            var config = c.config(checkpoint.config());
            var weights = c.weights(checkpoint.weights(), checkpoint.config());
            try (var backend = CudaBackend.open(device, config, weights, options)) {
                for (int slot = 0; slot < ROWS; slot++) {
                    backend.poison(slot);
                    backend.zero(slot);
                    backend.configure(slot, sampling(slot));
                }
                device.select(key -> true);
                var random = new SplittableRandom(5);
                for (Step step : steps) {
                    logprobs.add(run(backend, step, isScoring, random, config.vocabSize()));
                }
                for (int slot = 0; slot < SCORED_SLOT; slot++) {
                    var image = new StateImage(backend.layout());
                    backend.save(slot, image);
                    states.add(image);
                }
            }
            var counts = device.launchCounts();
            return new Left(
                    logprobs,
                    states,
                    countsByTokens(counts, "gate "),
                    countsByTokens(counts, "gather_tails ").values().stream()
                            .mapToInt(Integer::intValue)
                            .sum(),
                    config.layerCount());
        }
    }

    private static Map<Integer, Integer> countsByTokens(Map<String, Integer> counts, String kernel) {
        var result = new TreeMap<Integer, Integer>();
        counts.forEach((key, count) -> {
            if (key.startsWith(kernel)) {
                result.put(Integer.valueOf(key.substring(kernel.length(), key.indexOf('x'))), count);
            }
        });
        return result;
    }

    private static float[] run(
            CudaBackend backend, Step step, boolean isScoring, SplittableRandom random, int vocabSize) {
        var batch = new Batch(ROWS, TOKENS);
        var result = new StepResult(ROWS, TOKENS);
        int rowCount = step.lengths().size();
        for (int row = 0; row < rowCount; row++) {
            int[] tokens = random.ints(step.lengths().get(row), 0, vocabSize).toArray();
            batch.add(row, tokens, 0, tokens.length, step.areSampling() && row != SILENT_ROW);
        }
        if (isScoring) {
            batch.add(SCORED_SLOT, new int[SCORED_TOKENS], 0, SCORED_TOKENS, false);
            batch.score(0, -1);
        }
        backend.enqueue(batch);
        backend.await(result);
        float[] logprobs = Arrays.copyOf(result.logprobs, step.areSampling() ? rowCount : 0);
        if (logprobs.length > SILENT_ROW) {
            logprobs[SILENT_ROW] = 0;
        }
        return logprobs;
    }

    private void assertLeavesWhatAllTokensLeave(List<Step> steps, Left seen) {
        var expected = run(steps, true);
        assertEquals(0, expected.tailCount());
        int gateCount =
                expected.gates().values().stream().mapToInt(Integer::intValue).sum();
        assertEquals(expected.layerCount() * steps.size(), gateCount);
        for (int step = 0; step < steps.size(); step++) {
            assertArrayEquals(
                    expected.logprobs().get(step), seen.logprobs().get(step), c.logprobError(), "step " + step);
        }
        for (int slot = 0; slot < SCORED_SLOT; slot++) {
            var image = expected.states().get(slot);
            assertEquals(image.tokenCount(), seen.states().get(slot).tokenCount());
            for (int i = 0; i < image.layout().tensors().size(); i++) {
                assertArrayEquals(image.tensor(i), seen.states().get(slot).tensor(i), "slot " + slot + " tensor " + i);
            }
        }
    }

    @Test
    void fewPickedTokensEndByThemselves() {
        var steps = List.of(new Step(List.of(1, 30, 1, 18, 3), true)); // 56 with padding, of 6 rows

        var seen = run(steps, false);

        assertLeavesWhatAllTokensLeave(steps, seen);
        var gates = new TreeMap<>(Map.of(56, seen.layerCount() - 1));
        if (c.type() == ElementType.F32) {
            gates.put(6, 1); // else in its projection
        }
        assertEquals(gates, seen.gates());
        assertEquals(0, seen.tailCount());
    }

    @Test
    void manyPickedTokensEndByThemselves() {
        var steps = List.of(new Step(Collections.nCopies(ROWS - 1, 4), true));

        var seen = run(steps, false);

        assertLeavesWhatAllTokensLeave(steps, seen);
        assertEquals(Map.of(56, seen.layerCount() - 1, ROWS, 1), seen.gates());
    }

    @Test
    void withNothingPickedTheLastLayerStopsAtTheSlots() {
        var steps = List.of(new Step(List.of(33, 15), false));

        var seen = run(steps, false);

        assertLeavesWhatAllTokensLeave(steps, seen);
        assertEquals(1, seen.gates().size());
        assertEquals(seen.layerCount() - 1, seen.gates().values().iterator().next());
    }

    @Test
    void tailsOfRowsLeaveWhatAllTokensLeave() {
        assumeTrue(c.change() != Change.NONE, "it does not end with a convolution");
        var steps = List.of(
                new Step(List.of(1, 2, 1, 17, 150), true),
                new Step(List.of(18, 1, 19, 1, 120), true),
                new Step(List.of(70, 3, 90, 1), false),
                new Step(List.of(1, 60, 100, 2), true),
                new Step(List.of(1, 87), true), // a size that needs no padding; the first slot is frozen by now
                new Step(List.of(20, 1, 60, 96), true),
                new Step(List.of(1, 50, 100, 1), true));

        var seen = run(steps, false);

        assertEquals(steps.size(), seen.tailCount());
        assertLeavesWhatAllTokensLeave(steps, seen);
    }

    @Test
    void aReplayedGraphTakesTheTailsOfOtherRowsToo() {
        assumeTrue(c.change() != Change.NONE, "it does not end with a convolution");
        var steps =
                new ArrayList<>(Collections.nCopies(GraphCache.OCCURRENCES, new Step(List.of(1, 50, 100, 1), true)));
        steps.add(new Step(List.of(1, 1, 12, 138), true)); // of the same shape

        var seen = run(steps, false);

        assertEquals(GraphCache.OCCURRENCES, seen.tailCount()); // a replay tells of no launches
        assertLeavesWhatAllTokensLeave(steps, seen);
    }
}
