package basalt.engine.backend.cuda;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;
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
import java.util.List;
import java.util.Optional;
import java.util.Set;
import java.util.SplittableRandom;
import java.util.TreeSet;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.MethodSource;

final class PromptLanesTest {
    private static final int ROWS = 8;
    private static final int TOKENS = 400;
    private static final int PROMPT_TOKENS_MIN = 40;
    private static final int STEPS = GraphCache.OCCURRENCES + 2; // the last ones replay a graph
    private static final RowSampling GREEDY =
            new RowSampling(SamplingParams.GREEDY, 1, 0, new int[0], 0, 1 << 30, 0, new int[0]);

    /** A model and how its streams run. */
    record Case(String golden, ElementType type, EmulatedStreams.Order order) {}

    static List<Case> cases() {
        var cases = new ArrayList<Case>();
        for (var order : EmulatedStreams.Order.values()) {
            cases.add(new Case("g03_deep", ElementType.BF16, order));
            cases.add(new Case("p3_bf16_wide_head", ElementType.BF16, order));
        }
        cases.add(new Case("p5_positions_layernorm", ElementType.F32, EmulatedStreams.Order.STEPS_FIRST));
        cases.add(new Case("p6_biases", ElementType.F32, EmulatedStreams.Order.COPIES_FIRST));
        return cases;
    }

    @BeforeEach
    void requireEmulation() {
        for (var type : List.of(ElementType.BF16, ElementType.F32)) {
            assumeTrue(EmulatedDevice.library(type).isPresent(), "the kernels were not compiled for emulation");
        }
    }

    /**
     * What steps leave.
     *
     * @param logprobs of each step's rows
     * @param states of each row
     * @param gates the counts of tokens that gates were launched with
     */
    private record Left(List<float[]> logprobs, List<StateImage> states, Set<Integer> gates) {}

    /** Some steps with rows of the same lengths, going on with the same states. */
    private static Left run(Case c, int promptTokensMin, int[] lengths) {
        var device = new SelectingDevice(new EmulatedDevice(c.type(), new EmulatedStreams(c.order())));
        var options = new CudaBackend.Options(ROWS, ROWS, TOKENS, false, c.type());
        var rule = new Lane.Rule(0, 0, promptTokensMin);
        var batch = new Batch(ROWS, TOKENS);
        var result = new StepResult(ROWS, TOKENS);
        var logprobs = new ArrayList<float[]>();
        var states = new ArrayList<StateImage>();
        var gates = new TreeSet<Integer>();
        try (var checkpoint = Checkpoint.open(Golden.open(c.golden()).directory());
                var backend = CudaBackend.open(
                        device, checkpoint.config(), checkpoint.weights(), options, Optional.of(rule))) {
            var random = new SplittableRandom(9);
            for (int slot = 0; slot < ROWS; slot++) {
                backend.poison(slot);
                backend.zero(slot);
                backend.configure(slot, GREEDY);
            }
            device.select(key -> true);
            for (int step = 0; step < STEPS; step++) {
                batch.clear();
                for (int row = 0; row < lengths.length; row++) {
                    int[] tokens = random.ints(
                                    lengths[row], 0, checkpoint.config().vocabSize())
                            .toArray();
                    batch.add(row, tokens, 0, tokens.length, row != 1);
                }
                backend.enqueue(batch);
                backend.await(result);
                result.logprobs[1] = 0;
                logprobs.add(result.logprobs.clone());
            }
            for (String key : device.launchCounts().keySet()) {
                if (key.startsWith("gate ")) {
                    gates.add(Integer.valueOf(key.substring(5, key.indexOf('x'))));
                }
            }
            for (int slot = 0; slot < lengths.length; slot++) {
                var image = new StateImage(backend.layout());
                backend.save(slot, image);
                states.add(image);
            }
        }
        return new Left(logprobs, states, gates);
    }

