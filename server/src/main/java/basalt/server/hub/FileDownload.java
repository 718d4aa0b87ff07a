package basalt.server.hub;

import java.io.EOFException;
import java.io.IOException;
import java.io.InputStream;
import java.net.HttpURLConnection;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.LinkOption;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.nio.file.StandardOpenOption;
import java.time.Duration;
import java.util.ArrayList;
import java.util.concurrent.ThreadLocalRandom;
import java.util.concurrent.atomic.AtomicLong;
import java.util.concurrent.atomic.AtomicReference;
import org.jspecify.annotations.Nullable;

/**
 * One file on its way from the hub: several connections fetch parts of it, each goes on where it was cut, and so does
 * the next process after a crash. The file gets its name when its hash is right, not before. Used once.
 */
final class FileDownload {
    /** Bytes of a part: what a crash costs at most for each connection. */
    static final long PART_BYTES = 8 << 20;

    private static final int CONNECTIONS = 4;
    /** Tries without a single byte before a part is given up. */
    private static final int FRUITLESS_TRIES_MAX = 6;

    private static final int BUFFER_BYTES = 1 << 17;
    private static final int PARTIAL_CONTENT = 206;

    private final HubClient client;
    private final HubId commit;
    private final HubFile file;
    private final Duration pause;
    private final DownloadProgress progress;
    private final AtomicLong nextPart = new AtomicLong();
    private final AtomicReference<@Nullable Exception> failure = new AtomicReference<>();

    /**
     * Of one file.
     *
     * @param pause before the second try; doubles from try to try
     */
    FileDownload(HubClient client, HubId commit, HubFile file, Duration pause, DownloadProgress progress) {
        this.client = client;
        this.commit = commit;
        this.file = file;
        this.pause = pause;
        this.progress = progress;
    }

    /**
     * Downloads the file.
     *
     * @param target its place once it is whole; beside it stands what is not
     * @throws IOException if the hub stays out of reach or the disk fails; what has arrived is kept for the next time
     * @throws HubException if the hub refuses, or sent another content, which is thrown away
     */
    void run(Path target) throws IOException, InterruptedException {
        Path partial = partial(target);
        Path log = log(target);
        if (Files.notExists(partial)) {
            Files.deleteIfExists(log);
        }
        try (var parts = new PartLog(log);
                var data = FileChannel.open(
                        partial, StandardOpenOption.CREATE, StandardOpenOption.WRITE, LinkOption.NOFOLLOW_LINKS)) {
            data.truncate(file.bytes());
            // The first part alone, because a server that knows no ranges sends the whole file with it.
            takeParts(1, parts, data);
            var threads = new ArrayList<Thread>();
            for (int i = 0; i < Math.min(CONNECTIONS, partCount() - 1); i++) {
                threads.add(Thread.ofVirtual().name("download-", i).start(() -> takeParts(partCount(), parts, data)));
            }
            join(threads);
            throwFailure();
            data.force(true);
        }
        if (!file.matches(partial)) {
            Files.delete(partial);
            Files.delete(log);
            throw new HubException("what the hub sent as " + file.name() + " of " + commit
                    + " has not the hash it tells, and was thrown away; try again, or ask who runs the hub");
        }
        Files.move(partial, target, StandardCopyOption.ATOMIC_MOVE);
        Files.delete(log);
    }

    /** Bytes of a file that an earlier download has left. */
    static long arrivedBytes(Path target) throws IOException {
        if (Files.notExists(partial(target))) {
            return 0;
        }
        try (var parts = new PartLog(log(target))) {
            return parts.bytes();
        }
    }

    /** Not the name that the hub's own tools give theirs (.incomplete): they take such a file for a whole beginning. */
    private static Path partial(Path target) {
        return target.resolveSibling(target.getFileName() + ".partial");
    }

    private static Path log(Path target) {
        return target.resolveSibling(target.getFileName() + ".parts");
    }

    private long partCount() {
        return (file.bytes() + PART_BYTES - 1) / PART_BYTES;
    }

    private void join(Iterable<Thread> threads) throws InterruptedException {
        try {
            for (Thread thread : threads) {
                thread.join();
            }
        } catch (InterruptedException e) {
            failure.compareAndSet(null, e);
            threads.forEach(Thread::interrupt);
            throw e;
        }
    }

