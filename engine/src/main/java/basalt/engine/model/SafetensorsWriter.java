package basalt.engine.model;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.nio.file.StandardOpenOption;
import java.util.List;

/**
 * Writes a safetensors file in pieces of {@value #CHUNK_BYTES} bytes, however large the tensors are. The file appears
 * under its name when it is whole.
 */
final class SafetensorsWriter {
    static final int CHUNK_BYTES = 1 << 20;
    private static final int HEADER_ALIGNMENT = 8;

    /** Fills buffers with the elements of one tensor, in order. */
    interface Elements {
        /** Puts the next little-endian elements, as many as remain in the buffer. */
        void fill(ByteBuffer buffer);
    }

    /** A tensor to write. */
    record Source(String name, ElementType type, List<Integer> shape, Elements elements) {
        /** Size of the elements. */
        long bytes() {
            return shape.stream().mapToLong(Integer::longValue).reduce(type.bytes(), Math::multiplyExact);
        }
    }

    private SafetensorsWriter() {}

    /**
     * Writes a file, replacing what is there.
     *
     * @throws IOException if it cannot be written
     */
    static void write(Path file, List<Source> sources) throws IOException {
        Path part = file.resolveSibling(file.getFileName() + ".part");
        try {
            writeElements(part, sources);
            Files.move(part, file, StandardCopyOption.REPLACE_EXISTING);
        } finally {
            Files.deleteIfExists(part); // of a full disk, so that it is not full for ever
        }
    }

    private static void writeElements(Path part, List<Source> sources) throws IOException {
        try (var channel = FileChannel.open(
                part, StandardOpenOption.CREATE, StandardOpenOption.TRUNCATE_EXISTING, StandardOpenOption.WRITE)) {
            writeFully(channel, header(sources));
            var chunk = ByteBuffer.allocateDirect(CHUNK_BYTES).order(ByteOrder.LITTLE_ENDIAN);
            for (Source source : sources) {
                for (long left = source.bytes(); left > 0; left -= chunk.limit()) {
                    chunk.clear().limit((int) Math.min(left, CHUNK_BYTES));
                    source.elements().fill(chunk);
                    writeFully(channel, chunk.flip());
                }
            }
        }
    }

    private static ByteBuffer header(List<Source> sources) {
        var json = new StringBuilder("{\"__metadata__\":{\"format\":\"pt\"}");
        long offset = 0;
        for (Source source : sources) {
            // Names are those of ParameterShapes: nothing in them needs escaping.
            json.append(",\"%s\":{\"dtype\":\"%s\",\"shape\":%s,\"data_offsets\":[%d,%d]}"
                    .formatted(
                            source.name(),
                            source.type(),
                            source.shape().toString().replace(" ", ""),
                            offset,
                            offset + source.bytes()));
            offset += source.bytes();
        }
        json.append('}');
        json.append(" ".repeat(-json.length() & (HEADER_ALIGNMENT - 1)));
        byte[] text = json.toString().getBytes(StandardCharsets.UTF_8);
        return ByteBuffer.allocate(Long.BYTES + text.length)
                .order(ByteOrder.LITTLE_ENDIAN)
                .putLong(text.length)
                .put(text)
                .flip();
    }

    private static void writeFully(FileChannel channel, ByteBuffer buffer) throws IOException {
        while (buffer.hasRemaining()) {
            channel.write(buffer);
        }
    }
}
