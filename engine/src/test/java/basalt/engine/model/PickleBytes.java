package basalt.engine.model;

import java.io.ByteArrayOutputStream;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;

/** A pickle, opcode by opcode. */
final class PickleBytes {
    private final ByteArrayOutputStream bytes = new ByteArrayOutputStream();

    /** Starts with protocol 2. */
    PickleBytes() {
        opcodes(0x80, 2);
    }

    PickleBytes opcodes(int... opcodes) {
        for (int opcode : opcodes) {
            bytes.write(opcode);
        }
        return this;
    }

    PickleBytes text(String text) {
        byte[] utf8 = text.getBytes(StandardCharsets.UTF_8);
        return opcodes('X').int32(utf8.length).raw(utf8);
    }

    PickleBytes number(int value) {
        return opcodes('J').int32(value);
    }

    PickleBytes int32(int value) {
        return raw(ByteBuffer.allocate(4)
                .order(ByteOrder.LITTLE_ENDIAN)
                .putInt(value)
                .array());
    }

    PickleBytes int64(long value) {
        return raw(ByteBuffer.allocate(8)
                .order(ByteOrder.LITTLE_ENDIAN)
                .putLong(value)
                .array());
    }

    PickleBytes global(String module, String name) {
        return opcodes('c').raw((module + "\n" + name + "\n").getBytes(StandardCharsets.UTF_8));
    }

    PickleBytes numbers(int... values) {
        opcodes('(');
        for (int value : values) {
            number(value);
        }
        return opcodes('t');
    }

    /** A float32 tensor of storage "0". */
    PickleBytes tensor(int count, int offset, int[] shape, int[] strides) {
        return global("torch._utils", "_rebuild_tensor_v2")
                .opcodes('(')
                .storage("0", count)
                .number(offset)
                .numbers(shape)
                .numbers(strides)
                .opcodes(0x89)
                .global("collections", "OrderedDict")
                .opcodes(')', 'R', 't', 'R');
    }

    PickleBytes storage(String key, int count) {
        return opcodes('(')
                .text("storage")
                .global("torch", "FloatStorage")
                .text(key)
                .text("cpu")
                .number(count)
                .opcodes('t', 'Q');
    }

    byte[] stop() {
        return opcodes('.').bytes.toByteArray();
    }

    private PickleBytes raw(byte[] raw) {
        bytes.writeBytes(raw);
        return this;
    }
}
