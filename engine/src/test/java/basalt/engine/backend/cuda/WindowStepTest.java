package basalt.engine.backend.cuda;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import basalt.engine.model.ElementType;
import basalt.engine.state.StateLayout;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.ArrayList;
import java.util.List;
import java.util.SplittableRandom;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedClass;
import org.junit.jupiter.params.provider.MethodSource;

/** The window's kernel of each head width against that of any width, where goldens do not reach; emulated. */
@ParameterizedClass
@MethodSource("cases")
@SuppressWarnings("restricted")
final class WindowStepTest {
    /** Outputs are below 1, where bf16 has steps of 2^-8: sums in another order may be rounded to the next one. */
    private static final float BF16_TOLERANCE = 0x1p-8f;
    /** Rounding of sums over a window. */
    private static final float F32_TOLERANCE = 1e-5f;

    private static final int HEADS = 4;
    private static final int KEY_HEADS = 2;
    private static final int REACH = 200; // two chunks of keys in bf16, four in f32
    private static final int RING = REACH + StateLayout.ROLLBACK_TOKENS;
    private static final int SLOTS = 8; // slot 0 is nobody's
    private static final List<Row> ROWS = List.of(
            new Row(4, 0, 1), // sees itself alone
            new Row(7, 0, 2),
            new Row(-1, 7, 1), // padding
            new Row(2, 140, 1), // the last chunk is not full
            new Row(3, 128, 1), // the last chunk is just full
            new Row(5, 2 * RING - 1, 2), // written to the ring's last row and its first
            new Row(6, 2 * RING + 50, 2), // read across the ring's end
            new Row(1, (1L << 33) + 50, 1)); // a position of more than 32 bits
    private static final int TOKENS = ROWS.stream().mapToInt(Row::count).sum();

    private final Case c;

    WindowStepTest(Case c) {
        this.c = c;
    }

    /** Rotary embedding is of all entries of a head, or of half of them if interleaved. */
    record Case(ElementType type, int headWidth, boolean isInterleaved) {
        int rotaryDim() {
            return isInterleaved ? headWidth / 2 : headWidth;
        }
    }

    private record Row(int slot, long position, int count) {}

    static List<Case> cases() {
        var cases = new ArrayList<Case>();
        for (var type : List.of(ElementType.BF16, ElementType.F32)) {
            for (int headWidth : new int[] {32, 64, 112}) {
                cases.add(new Case(type, headWidth, false));
                cases.add(new Case(type, headWidth, true));
            }
        }
        return cases;
    }

    @BeforeEach
    void requireEmulation() {
        assumeTrue(EmulatedDevice.library(c.type()).isPresent(), "the kernels were not compiled for emulation");
    }

    /**
     * What a step leaves.
     *
     * @param outputs of all tokens
     * @param states of all slots, and as many bytes as a slot has before them
     */
    private record Left(float[] outputs, byte[] states) {}

    @Test
    void theKernelOfAWidthLeavesWhatThatOfAnyWidthLeaves() {
        Kernel kernel = switch (c.headWidth()) {
            case 32 -> Kernel.WINDOW_STEP_32;
            case 64 -> Kernel.WINDOW_STEP_64;
            default -> Kernel.WINDOW_STEP_112;
        };

        var seen = run(kernel, c.headWidth() == 112 ? 256 : 128, kernel.sharedBytesMax());

        var expected = run(Kernel.WINDOW_STEP_ANY, 128, (REACH + 1 + c.headWidth()) * Float.BYTES);
        int missing = 0;
        for (float output : expected.outputs()) {
            missing += Float.isNaN(output) ? 1 : 0;
        }
        assertEquals(HEADS * c.headWidth(), missing, "those of the padding row, where nothing is written");
        float tolerance = c.type() == ElementType.BF16 ? BF16_TOLERANCE : F32_TOLERANCE;
        assertArrayEquals(expected.outputs(), seen.outputs(), tolerance, "outputs");
        assertArrayEquals(expected.states(), seen.states(), "states");
    }

