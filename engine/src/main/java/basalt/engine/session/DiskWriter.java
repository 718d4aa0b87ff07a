package basalt.engine.session;

import java.io.IOException;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.LinkedHashSet;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.Condition;
import java.util.concurrent.locks.ReentrantLock;
import org.jspecify.annotations.Nullable;

/** Brings written files to the disk, once a second, on a thread of its own. Safe for use by any number of threads. */
final class DiskWriter implements AutoCloseable {
    private static final System.Logger LOG = System.getLogger(DiskWriter.class.getName());
    private static final long INTERVAL_NANOS = TimeUnit.SECONDS.toNanos(1);

    private final ReentrantLock lock = new ReentrantLock();
    private final Condition closing = lock.newCondition();
    private LinkedHashSet<Path> waiting = new LinkedHashSet<>(); // under lock
    private boolean isClosing; // under lock
    private @Nullable Thread thread;

    void start() {
        thread = Thread.ofPlatform().daemon().name("basalt-disk").start(this::run);
    }

    /** Brings a file, or the names in a directory, to the disk within a second or so. */
    void later(Path path) {
        lock.lock();
        try {
            waiting.add(path);
        } finally {
            lock.unlock();
        }
    }

    private void run() {
        boolean isLast = false;
        while (!isLast) {
            isLast = await();
            forceAll();
        }
    }

    /** Waits for the next round; returns whether it is the last one. */
    private boolean await() {
        lock.lock();
        try {
            long left = INTERVAL_NANOS;
            while (!isClosing && left > 0) {
                left = closing.awaitNanos(left);
            }
            return isClosing;
        } catch (InterruptedException e) {
            return true;
        } finally {
            lock.unlock();
        }
    }

    private void forceAll() {
        LinkedHashSet<Path> paths;
        lock.lock();
        try {
            paths = waiting;
            waiting = new LinkedHashSet<>();
        } finally {
            lock.unlock();
        }
        for (Path path : paths) {
            try {
                force(path);
            } catch (NoSuchFileException e) {
                LOG.log(System.Logger.Level.DEBUG, "event=file_gone file={0}", path);
            } catch (IOException | RuntimeException | OutOfMemoryError e) {
                LOG.log(System.Logger.Level.ERROR, "event=not_on_disk file=" + path, e);
            }
        }
    }

    /** Brings a file, or the names in a directory, to the disk. */
    static void force(Path path) throws IOException {
        var how = Files.isDirectory(path) ? StandardOpenOption.READ : StandardOpenOption.WRITE;
        try (var channel = FileChannel.open(path, how)) {
            channel.force(false);
        }
    }

    /** Brings what waits to the disk, and ends. */
    @Override
    public void close() {
        lock.lock();
        try {
            isClosing = true;
            closing.signalAll();
        } finally {
            lock.unlock();
        }
        var running = thread;
        if (running != null) {
            try {
                running.join();
            } catch (InterruptedException e) {
                Thread.currentThread().interrupt();
            }
        }
    }
}