    private void throwFailure() throws IOException, InterruptedException {
        switch (failure.get()) {
            case null -> {}
            case IOException e -> throw e;
            case InterruptedException e -> throw e;
            case HubException e -> throw e;
            case Exception e -> throw new IllegalStateException("a part failed", e);
        }
    }

    /** Fetches parts below {@code end} until none is left or one has failed. */
    private void takeParts(long end, PartLog parts, FileChannel data) {
        try {
            while (failure.get() == null && nextPart.get() < Math.min(end, partCount())) {
                long from = nextPart.getAndIncrement() * PART_BYTES;
                long to = Math.min(from + PART_BYTES, file.bytes());
                if (from >= to) {
                    return; // another thread took the last one
                }
                if (parts.has(from, to)) {
                    progress.keep(to - from);
                } else {
                    fetch(from, to, parts, data);
                }
            }
        } catch (IOException | InterruptedException | HubException e) {
            failure.compareAndSet(null, e);
        }
    }

    private void fetch(long from, long to, PartLog parts, FileChannel data) throws IOException, InterruptedException {
        long at = from;
        int fruitless = 0;
        while (at < to) {
            var transfer = new Transfer(at, to);
            try {
                transfer.run(parts, data);
                at = to;
            } catch (DiskFailure | ProxyRefusal e) {
                throw e;
            } catch (IOException e) {
                fruitless = transfer.at > at ? 0 : fruitless + 1;
                at = transfer.at;
                if (failure.get() != null || fruitless == FRUITLESS_TRIES_MAX) {
                    throw e;
                }
                progress.cut(file.name(), at, e);
                // With jitter, so that connections that were cut together do not come back together.
                Thread.sleep(pause.multipliedBy(1L << fruitless)
                        .plusMillis(ThreadLocalRandom.current().nextLong(1 + pause.toMillis())));
            }
        }
        parts.add(from, to);
    }

    /** The disk's, not the hub's: another try does not help. */
    private static final class DiskFailure extends IOException {
        private static final long serialVersionUID = 1L;

        DiskFailure(IOException cause) {
            super(HubException.reason(cause), cause);
        }
    }

    /** One answer of the hub. */
    private final class Transfer {
        private final long to;
        private long at;

        Transfer(long from, long to) {
            this.to = to;
            at = from;
        }

        void run(PartLog parts, FileChannel data) throws IOException {
            HttpURLConnection connection = client.open(commit, file, at, to);
            try (InputStream in = connection.getInputStream()) {
                if (connection.getResponseCode() == PARTIAL_CONTENT) {
                    requireRange(connection.getHeaderField("Content-Range"));
                    copy(in, data, to);
                } else if (at == 0) {
                    copy(in, data, file.bytes());
                    parts.add(0, file.bytes());
                } else {
                    throw new HubException("the hub " + connection.getURL().getHost() + " ignores the header Range of "
                            + file.name() + ": a download that was cut cannot go on there");
                }
            } finally {
                connection.disconnect();
            }
        }

        private void requireRange(@Nullable String range) {
            if (range == null || !range.startsWith("bytes " + at + "-")) {
                throw new HubException("the hub sent the range \"" + range + "\" of " + file.name()
                        + ", asked for byte " + at + " on");
            }
        }

        private void copy(InputStream in, FileChannel data, long end) throws IOException {
            var buffer = new byte[BUFFER_BYTES];
            while (at < end) {
                if (failure.get() != null) {
                    throw new IOException("another part has failed");
                }
                int count = in.read(buffer, 0, (int) Math.min(buffer.length, end - at));
                if (count < 0) {
                    throw new EOFException("the hub ended " + file.name() + " at byte " + at + " of " + end);
                }
                write(data, ByteBuffer.wrap(buffer, 0, count));
                at += count;
                progress.receive(count);
            }
        }

        private void write(FileChannel data, ByteBuffer bytes) throws IOException {
            try {
                for (long place = at; bytes.hasRemaining(); ) {
                    place += data.write(bytes, place);
                }
            } catch (IOException e) {
                throw new DiskFailure(e);
            }
        }
    }
}
