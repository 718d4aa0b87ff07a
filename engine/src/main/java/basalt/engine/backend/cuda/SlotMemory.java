package basalt.engine.backend.cuda;

import basalt.engine.model.ElementType;
import basalt.engine.state.StateImage;
import basalt.engine.state.StateLayout;
import basalt.engine.state.StateLayout.StateTensor;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;

/**
 * Where the tensors of a slot lie on the device, and the two ways between that form and {@link StateImage}. On the
 * device the sums of Taylor attention are two planes of 16 bits a head, and rings of heads are head-major.
 */
final class SlotMemory {
    private static final int ALIGNMENT = 256;

    private final StateLayout layout;
    private final long[] offsets; // bytes, one for each tensor of the layout
    private final long bytes;

    SlotMemory(StateLayout layout) {
        this.layout = layout;
        offsets = new long[layout.tensors().size()];
        long end = 0;
        for (int i = 0; i < offsets.length; i++) {
            offsets[i] = end;
            end += (layout.tensors().get(i).bytes() + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
        }
        bytes = end;
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
        for (int i = 0; i < offsets.length; i++) {
            StateTensor tensor = layout.tensors().get(i);
            MemorySegment data = slot.asSlice(offsets[i], tensor.bytes());
            float[] out = image.tensor(i);
            for (int index = 0; index < out.length; index++) {
                out[index] = get(tensor, data, index);
            }
        }
    }

    /** Writes an image as a slot's bytes. */
    void write(StateImage image, MemorySegment slot) {
        for (int i = 0; i < offsets.length; i++) {
            StateTensor tensor = layout.tensors().get(i);
            MemorySegment data = slot.asSlice(offsets[i], tensor.bytes());
            float[] in = image.tensor(i);
            for (int index = 0; index < in.length; index++) {
                set(tensor, data, index, in[index]);
            }
        }
    }

    private static float get(StateTensor tensor, MemorySegment data, int index) {
        if (tensor.role() == StateLayout.Role.TAYLOR_SUMS) {
            long high = highIndex(tensor, index);
            int bits = data.getAtIndex(ValueLayout.JAVA_SHORT, high) << 16;
            return Float.intBitsToFloat(bits + data.getAtIndex(ValueLayout.JAVA_SHORT, high + planeLength(tensor)));
        }
        int at = ringIndex(tensor, index);
        return tensor.type() == ElementType.BF16
                ? Float.intBitsToFloat(data.getAtIndex(ValueLayout.JAVA_SHORT, at) << 16)
                : data.getAtIndex(ValueLayout.JAVA_FLOAT, at);
    }

    private static void set(StateTensor tensor, MemorySegment data, int index, float value) {
        if (tensor.role() == StateLayout.Role.TAYLOR_SUMS) {
            int bits = Float.floatToRawIntBits(value);
            long high = highIndex(tensor, index);
            data.setAtIndex(ValueLayout.JAVA_SHORT, high, (short) ((bits + 0x8000) >> 16));
            data.setAtIndex(ValueLayout.JAVA_SHORT, high + planeLength(tensor), (short) bits);
            return;
        }
        int at = ringIndex(tensor, index);
        if (tensor.type() == ElementType.BF16) {
            data.setAtIndex(ValueLayout.JAVA_SHORT, at, bf16(value));
        } else {
            data.setAtIndex(ValueLayout.JAVA_FLOAT, at, value);
        }
    }

    /** The nearest bf16, ties to even. */
    static short bf16(float value) {
        int bits = Float.floatToRawIntBits(value);
        return Float.isNaN(value) ? 0x7fff : (short) ((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
    }

    private static int planeLength(StateTensor tensor) {
        return tensor.shape().get(1) * tensor.shape().get(2);
    }

    /** Of element {@code index} of [H, D, e] in [H, 2, D, e]. */
    private static long highIndex(StateTensor tensor, int index) {
        int plane = planeLength(tensor);
        return (long) index / plane * 2 * plane + index % plane;
    }

    /** Of element {@code index} of [ring, heads, width] in [heads, ring, width]; other tensors keep their order. */
    private static int ringIndex(StateTensor tensor, int index) {
        return switch (tensor.role()) {
            case CONVOLUTION_INPUTS, TAYLOR_SUMS, TAYLOR_NORMS -> index;
            case TAYLOR_KEYS, TAYLOR_VALUES, WINDOW_KEYS, WINDOW_VALUES -> {
                int rows = tensor.shape().get(0);
                int heads = tensor.shape().get(1);
                int width = tensor.shape().get(2);
                int row = index / (heads * width);
                int head = index / width % heads;
                yield (head * rows + row) * width + index % width;
            }
        };
    }
}
