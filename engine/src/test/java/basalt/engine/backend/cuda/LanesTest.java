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
import java.util.SplittableRandom;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

final class LanesTest {
    private static final int ROWS = 12;
    private static final int STEPS = 3;
    private static final RowSampling GREEDY =
            new RowSampling(SamplingParams.GREEDY, 1, 0, new int[0], 0, 1 << 30, 0, new int[0]);

    @BeforeEach
    void requireEmulation() {
        assumeTrue(EmulatedDevice.library(ElementType.BF16).isPresent(), "the kernels were not compiled for emulation");
    }

    /**
     * What steps leave.
     *
     * @param states of each row
     * @param logprobs of what each row sampled last
     */
    private record Left(List<StateImage> states, float[] logprobs) {}

    /** Steps of rows that read given tokens, so many rows a step. */
    private static Left run(EmulatedStreams.Order order, Lane.Rule rule, int rowCount, int rowsAtOnce) {
        var device = new EmulatedDevice(ElementType.BF16, new EmulatedStreams(order));
        var options = new CudaBackend.Options(ROWS, ROWS, ROWS, false, ElementType.BF16);
        var batch = new Batch(ROWS, ROWS);
        var result = new StepResult(ROWS, ROWS);
        var states = new ArrayList<StateImage>();
        float[] logprobs = new float[rowCount];
        try (var checkpoint = Checkpoint.open(Golden.open("g03_deep").directory());
                var backend = CudaBackend.open(
                        device, checkpoint.config(), checkpoint.weights(), options, Optional.of(rule))) {
            var random = new SplittableRandom(3);
            for (int slot = 0; slot < rowCount; slot++) {
                backend.poison(slot);
                backend.zero(slot);
                backend.configure(slot, GREEDY);
            }
            for (int step = 0; step < STEPS; step++) {
                int[] tokens = random.ints(rowCount, 0, checkpoint.config().vocabSize())
                        .toArray();
                for (int first = 0; first < rowCount; first += rowsAtOnce) {
                    batch.clear();
                    for (int row = first; row < Math.min(first + rowsAtOnce, rowCount); row++) {
                        batch.add(row, tokens, row, row + 1, true);
                    }
                    backend.enqueue(batch);
                    backend.await(result);
                    System.arraycopy(result.logprobs, 0, logprobs, first, batch.rowCount());
                }
            }
            for (int slot = 0; slot < rowCount; slot++) {
                var image = new StateImage(backend.layout());
                backend.save(slot, image);
                states.add(image);
            }
        }
        return new Left(states, logprobs);
    }

    @ParameterizedTest
    @EnumSource(EmulatedStreams.Order.class)
    void lanesLeaveWhatFewRowsLeave(EmulatedStreams.Order order) {
        var rule = new Lane.Rule(9, ROWS, Integer.MAX_VALUE);

        int rowCount = ROWS - 1; // the second lane is padded

        var seen = run(order, rule, rowCount, rowCount);

        var expected = run(EmulatedStreams.Order.LATE, Lane.Rule.NEVER, rowCount, 6);
        for (int row = 0; row < rowCount; row++) {
            var image = expected.states().get(row);
            for (int i = 0; i < image.layout().tensors().size(); i++) {
                assertArrayEquals(image.tensor(i), seen.states().get(row).tensor(i), "row " + row + " tensor " + i);
            }
            assertEquals(expected.logprobs()[row], seen.logprobs()[row], 0.02, "row " + row);
        }
    }

    @Test
    void aPassIsHalved() {
        assertEquals(new Lane(0, 96, false), Lane.firstHalf(192));
        assertEquals(new Lane(96, 96, false), Lane.secondHalf(192));
        assertEquals(new Lane(0, 101, false), Lane.firstHalf(201));
        assertEquals(new Lane(101, 100, false), Lane.secondHalf(201));
        assertTrue(new Lane.Rule(129, 256, 2048).holds(256));
        assertFalse(new Lane.Rule(129, 256, 2048).holds(128));
        assertFalse(Lane.Rule.NEVER.holds(1));
    }
}
