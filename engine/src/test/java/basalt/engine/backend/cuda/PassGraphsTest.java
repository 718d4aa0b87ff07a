package basalt.engine.backend.cuda;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import basalt.engine.SamplingParams;
import basalt.engine.backend.Batch;
import basalt.engine.backend.RowSampling;
import basalt.engine.backend.StepResult;
import basalt.engine.model.Checkpoint;
import basalt.engine.model.ElementType;
import basalt.engine.model.Golden;
import java.util.ArrayList;
import java.util.Collections;
import java.util.HashMap;
import java.util.List;
import java.util.Set;
import java.util.SplittableRandom;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedClass;
import org.junit.jupiter.params.provider.MethodSource;

@ParameterizedClass
@MethodSource("cases")
final class PassGraphsTest {
    private static final int ROWS = 80;
    private static final int TOKENS = 256;
    private static final RowSampling GREEDY =
            new RowSampling(SamplingParams.GREEDY, 1, 0, new int[0], 0, 1 << 30, 0, new int[0]);

    private final Case c;

    PassGraphsTest(Case c) {
        this.c = c;
    }

    /** A model and how its streams run. */
    record Case(String golden, ElementType type, EmulatedStreams.Order order) {}

    /** One of LayerNorm without kernels for prompts, one with those of f32, one with those of bf16. */
    static List<Case> cases() {
        var cases = new ArrayList<Case>();
        cases.add(new Case("p5_positions_layernorm", ElementType.F32, EmulatedStreams.Order.LATE));
        for (var order : EmulatedStreams.Order.values()) {
            cases.add(new Case("g08_bin_lightning", ElementType.F32, order));
        }
        cases.add(new Case("p3_bf16_wide_head", ElementType.BF16, EmulatedStreams.Order.COPIES_FIRST));
        return cases;
    }

    @BeforeEach
    void requireEmulation() {
        assumeTrue(EmulatedDevice.library(c.type()).isPresent(), "the kernels were not compiled for emulation");
    }

    private EmulatedDevice device() {
        return new EmulatedDevice(c.type(), new EmulatedStreams(c.order()));
    }

    /** Rows of one token, and longer ones of so many. */
    private record Step(int singles, List<Integer> lengths) {}

    /** The log-probabilities of all sampled tokens of steps; a step reads the same tokens each time. */
    private List<float[]> run(EmulatedDevice device, List<Step> steps) {
        var logprobs = new ArrayList<float[]>();
        var options = new CudaBackend.Options(ROWS, ROWS, TOKENS, false, c.type());
        try (var checkpoint = Checkpoint.open(Golden.open(c.golden()).directory());
                var backend = CudaBackend.open(device, checkpoint.config(), checkpoint.weights(), options)) {
            for (Step step : steps) {
                logprobs.add(run(backend, step, checkpoint.config().vocabSize()));
            }
        }
        return logprobs;
    }

    private static float[] run(CudaBackend backend, Step step, int vocabSize) {
        var random = new SplittableRandom(step.hashCode());
        var batch = new Batch(ROWS, TOKENS);
        var result = new StepResult(ROWS, TOKENS);
        for (int slot = 0; slot < ROWS; slot++) {
            backend.poison(slot);
            backend.zero(slot);
            backend.configure(slot, GREEDY);
        }
        var lengths = new ArrayList<>(step.lengths());
        for (int i = 0; i < step.singles(); i++) {
            lengths.add(i % 2 == 0 ? 0 : lengths.size(), 1); // in any order
        }
        for (int row = 0; row < lengths.size(); row++) {
            int[] tokens = random.ints(lengths.get(row), 0, vocabSize).toArray();
            batch.add(ROWS - 1 - row, tokens, 0, tokens.length, row != 2);
        }
        backend.enqueue(batch);
        backend.await(result);
        float[] logprobs = new float[lengths.size()];
        for (int row = 0; row < logprobs.length; row++) {
            logprobs[row] = row == 2 ? result.tokens[row] : result.logprobs[row];
        }
        return logprobs;
    }

    @Test
    void stepsThatReplayGraphsAreThoseThatDoNot() {
        var some = new Step(5, List.of(52, 48));
        var alike = new Step(6, List.of(51, 49)); // padded to the same shape
        var longer = new Step(5, List.of(90, 10)); // as many tokens, in a row too long for the graph of the others
        var order = new ArrayList<>(Collections.nCopies(GraphCache.OCCURRENCES, some));
        order.addAll(List.of(longer, alike, some, longer));

        var device = device();
        var steps = run(device, order);

        var expected = new HashMap<Step, float[]>();
        for (Step step : Set.of(some, alike, longer)) {
            expected.put(step, run(new EmulatedDevice(c.type()), List.of(step)).getFirst());
        }
        for (int i = 0; i < steps.size(); i++) {
            assertArrayEquals(expected.get(order.get(i)), steps.get(i), "step " + i);
        }
        assertEquals(new RowBuckets(ROWS).count() + 1, device.graphCount());
        assertEquals(3, device.replayCount());
    }

    @Test
    void stepsGoOnWithoutRoomForGraphs() {
        var some = new Step(3, List.of(7, 40));
        var device = device().withGraphs(new RowBuckets(ROWS).count());

        var steps = run(device, Collections.nCopies(GraphCache.OCCURRENCES + 1, some));

        assertArrayEquals(steps.getFirst(), steps.getLast());
        assertEquals(0, device.replayCount());
    }

    @Test
    void stepsOfManyLongerRowsHaveRoom() {
        var lengths = new ArrayList<Integer>();
        for (int row = 0; row < ROWS - 13; row++) {
            lengths.add(2 + row % 2);
        }
        var many = new Step(13, lengths);

        var steps = run(device(), List.of(many, many));

        assertArrayEquals(steps.get(0), steps.get(1));
    }

    @Test
    void paddedPassesHaveRoom() {
        int rowsMax = 512;
        int tokensMax = 2048;
        var buckets = new RowBuckets(rowsMax);
        for (int singles = 0; singles <= rowsMax; singles++) {
            for (int longs = 1; longs + singles <= rowsMax && PassGraphs.canPad(longs, false); longs++) {
                int passSingles = buckets.atLeast(singles);
                int tokens = passSingles + tokensMax - singles;
                var sizes = PassGraphs.padded(passSingles + longs, passSingles, tokens);
                assertTrue(sizes.rowCount() <= PassGraphs.rowCountMax(rowsMax), sizes.toString());
                assertTrue(sizes.tokenCount() <= PassGraphs.tokenCountMax(rowsMax, tokensMax), sizes.toString());
                assertTrue(sizes.tokenCount() - tokens >= sizes.rowCount() - passSingles - longs);
                assertEquals(tokens == sizes.tokenCount(), passSingles + longs == sizes.rowCount());
            }
        }
    }
}