    private static void assertSameBits(Left expected, Left seen) {
        for (int step = 0; step < STEPS; step++) {
            assertArrayEquals(expected.logprobs().get(step), seen.logprobs().get(step), "step " + step);
        }
        for (int row = 0; row < expected.states().size(); row++) {
            var image = expected.states().get(row);
            for (int i = 0; i < image.layout().tensors().size(); i++) {
                assertArrayEquals(image.tensor(i), seen.states().get(row).tensor(i), "row " + row + " tensor " + i);
            }
        }
    }

    @ParameterizedTest
    @MethodSource("cases")
    void promptsInTwoLanesLeaveWhatOneLeaves(Case c) {
        int[] lengths = {1, 17, 21, 1, 33}; // 80 with padding, 40 in each lane

        var seen = run(c, PROMPT_TOKENS_MIN, lengths);

        var expected = run(c, Integer.MAX_VALUE, lengths);
        assertSameBits(expected, seen);
        assertTrue(seen.gates().contains(40), seen.gates()::toString);
        assertFalse(expected.gates().contains(40), expected.gates()::toString);
    }

    @Test
    void longPromptsHaveHalfOfTheChunksEach() {
        var c = new Case("g03_deep", ElementType.BF16, EmulatedStreams.Order.COPIES_FIRST);
        int[] lengths = {152, 40, 190}; // the first two are a multiple of 32

        var seen = run(c, PROMPT_TOKENS_MIN, lengths);

        assertTrue(seen.gates().contains(192), seen.gates()::toString);
        assertSameBits(run(c, Integer.MAX_VALUE, lengths), seen);
    }

    @ParameterizedTest
    @EnumSource(EmulatedStreams.Order.class)
    void lanesJoinBeforeTailsAreTaken(EmulatedStreams.Order order) {
        var c = new Case("g05_fla", ElementType.BF16, order); // its last layer is a convolution
        int[] lengths = {40, 40};

        var seen = run(c, PROMPT_TOKENS_MIN, lengths);

        assertTrue(seen.gates().contains(40), seen.gates()::toString);
        assertSameBits(run(c, Integer.MAX_VALUE, lengths), seen);
    }

    private static Pass pass(int step, int singles, int... lengths) {
        var pass = new Pass(new EmulatedDevice(ElementType.F32), ROWS, TOKENS, 1);
        pass.clear(0);
        for (int row = 0; row < singles; row++) {
            pass.addToken(pass.addRow(row, 1, row, true, true), 0);
        }
        for (int length : lengths) {
            int row = pass.addRow(pass.rowCount(), length, pass.rowCount(), true, true);
            for (int i = 0; i < length; i++) {
                pass.addToken(row, 0);
            }
        }
        pass.split(step);
        return pass;
    }

    @Test
    void aPassIsSplitNearestToItsMiddle() {
        var pass = pass(1, 2, 30, 20, 50);

        assertTrue(pass.isSplit());
        assertEquals(new Lane(0, 52, 0, 4, false), pass.firstLane());
        assertEquals(new Lane(52, 50, 4, 1, false), pass.secondLane());
        assertEquals(4, pass.splitPick());
        assertEquals(new Lane(0, 40, 0, 1, false), pass(1, 0, 40, 50).firstLane());
        assertEquals(new Lane(0, 50, 0, 1, false), pass(1, 0, 50, 40).firstLane());
    }

    @Test
    void aPassOfUnevenRowsIsNotSplit() {
        assertFalse(pass(1, 0, 100).isSplit());
        assertFalse(pass(1, 0, 51, 40).isSplit());
        assertFalse(pass(1, 3, 80).isSplit());
        assertFalse(pass(1, 3, 20, 60, 20).isSplit());
    }

    @Test
    void aPassIsSplitAfterWholeStepsAlone() {
        assertFalse(pass(8, 2, 31, 35).isSplit());
        assertEquals(new Lane(0, 32, 0, 3, false), pass(8, 2, 30, 2, 34).firstLane());
    }
}
