package basalt.engine.backend.cuda;

import basalt.engine.Checks;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;

/**
 * The arguments of one launch, in the form that the driver takes: pointers to the values. Reused; confined to the
 * engine thread.
 */
final class KernelArguments {
    private static final int COUNT_MAX = 48;

    private final MemorySegment values; // i64 [COUNT_MAX], each holding one argument at its start
    private final MemorySegment pointers; // void* [COUNT_MAX]
    private int count;

    KernelArguments() {
        Arena arena = Arena.ofAuto();
        values = arena.allocate(ValueLayout.JAVA_LONG, COUNT_MAX);
        pointers = arena.allocate(ValueLayout.ADDRESS, COUNT_MAX);
        for (int i = 0; i < COUNT_MAX; i++) {
            pointers.setAtIndex(ValueLayout.ADDRESS, i, values.asSlice((long) i * Long.BYTES));
        }
    }

    /** Starts anew. */
    KernelArguments clear() {
        count = 0;
        return this;
    }

    /** A device address or a 64-bit number. */
    KernelArguments add(long value) {
        Checks.argument(count < COUNT_MAX, "count", count);
        values.setAtIndex(ValueLayout.JAVA_LONG, count++, value);
        return this;
    }

    /** A 32-bit number. */
    KernelArguments add(int value) {
        return add(value & 0xffffffffL);
    }

    /** A 32-bit floating-point number. */
    KernelArguments add(float value) {
        return add(Float.floatToRawIntBits(value));
    }

    /** How many there are. */
    int count() {
        return count;
    }

    /** What the driver takes. */
    MemorySegment pointers() {
        return pointers;
    }

    /** The values, 8 bytes each. */
    MemorySegment values() {
        return values;
    }
}
