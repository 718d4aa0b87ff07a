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
import java.util.List;
import java.util.SplittableRandom;
import org.junit.jupiter.api.Test;

final class PassGraphsTest {
    private static final int VOCABULARY = 61; // of the golden
    private static final int ROWS = 80;
    private static final int TOKENS = 256;

    private static final RowSampling GREEDY =
            new RowSampling(SamplingParams.GREEDY, 1, 0, new int[0], 0, 1 << 30, 0, new int[0]);

    /** Rows of one token, and longer ones of so many. */
    private record Step(int singles, List<Integer> lengths) {}

    /** The log-probabilities of all sampled tokens of steps, whose rows read the same tokens each time. */
    private static List<float[]> run(EmulatedDevice device, List<Step> steps) {
        var logprobs = new ArrayList<float[]>();
        var options = new CudaBackend.Options(ROWS, ROWS, TOKENS, false, ElementType.F32);
        try (var checkpoint = Checkpoint.open(Golden.open("g05_fla").directory());
                var backend = CudaBackend.open(device, checkpoint.config(), checkpoint.weights(), options)) {
            for (Step step : steps) {
                logprobs.add(run(backend, step));
            }
        }
        return logprobs;
    }

    private static float[] run(CudaBackend backend, Step step) {
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
            int[] tokens = random.ints(lengths.get(row), 0, VOCABULARY).toArray();
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
        assumeTrue(EmulatedDevice.library(ElementType.F32).isPresent(), "the kernels were not compiled for emulation");
        var some = new Step(3, List.of(7, 40));
        var alike = new Step(4, List.of(9, 37)); // padded to the same shape
        var alone = new Step(0, List.of(64));

        var device = new EmulatedDevice(ElementType.F32);
        var steps = run(device, List.of(some, alone, some, alike, alone, alone, some));

        var expectedSome =
                run(new EmulatedDevice(ElementType.F32), List.of(some)).getFirst();
        var expectedAlike =
                run(new EmulatedDevice(ElementType.F32), List.of(alike)).getFirst();
        var expectedAlone =
                run(new EmulatedDevice(ElementType.F32), List.of(alone)).getFirst();
        for (int step : new int[] {0, 2, 6}) {
            assertArrayEquals(expectedSome, steps.get(step));
        }
        assertArrayEquals(expectedAlike, steps.get(3));
        for (int step : new int[] {1, 4, 5}) {
            assertArrayEquals(expectedAlone, steps.get(step));
        }
        int decodes = new RowBuckets(ROWS).count();
        assertEquals(decodes + 2, device.graphCount());
        assertEquals(5, device.replayCount()); // all steps but the first of each shape
    }

    @Test
    void stepsGoOnWithoutRoomForGraphs() {
        assumeTrue(EmulatedDevice.library(ElementType.F32).isPresent(), "the kernels were not compiled for emulation");
        var some = new Step(3, List.of(7, 40));
        int decodes = new RowBuckets(ROWS).count();
        var device = new EmulatedDevice(ElementType.F32).withGraphs(decodes);

        var steps = run(device, List.of(some, some, some));

        assertArrayEquals(steps.get(0), steps.get(1));
        assertArrayEquals(steps.get(0), steps.get(2));
        assertEquals(0, device.replayCount());
    }

    @Test
    void stepsOfManyLongerRowsHaveRoom() {
        assumeTrue(EmulatedDevice.library(ElementType.F32).isPresent(), "the kernels were not compiled for emulation");
        var lengths = new ArrayList<Integer>();
        for (int row = 0; row < ROWS - 13; row++) {
            lengths.add(2 + row % 2);
        }
        var many = new Step(13, lengths);

        var steps = run(new EmulatedDevice(ElementType.F32), List.of(many, many));

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
