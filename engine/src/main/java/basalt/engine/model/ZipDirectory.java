package basalt.engine.model;

import basalt.engine.EngineException.InvalidCheckpoint;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.util.LinkedHashMap;
import java.util.Map;

/**
 * The stored (not compressed) entries of a zip file in memory, as slices of it; {@code java.util.zip} does not tell
 * where an entry lies. Reads the central directory, with the 64-bit forms. Nothing in the file is trusted.
 */
final class ZipDirectory {
    private static final int ENTRIES_MAX = 1 << 17;
    private static final int END_BYTES = 22;
    private static final int END_64_BYTES = 56;
    private static final int LOCATOR_64_BYTES = 20;
    private static final int COMMENT_BYTES_MAX = 65_535;
    private static final int CENTRAL_BYTES = 46;
    private static final int LOCAL_BYTES = 30;
    private static final int END_SIGNATURE = 0x06054b50;
    private static final int END_64_SIGNATURE = 0x06064b50;
    private static final int LOCATOR_64_SIGNATURE = 0x07064b50;
    private static final int CENTRAL_SIGNATURE = 0x02014b50;
    private static final int LOCAL_SIGNATURE = 0x04034b50;
    private static final int EXTRA_64_ID = 1;
    private static final int FLAG_ENCRYPTED = 1;
    private static final long IN_64_BITS = 0xFFFF_FFFFL;

    private static final ValueLayout.OfShort U16 = ValueLayout.JAVA_SHORT_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);
    private static final ValueLayout.OfInt U32 = ValueLayout.JAVA_INT_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);
    private static final ValueLayout.OfLong U64 = ValueLayout.JAVA_LONG_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);

    private record End(long entryCount, long offset) {}

    private final String fileName;
    private final MemorySegment file;

    private ZipDirectory(String fileName, MemorySegment file) {
        this.fileName = fileName;
        this.file = file;
    }

    /**
     * Contents of all entries by name.
     *
     * @param fileName named in errors
     * @throws InvalidCheckpoint if the file is no zip file, is damaged, or has compressed or encrypted entries
     */
    static Map<String, MemorySegment> entries(String fileName, MemorySegment file) {
        return new ZipDirectory(fileName, file).read();
    }

    private Map<String, MemorySegment> read() {
        End end = end();
        if (end.entryCount() < 0 || end.entryCount() > ENTRIES_MAX) {
            throw wrong("has more than " + ENTRIES_MAX + " entries");
        }
        var entries = new LinkedHashMap<String, MemorySegment>();
        long at = end.offset();
        for (long i = 0; i < end.entryCount(); i++) {
            checkRange(at, CENTRAL_BYTES, "directory");
            if (u32(at) != CENTRAL_SIGNATURE) {
                throw wrong("has a damaged directory");
            }
            int nameBytes = u16(at + 28);
            int extraBytes = u16(at + 30);
            checkRange(at + CENTRAL_BYTES, (long) nameBytes + extraBytes, "directory");
            var name = text(at + CENTRAL_BYTES, nameBytes);
            if (entries.put(name, content(at, name, at + CENTRAL_BYTES + nameBytes, extraBytes)) != null) {
                throw wrong("has two entries " + name);
            }
            at += CENTRAL_BYTES + (long) nameBytes + extraBytes + u16(at + 32);
        }
        return entries;
    }

    private End end() {
        long last = file.byteSize() - END_BYTES;
        long first = Math.max(0, last - COMMENT_BYTES_MAX);
        for (long at = last; at >= first; at--) {
            if (u32(at) == END_SIGNATURE && u16(at + 20) == last - at) {
                long offset = u32(at + 16) & IN_64_BITS;
                int entryCount = u16(at + 10);
                boolean isIn64 = offset == IN_64_BITS || entryCount == 0xFFFF;
                return isIn64 ? end64(at - LOCATOR_64_BYTES) : new End(entryCount, offset);
            }
        }
        throw wrong("is no zip file, or truncated; save it with torch 1.6 or later");
    }

    private End end64(long locator) {
        checkRange(locator, LOCATOR_64_BYTES, "64-bit locator");
        long at = u64(locator + 8);
        checkRange(at, END_64_BYTES, "64-bit end");
        if (u32(locator) != LOCATOR_64_SIGNATURE || u32(at) != END_64_SIGNATURE) {
            throw wrong("has a damaged 64-bit end");
        }
        return new End(u64(at + 32), u64(at + 48));
    }

    private MemorySegment content(long central, String name, long extra, int extraBytes) {
        if ((u16(central + 8) & FLAG_ENCRYPTED) != 0 || u16(central + 10) != 0) {
            throw wrong("entry " + name + " is compressed or encrypted; torch stores entries as they are");
        }
        long stored = u32(central + 20) & IN_64_BITS;
        long size = u32(central + 24) & IN_64_BITS;
        long offset = u32(central + 42) & IN_64_BITS;
        if (stored == IN_64_BITS || size == IN_64_BITS || offset == IN_64_BITS) {
            long at = extra64(extra, extraBytes, name);
            // Only the fields that do not fit are there, in this order.
            if (size == IN_64_BITS) {
                size = u64(at);
                at += Long.BYTES;
            }
            if (stored == IN_64_BITS) {
                at += Long.BYTES;
            }
            if (offset == IN_64_BITS) {
                offset = u64(at);
            }
        }
        checkRange(offset, LOCAL_BYTES, "entry " + name);
        if (u32(offset) != LOCAL_SIGNATURE) {
            throw wrong("entry " + name + " has a damaged header");
        }
        long begin = offset + LOCAL_BYTES + u16(offset + 26) + u16(offset + 28);
        checkRange(begin, size, "entry " + name);
        return file.asSlice(begin, size);
    }

    private long extra64(long extra, int extraBytes, String name) {
        long at = extra;
        long end = extra + extraBytes;
        while (at + 4 <= end) {
            int bytes = u16(at + 2);
            // At most three fields are read, and the directory's end record lies behind them.
            if (u16(at) == EXTRA_64_ID && at + 4 + bytes <= end) {
                checkRange(at + 4, 3L * Long.BYTES, "entry " + name);
                return at + 4;
            }
            at += 4L + bytes;
        }
        throw wrong("entry " + name + " lacks its 64-bit sizes");
    }

    private String text(long at, int bytes) {
        return new String(file.asSlice(at, bytes).toArray(ValueLayout.JAVA_BYTE), StandardCharsets.UTF_8);
    }

    private void checkRange(long offset, long bytes, String what) {
        if (offset < 0 || bytes < 0 || offset > file.byteSize() || bytes > file.byteSize() - offset) {
            throw wrong(what + " lies outside the file; is it truncated?");
        }
    }

    private int u16(long offset) {
        return Short.toUnsignedInt(file.get(U16, offset));
    }

    private int u32(long offset) {
        return file.get(U32, offset);
    }

    private long u64(long offset) {
        return file.get(U64, offset);
    }

    private InvalidCheckpoint wrong(String what) {
        return new InvalidCheckpoint(fileName + ": " + what);
    }
}