    /** A step of all rows, of the same random numbers each time. */
    private Left run(Kernel kernel, int threads, int sharedBytes) {
        var random = new SplittableRandom(1);
        long tensorBytes = (long) c.type().bytes() * KEY_HEADS * RING * c.headWidth();
        long slotBytes = 2 * tensorBytes;
        try (var device = new EmulatedDevice(c.type())) {
            var states = memory(device, (SLOTS + 1) * slotBytes);
            var outputs = memory(device, (long) c.type().bytes() * TOKENS * HEADS * c.headWidth());
            var arguments = new KernelArguments();
            addRows(device, arguments);
            arguments
                    .add(randomTokens(device, random).address())
                    .add(randomAngles(device, random).address())
                    .add(outputs.address())
                    .add(states.address() + slotBytes)
                    .add(slotBytes)
                    .add(0L)
                    .add(tensorBytes)
                    .add(HEADS)
                    .add(KEY_HEADS)
                    .add(REACH)
                    .add(RING)
                    .add((float) (6 / Math.sqrt(c.headWidth()))) // some keys count much more than others
                    .add(c.rotaryDim())
                    .add(c.isInterleaved() ? 1 : 0);
            if (kernel == Kernel.WINDOW_STEP_ANY) {
                arguments.add(c.headWidth());
            }
            for (var row : ROWS) {
                if (row.slot() >= 0) {
                    fillWindow(row, states.asSlice((row.slot() + 1) * slotBytes, slotBytes), random);
                }
            }

            device.launch(kernel, KEY_HEADS, ROWS.size(), threads, sharedBytes, arguments);
            device.synchronize();

            return new Left(floats(outputs), states.toArray(ValueLayout.JAVA_BYTE));
        }
    }

    /** NaN in every element. */
    private static MemorySegment memory(Device device, long bytes) {
        return MemorySegment.ofAddress(device.allocate(bytes)).reinterpret(bytes);
    }

    private static void addRows(Device device, KernelArguments arguments) {
        var slots = memory(device, (long) Integer.BYTES * ROWS.size());
        var positions = memory(device, (long) Long.BYTES * ROWS.size());
        var starts = memory(device, (long) Integer.BYTES * ROWS.size());
        var counts = memory(device, (long) Integer.BYTES * ROWS.size());
        int start = 0;
        for (int i = 0; i < ROWS.size(); i++) {
            var row = ROWS.get(i);
            slots.setAtIndex(ValueLayout.JAVA_INT, i, row.slot());
            positions.setAtIndex(ValueLayout.JAVA_LONG, i, row.position());
            starts.setAtIndex(ValueLayout.JAVA_INT, i, start);
            counts.setAtIndex(ValueLayout.JAVA_INT, i, row.count());
            start += row.count();
        }
        arguments
                .add(slots.address())
                .add(positions.address())
                .add(starts.address())
                .add(counts.address());
    }

    /** Queries, keys and values of all tokens. */
    private MemorySegment randomTokens(Device device, SplittableRandom random) {
        int count = TOKENS * (HEADS + 2 * KEY_HEADS) * c.headWidth();
        var tokens = memory(device, (long) c.type().bytes() * count);
        fill(tokens, 0, count, random);
        return tokens;
    }

    /** Cosines, then sines, of all tokens. */
    private MemorySegment randomAngles(Device device, SplittableRandom random) {
        int half = c.rotaryDim() / 2;
        var angles = memory(device, (long) Float.BYTES * TOKENS * c.rotaryDim());
        for (int t = 0; t < TOKENS; t++) {
            for (int i = 0; i < half; i++) {
                double angle = random.nextDouble(2 * Math.PI);
                angles.setAtIndex(ValueLayout.JAVA_FLOAT, 2L * half * t + i, (float) Math.cos(angle));
                angles.setAtIndex(ValueLayout.JAVA_FLOAT, 2L * half * t + half + i, (float) Math.sin(angle));
            }
        }
        return angles;
    }

    /** Keys and values of the tokens that a row's first one sees, and of no others. */
    private void fillWindow(Row row, MemorySegment slot, SplittableRandom random) {
        for (long position = Math.max(0, row.position() - REACH); position < row.position(); position++) {
            for (int tensorHead = 0; tensorHead < 2 * KEY_HEADS; tensorHead++) {
                long ringRow = (long) tensorHead * RING + position % RING;
                fill(slot, ringRow * c.headWidth(), c.headWidth(), random);
            }
        }
    }

    private void fill(MemorySegment elements, long first, int count, SplittableRandom random) {
        for (long i = first; i < first + count; i++) {
            float value = (float) random.nextDouble(-1, 1);
            if (c.type() == ElementType.BF16) {
                elements.setAtIndex(ValueLayout.JAVA_SHORT, i, SlotMemory.bf16(value));
            } else {
                elements.setAtIndex(ValueLayout.JAVA_FLOAT, i, value);
            }
        }
    }

    private float[] floats(MemorySegment elements) {
        if (c.type() == ElementType.F32) {
            return elements.toArray(ValueLayout.JAVA_FLOAT);
        }
        short[] words = elements.toArray(ValueLayout.JAVA_SHORT);
        float[] values = new float[words.length];
        for (int i = 0; i < values.length; i++) {
            values[i] = Float.intBitsToFloat(words[i] << 16);
        }
        return values;
    }
}
