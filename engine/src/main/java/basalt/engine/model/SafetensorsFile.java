package basalt.engine.model;

import basalt.engine.EngineException.InvalidCheckpoint;
import basalt.engine.json.FileFault;
import basalt.engine.json.JsonFields;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteOrder;
import java.nio.channels.FileChannel;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.LinkedHashMap;
import java.util.List;

/**
 * Reads the safetensors format: eight bytes of header length (little-endian), a JSON header of names, types, shapes
 * and offsets, and the elements. The file is mapped, nothing is copied. The header is not trusted: the elements must
 * fill the file without gap or overlap, in the sizes that types and shapes ask for.
 */
final class SafetensorsFile {
    /** Larger headers are refused; that of a 1.3B model has 40 kB. */
    static final int HEADER_BYTES_MAX = 8 << 20;
    /** Longer shapes are refused. */
    static final int RANK_MAX = 8;

    private static final ValueLayout.OfLong U64 = ValueLayout.JAVA_LONG_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);
    private static final int LENGTH_BYTES = 8;

    private record Entry(String name, TensorType type, List<Integer> shape, long begin, long end) {}

    private final String fileName;
    private final MemorySegment file;

    private SafetensorsFile(String fileName, MemorySegment file) {
        this.fileName = fileName;
        this.file = file;
    }

    /**
     * Maps a file.
     *
     * @param arena owns the mapping
     * @throws InvalidCheckpoint saying what is wrong with the file and the tensor
     */
    static TensorSet map(Path path, Arena arena) {
        try (var channel = FileChannel.open(path, StandardOpenOption.READ)) {
            var file = channel.map(FileChannel.MapMode.READ_ONLY, 0, channel.size(), arena);
            return new SafetensorsFile(String.valueOf(path.getFileName()), file).read();
        } catch (IOException e) {
            throw new InvalidCheckpoint(path + ": " + FileFault.reason(e), e);
        }
    }

    /**
     * Reads a file that is in memory already.
     *
     * @param fileName named in errors
     */
    static TensorSet read(String fileName, MemorySegment file) {
        return new SafetensorsFile(fileName, file).read();
    }

    private TensorSet read() {
        long headerBytes = headerBytes();
        var body = file.asSlice(LENGTH_BYTES + headerBytes);
        var entries = entries(header(headerBytes));
        checkOffsets(entries, body.byteSize());
        var set = new TensorSet(new LinkedHashMap<>(), new LinkedHashMap<>());
        for (Entry entry : entries) {
            var data = body.asSlice(entry.begin(), entry.end() - entry.begin());
            entry.type()
                    .elementType()
                    .ifPresentOrElse(
                            type -> set.tensors()
                                    .put(entry.name(), new Tensor(entry.name(), type, entry.shape(), data)),
                            () -> set.otherTypes()
                                    .put(entry.name(), entry.type().name()));
        }
        return set;
    }

    private long headerBytes() {
        if (file.byteSize() < LENGTH_BYTES) {
            throw wrong("is truncated: " + file.byteSize() + " bytes, a header length has 8");
        }
        long headerBytes = file.get(U64, 0);
        if (headerBytes < 0 || headerBytes > HEADER_BYTES_MAX) {
            throw wrong("header length " + Long.toUnsignedString(headerBytes) + " is over the limit of "
                    + HEADER_BYTES_MAX + " bytes");
        }
        if (headerBytes > file.byteSize() - LENGTH_BYTES) {
            throw wrong("is truncated: header of " + headerBytes + " bytes in a file of " + file.byteSize());
        }
        return headerBytes;
    }

    private JsonFields header(long headerBytes) {
        return JsonFields.parse(
                fileName + " header", file.asSlice(LENGTH_BYTES, headerBytes).toArray(ValueLayout.JAVA_BYTE));
    }

    private List<Entry> entries(JsonFields header) {
        var entries = new ArrayList<Entry>();
        for (String name : header.names()) {
            if (!name.equals("__metadata__")) {
                entries.add(
                        entry(name, header.object(name).orElseThrow(() -> header.wrong(name, "must be an object"))));
            }
        }
        entries.sort(Comparator.comparingLong(Entry::begin).thenComparingLong(Entry::end));
        return entries;
    }

    private Entry entry(String name, JsonFields fields) {
        String typeName = fields.text("dtype").orElseThrow(() -> fields.wrong("dtype", "is missing"));
        TensorType type = TensorType.of(typeName)
                .orElseThrow(() -> fields.wrong("dtype", "= " + typeName + " is not a known type"));
        if (!fields.has("shape")) {
            throw fields.wrong("shape", "is missing");
        }
        var shape = fields.integers("shape", 0, Integer.MAX_VALUE).stream()
                .map(Math::toIntExact)
                .toList();
        if (shape.size() > RANK_MAX) {
            throw fields.wrong("shape", "has " + shape.size() + " dimensions, at most " + RANK_MAX + " are read");
        }
        var offsets = fields.integers("data_offsets", 0, Long.MAX_VALUE);
        if (offsets.size() != 2 || offsets.get(0) > offsets.get(1)) {
            throw fields.wrong("data_offsets", "must be two ascending offsets, not " + offsets);
        }
        long bytes = bytes(shape, type);
        long begin = offsets.get(0);
        long end = offsets.get(1);
        if (bytes != end - begin) {
            throw wrong("tensor " + name + ": offsets hold " + (end - begin) + " bytes, shape " + shape + " of " + type
                    + " needs " + (bytes < 0 ? "more than there are" : bytes));
        }
        return new Entry(name, type, shape, begin, end);
    }

    /** Bytes of a tensor, -1 where no long holds them. */
    private static long bytes(List<Integer> shape, TensorType type) {
        long bytes = type.bytes();
        for (int length : shape) {
            if (length != 0 && bytes > Long.MAX_VALUE / length) {
                return -1;
            }
            bytes *= length;
        }
        return bytes;
    }

    private void checkOffsets(List<Entry> sorted, long bodyBytes) {
        long filled = 0;
        String before = "the header";
        for (Entry entry : sorted) {
            if (entry.end() > bodyBytes) {
                throw wrong(
                        "is truncated: tensor " + entry.name() + " ends at byte " + entry.end() + " of " + bodyBytes);
            }
            if (entry.begin() < filled) {
                throw wrong("tensor " + entry.name() + " overlaps tensor " + before);
            }
            if (entry.begin() > filled) {
                throw wrong("has a gap of " + (entry.begin() - filled) + " bytes before tensor " + entry.name());
            }
            filled = entry.end();
            before = entry.name();
        }
        if (filled != bodyBytes) {
            throw wrong("has " + (bodyBytes - filled) + " bytes after its last tensor");
        }
    }

    private InvalidCheckpoint wrong(String what) {
        return new InvalidCheckpoint(fileName + ": " + what);
    }
}
