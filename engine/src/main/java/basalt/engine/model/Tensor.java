package basalt.engine.model;

import basalt.engine.Checks;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteOrder;
import java.util.List;

/**
 * A stored tensor, row-major, last index fastest, little-endian.
 *
 * @param name as in the checkpoint
 * @param type of each element
 * @param shape lengths, outermost first
 * @param data exactly the elements; need not be aligned
 */
public record Tensor(String name, ElementType type, List<Integer> shape, MemorySegment data) {
    private static final ValueLayout.OfFloat F32 = ValueLayout.JAVA_FLOAT_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);
    private static final ValueLayout.OfShort U16 = ValueLayout.JAVA_SHORT_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);

    /** Checks that the data's size is that of the shape. */
    public Tensor {
        shape = List.copyOf(shape);
        Checks.argument(data.byteSize() == elementCount(shape) * type.bytes(), "data.byteSize", data.byteSize());
    }

    /** Product of the lengths. */
    public long elementCount() {
        return elementCount(shape);
    }

    /** The same elements under another name. */
    Tensor named(String other) {
        return new Tensor(other, type, shape, data);
    }

    /** One element, widened exactly. */
    public float at(long index) {
        return switch (type) {
            case F32 -> data.getAtIndex(F32, index);
            case F16 -> Float.float16ToFloat(data.getAtIndex(U16, index));
            case BF16 -> Float.intBitsToFloat(data.getAtIndex(U16, index) << 16);
        };
    }

    /** All elements, widened exactly. */
    public float[] toFloats() {
        var floats = new float[Math.toIntExact(elementCount())];
        for (int i = 0; i < floats.length; i++) {
            floats[i] = at(i);
        }
        return floats;
    }

    private static long elementCount(List<Integer> shape) {
        long count = 1;
        for (int length : shape) {
            count *= length;
        }
        return count;
    }
}
