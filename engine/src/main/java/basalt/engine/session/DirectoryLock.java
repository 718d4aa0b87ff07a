package basalt.engine.session;

import java.io.IOException;
import java.nio.channels.FileChannel;
import java.nio.channels.OverlappingFileLockException;
import java.nio.file.FileAlreadyExistsException;
import java.nio.file.Files;
import java.nio.file.LinkOption;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.nio.file.attribute.BasicFileAttributes;
import java.util.Objects;
import java.util.concurrent.locks.ReentrantLock;
import org.jspecify.annotations.Nullable;

/**
 * Holds a directory for one process, by a lock on its file {@code lock}. The lock is of the file and not of its name,
 * so whoever deletes the file lets another process in; {@link #require} notices. Safe for use by any number of threads.
 */
final class DirectoryLock implements AutoCloseable {
    private static final System.Logger LOG = System.getLogger(DirectoryLock.class.getName());

    private final Path path;
    private final ReentrantLock changing = new ReentrantLock();
    private volatile Held held;

    /**
     * A lock.
     *
     * @param key of the file, null where files have none
     */
    private record Held(FileChannel channel, @Nullable Object key) {}

    private DirectoryLock(Path path, Held held) {
        this.path = path;
        this.held = held;
    }

    /** @throws IOException if the directory cannot be had, or another process holds it */
    static DirectoryLock open(Path directory) throws IOException {
        Path path = directory.resolve("lock");
        try {
            Files.createFile(path);
        } catch (FileAlreadyExistsException e) {
            LOG.log(System.Logger.Level.DEBUG, "event=sessions_lock_found directory={0}", directory);
        }
        return new DirectoryLock(path, held(path));
    }

    private static Held held(Path path) throws IOException {
        Object key = key(path);
        var channel = FileChannel.open(path, StandardOpenOption.WRITE, LinkOption.NOFOLLOW_LINKS);
        boolean isHeld = false;
        try {
            // The same name before and after is that of the file between.
            isHeld = channel.tryLock() != null && Objects.equals(key, key(path));
        } catch (OverlappingFileLockException e) {
            LOG.log(System.Logger.Level.DEBUG, "event=sessions_locked file={0}", path);
        } finally {
            if (!isHeld) {
                channel.close();
            }
        }
        if (!isHeld) {
            throw new IOException("another process uses it");
        }
        return new Held(channel, key);
    }

    private static @Nullable Object key(Path path) throws IOException {
        return Files.readAttributes(path, BasicFileAttributes.class, LinkOption.NOFOLLOW_LINKS)
                .fileKey();
    }

    /**
     * Makes sure that the directory is still this process's alone. A file that was deleted is made again, if nobody has
     * done so before.
     *
     * @throws IOException if this was closed, or another process may have the directory
     */
    void require() throws IOException {
        if (!isKept()) {
            changing.lock();
            try {
                if (!isKept()) {
                    restore();
                }
            } finally {
                changing.unlock();
            }
        }
    }

    private boolean isKept() throws IOException {
        var now = held;
        if (!now.channel().isOpen()) {
            throw new IOException("the sessions are closed, as the server ends");
        }
        try {
            return Objects.equals(now.key(), key(path));
        } catch (NoSuchFileException e) {
            return false;
        }
    }

    /** Call only when holding the lock of changing. */
    private void restore() throws IOException {
        try {
            Files.createFile(path);
        } catch (FileAlreadyExistsException e) {
            throw new IOException(
                    path + " was replaced, so another process may use the sessions and this one writes nothing more;"
                            + " see that there is one, and start it again",
                    e);
        }
        var before = held;
        held = held(path);
        before.channel().close();
        LOG.log(System.Logger.Level.WARNING, "event=sessions_lock_restored file={0}", path);
    }

    @Override
    public void close() throws IOException {
        held.channel().close();
    }
}
