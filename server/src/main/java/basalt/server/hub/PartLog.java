package basalt.server.hub;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.LinkOption;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.locks.ReentrantLock;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * Which byte ranges of a file have arrived: a line {@code FROM-TO} each, in a file beside it, so that a download goes
 * on where the last one was cut. Lines that were torn by a crash are ignored. Safe for use by any thread.
 */
final class PartLog implements AutoCloseable {
    private static final Pattern LINE = Pattern.compile("([0-9]{1,18})-([0-9]{1,18})\n");

    private final FileChannel channel;
    private final List<Range> ranges = new ArrayList<>();
    private final ReentrantLock lock = new ReentrantLock();

    private record Range(long from, long to) {}

    /** Reads what was logged, and appends from there. */
    PartLog(Path file) throws IOException {
        channel =
                FileChannel.open(file, StandardOpenOption.CREATE, StandardOpenOption.WRITE, LinkOption.NOFOLLOW_LINKS);
        String text = Files.readString(file, StandardCharsets.ISO_8859_1);
        Matcher matcher = LINE.matcher(text);
        int end = 0;
        for (; matcher.find(end) && matcher.start() == end; end = matcher.end()) {
            ranges.add(new Range(Long.parseLong(matcher.group(1)), Long.parseLong(matcher.group(2))));
        }
        channel.truncate(end).position(end);
    }

    /** Notes that the bytes from {@code from} to before {@code to} are there. */
    void add(long from, long to) throws IOException {
        lock.lock();
        try {
            ranges.add(new Range(from, to));
            channel.write(ByteBuffer.wrap((from + "-" + to + "\n").getBytes(StandardCharsets.US_ASCII)));
        } finally {
            lock.unlock();
        }
    }

    /** Bytes that have arrived; what was logged twice counts twice. */
    long bytes() {
        lock.lock();
        try {
            return ranges.stream().mapToLong(range -> range.to - range.from).sum();
        } finally {
            lock.unlock();
        }
    }

    /** Whether a part has arrived within one range. */
    boolean has(long from, long to) {
        lock.lock();
        try {
            return ranges.stream().anyMatch(range -> range.from <= from && to <= range.to);
        } finally {
            lock.unlock();
        }
    }

    @Override
    public void close() throws IOException {
        channel.close();
    }
}
