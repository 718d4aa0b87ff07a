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
import basalt.engine.state.StateImage;
import java.util.ArrayList;
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
 * Prompts end the last layer with their picked tokens. A row that is scored beside them lets all tokens go through all
 * of it, so what such a pass leaves is what the others are compared with.
 */
@ParameterizedClass
@MethodSource("cases")
final class LastLayerTest {
    private static final int ROWS = 14;
    private static final int TOKENS = 80;
    private static final int SCORED_SLOT = ROWS - 1;
    private static final int SCORED_TOKENS = 3;
    private static final RowSampling GREEDY =
            new RowSampling(SamplingParams.GREEDY, 1, 0, new int[0], 0, 1 << 30, 0, new int[0]);

    private final Case c;

    LastLayerTest(Case c) {
        this.c = c;
    }

    /**
     * A model.
     *
     * @param logprobError of sums in another order
     */
    record Case(String golden, ElementType type, EmulatedStreams.Order order, float logprobError) {}

    /** One of LayerNorm, all mixers, and one that the project kernels take, which add in another order. */
    static List<Case> cases() {
        return List.of(
                new Case("p5_positions_layernorm", ElementType.F32, EmulatedStreams.Order.LATE, 0),
                new Case("g03_deep", ElementType.F32, EmulatedStreams.Order.LATE, 0),
                new Case("g08_bin_lightning", ElementType.F32, EmulatedStreams.Order.STEPS_FIRST, 0),
                new Case("p3_bf16_wide_head", ElementType.BF16, EmulatedStreams.Order.COPIES_FIRST, 0.02f));
    }

    @BeforeEach
    void requireEmulation() {
        assumeTrue(EmulatedDevice.library(c.type()).isPresent(), "the kernels were not compiled for emulation");
    }

    /** Rows of so many tokens, and whether they sample. */
    private record Step(List<Integer> lengths, boolean areSampling) {}

    /**
     * What a step leaves.
     *
     * @param logprobs of each row
     * @param states of each row
     * @param gates launches by tokens
     * @param layerCount of the model
     */
    private record Left(float[] logprobs, List<StateImage> states, Map<Integer, Integer> gates, int layerCount) {}

    private Left run(Step step, boolean isScoring) {
        var device = new SelectingDevice(new EmulatedDevice(c.type(), new EmulatedStreams(c.order())));
        var options = new CudaBackend.Options(ROWS, ROWS, TOKENS, false, c.type());
        var batch = new Batch(ROWS, TOKENS);
        var result = new StepResult(ROWS, TOKENS);
        var states = new ArrayList<StateImage>();
        int rowCount = step.lengths().size();
        float[] logprobs = new float[rowCount];
        var gates = new TreeMap<Integer, Integer>();
        try (var checkpoint = Checkpoint.open(Golden.open(c.golden()).directory());
                var backend = CudaBackend.open(device, checkpoint.config(), checkpoint.weights(), options)) {
            var random = new SplittableRandom(5);
            for (int slot = 0; slot < ROWS; slot++) {
                backend.poison(slot);
                backend.zero(slot);
                backend.configure(slot, GREEDY);
            }
            int vocabSize = checkpoint.config().vocabSize();
            for (int row = 0; row < rowCount; row++) {
                int[] tokens =
                        random.ints(step.lengths().get(row), 0, vocabSize).toArray();
                batch.add(row, tokens, 0, tokens.length, step.areSampling());
            }
            if (isScoring) {
                batch.add(SCORED_SLOT, new int[SCORED_TOKENS], 0, SCORED_TOKENS, false);
                batch.score(0, -1);
            }
            device.select(key -> true);
            backend.enqueue(batch);
            backend.await(result);
            device.launchCounts().forEach((key, count) -> {
                if (key.startsWith("gate ")) {
                    gates.put(Integer.valueOf(key.substring(5, key.indexOf('x'))), count);
                }
            });
            System.arraycopy(result.logprobs, 0, logprobs, 0, step.areSampling() ? rowCount : 0);
            for (int slot = 0; slot < rowCount; slot++) {
                var image = new StateImage(backend.layout());
                backend.save(slot, image);
                states.add(image);
            }
            return new Left(logprobs, states, gates, checkpoint.config().layerCount());
        }
    }

    private void assertLeavesWhatAllTokensLeave(Step step, Left seen) {
        var expected = run(step, true);
        assertEquals(1, expected.gates().size());
        assertEquals(expected.layerCount(), expected.gates().values().iterator().next());
        assertArrayEquals(expected.logprobs(), seen.logprobs(), c.logprobError());
        for (int row = 0; row < step.lengths().size(); row++) {
            var image = expected.states().get(row);
            for (int i = 0; i < image.layout().tensors().size(); i++) {
                assertArrayEquals(image.tensor(i), seen.states().get(row).tensor(i), "row " + row + " tensor " + i);
            }
        }
    }

    @Test
    void fewPickedTokensEndByThemselves() {
        var step = new Step(List.of(1, 30, 1, 18, 3), true); // 56 with padding, of 6 rows

        var seen = run(step, false);

        assertLeavesWhatAllTokensLeave(step, seen);
        var gates = new TreeMap<>(Map.of(56, seen.layerCount() - 1));
        if (c.type() == ElementType.F32) {
            gates.put(6, 1); // else in its projection
        }
        assertEquals(gates, seen.gates());
    }

    @Test
    void manyPickedTokensEndByThemselves() {
        var step = new Step(Collections.nCopies(ROWS - 1, 4), true);

        var seen = run(step, false);

        assertLeavesWhatAllTokensLeave(step, seen);
        assertEquals(Map.of(56, seen.layerCount() - 1, ROWS, 1), seen.gates());
    }

    @Test
    void withNothingPickedTheLastLayerStopsAtTheSlots() {
        var step = new Step(List.of(33, 15), false);

        var seen = run(step, false);

        assertLeavesWhatAllTokensLeave(step, seen);
        assertEquals(1, seen.gates().size());
        assertEquals(seen.layerCount() - 1, seen.gates().values().iterator().next());
    }
}
