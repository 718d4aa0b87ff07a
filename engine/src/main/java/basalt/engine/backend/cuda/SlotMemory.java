package basalt.engine.backend.cuda;

import basalt.engine.model.ElementType;
import basalt.engine.state.StateImage;
import basalt.engine.state.StateLayout;
import basalt.engine.state.StateLayout.StateTensor;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;

/**
 * Where the tensors of a slot lie on the device, and the two ways between that form and {@link StateImage}. On the
 * device the sums of Taylor attention are two planes of 16 bits a head, and rings of heads are head-major. Immutable.
 */
final class SlotMemory {
    private static final int ALIGNMENT = 256;

    private final StateLayout layout;
    private final long[] offsets; // bytes, one for each tensor of the layout
    private final long bytes;
    private final int runMax; // elements

    SlotMemory(StateLayout layout) {
        this.layout = layout;
        offsets = new long[layout.tensors().size()];
        long end = 0;
        for (int i = 0; i < offsets.length; i++) {
            offsets[i] = end;
            end += (layout.tensors().get(i).bytes() + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
        }
        bytes = end;
        runMax = layout.tensors().stream().mapToInt(SlotMemory::runLength).max().orElse(0);
    }

    /** Size of one slot. */
    long bytes() {
        return bytes;
    }

    /** Element type of the rings. */
    ElementType ringType() {
        return layout.tensors().getLast().type();
    }

    /** Offset of the tensor of a layer that has a role. */
    long offset(int layer, StateLayout.Role role) {
        for (int i = 0; i < offsets.length; i++) {
            StateTensor tensor = layout.tensors().get(i);
            if (tensor.layer() == layer && tensor.role() == role) {
                return offsets[i];
            }
        }
        throw new IllegalArgumentException("layer " + layer + " has no " + role);
    }

    /** Reads a slot's bytes into an image. */
    void read(MemorySegment slot, StateImage image) {
        short[] words = new short[2 * runMax];
        for (int i = 0; i < offsets.length; i++) {
            StateTensor tensor = layout.tensors().get(i);
            MemorySegment data = slot.asSlice(offsets[i], tensor.bytes());
            float[] out = image.tensor(i);
            int run = runLength(tensor);
            for (int from = 0; from < out.length; from += run) {
                int at = slotIndex(tensor, from);
                if (tensor.role() == StateLayout.Role.TAYLOR_SUMS) {
                    MemorySegment.copy(data, ValueLayout.JAVA_SHORT, 2L * at, words, 0, 2 * run);
                    join(words, out, from, run);
                } else if (tensor.type() == ElementType.BF16) {
                    MemorySegment.copy(data, ValueLayout.JAVA_SHORT, 2L * at, words, 0, run);
                    widen(words, out, from, run);
                } else {
                    MemorySegment.copy(data, ValueLayout.JAVA_FLOAT, 4L * at, out, from, run);
                }
            }
        }
    }

    /** Writes an image as a slot's bytes. */
    void write(StateImage image, MemorySegment slot) {
        short[] words = new short[2 * runMax];
        for (int i = 0; i < offsets.length; i++) {
            StateTensor tensor = layout.tensors().get(i);
            MemorySegment data = slot.asSlice(offsets[i], tensor.bytes());
            float[] in = image.tensor(i);
            int run = runLength(tensor);
            for (int from = 0; from < in.length; from += run) {
                int at = slotIndex(tensor, from);
                if (tensor.role() == StateLayout.Role.TAYLOR_SUMS) {
                    split(in, from, run, words);
                    MemorySegment.copy(words, 0, data, ValueLayout.JAVA_SHORT, 2L * at, 2 * run);
                } else if (tensor.type() == ElementType.BF16) {
                    narrow(in, from, run, words);
                    MemorySegment.copy(words, 0, data, ValueLayout.JAVA_SHORT, 2L * at, run);
                } else {
                    MemorySegment.copy(in, from, data, ValueLayout.JAVA_FLOAT, 4L * at, run);
                }
            }
        }
    }

    // Plain loops over arrays: a state has millions of elements, and a load makes the engine wait for them.

    /** The f32 of a high and a low plane. */
    private static void join(short[] words, float[] out, int from, int run) {
        for (int i = 0; i < run; i++) {
            out[from + i] = Float.intBitsToFloat((words[i] << 16) + words[run + i]);
        }
    }

    private static void split(float[] in, int from, int run, short[] words) {
        for (int i = 0; i < run; i++) {
            int bits = Float.floatToRawIntBits(in[from + i]);
            words[i] = (short) ((bits + 0x8000) >> 16);
            words[run + i] = (short) bits;
        }
    }

    private static void widen(short[] words, float[] out, int from, int run) {
        for (int i = 0; i < run; i++) {
            out[from + i] = Float.intBitsToFloat(words[i] << 16);
        }
    }

    private static void narrow(float[] in, int from, int run, short[] words) {
        for (int i = 0; i < run; i++) {
            words[i] = bf16(in[from + i]);
        }
    }

    /** The nearest bf16, ties to even. */
    static short bf16(float value) {
        int bits = Float.floatToRawIntBits(value);
        return Float.isNaN(value) ? 0x7fff : (short) ((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
    }

    /** Elements that follow each other in both forms. */
    private static int runLength(StateTensor tensor) {
        return switch (tensor.role()) {
            case CONVOLUTION_INPUTS, TAYLOR_NORMS -> tensor.elementCount();
            case TAYLOR_SUMS -> tensor.shape().get(1) * tensor.shape().get(2);
            case TAYLOR_KEYS, TAYLOR_VALUES, WINDOW_KEYS, WINDOW_VALUES ->
                tensor.shape().getLast();
        };
    }

    /**
     * Where a run that begins at an element of the image begins in the slot, in elements of the slot: [H, D, e] becomes
     * [H, 2, D, e] of 16 bits, [ring, heads, width] becomes [heads, ring, width], other tensors keep their order.
     */
    private static int slotIndex(StateTensor tensor, int from) {
        return switch (tensor.role()) {
            case CONVOLUTION_INPUTS, TAYLOR_NORMS -> from;
            case TAYLOR_SUMS -> 2 * from;
            case TAYLOR_KEYS, TAYLOR_VALUES, WINDOW_KEYS, WINDOW_VALUES -> {
                int rows = tensor.shape().get(0);
                int heads = tensor.shape().get(1);
                int width = tensor.shape().get(2);
                int row = from / (heads * width);
                int head = from / width % heads;
                yield (head * rows + row) * width;
            }
        };
    }
}
