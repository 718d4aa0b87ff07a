package basalt.server.hub;

import java.io.IOException;
import java.nio.channels.FileChannel;
import java.nio.channels.FileLock;
import java.nio.file.FileAlreadyExistsException;
import java.nio.file.Files;
import java.nio.file.LinkOption;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.nio.file.StandardOpenOption;
import java.util.Optional;
import java.util.stream.Collectors;
import java.util.stream.Stream;

/**
 * One model in the cache, laid out as the hub's own tools do, so that both share downloads: {@code blobs/HASH} holds
 * contents, {@code snapshots/COMMIT/NAME} links to them, {@code refs/REVISION} names a commit.
 */
final class HubCache {
    private static final System.Logger LOG = System.getLogger(HubCache.class.getName());

    private final HubId id;
    private final Path folder;

    /** Of one model; creates nothing. */
    HubCache(Path root, HubId id) {
        this.id = id;
        folder = root.resolve("models--" + id.repository().replace("/", "--"));
    }

    /** Where a commit's files stand. */
    Path snapshot(String commit) {
        return folder.resolve("snapshots").resolve(commit);
    }

    /** Where a content stands. */
    Path blob(String hash) {
        return folder.resolve("blobs").resolve(hash);
    }

    /** The commit that a revision was, the last time the hub was asked. */
    Optional<String> commit() {
        if (HubId.isCommit(id.revision())) {
            return Optional.of(id.revision());
        }
        try {
            String commit = Files.readString(folder.resolve("refs").resolve(id.revision()))
                    .strip();
            return HubId.isCommit(commit) ? Optional.of(commit) : Optional.empty();
        } catch (IOException e) {
            return Optional.empty();
        }
    }

    /** Whether a commit is there with its configuration and weights. */
    boolean isComplete(String commit) {
        try (Stream<Path> files = Files.list(snapshot(commit))) {
            return HubListing.isCheckpoint(files.filter(Files::isRegularFile) // not links to what was cleaned away
                    .map(file -> file.getFileName().toString())
                    .collect(Collectors.toSet()));
        } catch (IOException e) {
            return false;
        }
    }

    /** Whether all of a commit's files are there as the hub tells them. */
    boolean holds(String commit, Iterable<HubFile> files) throws IOException {
        for (HubFile file : files) {
            if (!file.fits(snapshot(commit).resolve(file.name()))) {
                return false;
            }
        }
        return true;
    }

    /** Remembers what commit the revision is, for when the hub cannot be asked. */
    void remember(String commit) {
        if (commit().equals(Optional.of(commit))) {
            return;
        }
        Path reference = folder.resolve("refs").resolve(id.revision());
        try {
            Files.createDirectories(reference.getParent());
            Path written = Files.writeString(reference.resolveSibling(reference.getFileName() + ".new"), commit);
            Files.move(written, reference, StandardCopyOption.ATOMIC_MOVE, StandardCopyOption.REPLACE_EXISTING);
        } catch (IOException e) {
            LOG.log(
                    System.Logger.Level.WARNING,
                    "event=revision_not_remembered model={0} commit={1} reason=\"{2}\"",
                    id,
                    commit,
                    HubException.reason(e));
        }
    }

    /** Gives a content its name in a commit. */
    void link(String commit, HubFile file) throws IOException {
        Path link = snapshot(commit).resolve(file.name());
        Files.createDirectories(snapshot(commit));
        if (!file.fits(link)) {
            Files.deleteIfExists(link); // to a content that was cleaned away
        }
        try {
            if (Files.notExists(link, LinkOption.NOFOLLOW_LINKS)) {
                Files.createSymbolicLink(link, Path.of("..", "..", "blobs", file.hash()));
            }
        } catch (FileAlreadyExistsException e) {
            // Another tool was faster.
        }
    }

    /** Keeps other processes of this program from downloading the model at the same time. Closing it ends that. */
    Lock lock() throws IOException {
        Files.createDirectories(folder.resolve("blobs"));
        FileChannel channel = FileChannel.open(
                folder.resolve(".basalt.lock"),
                StandardOpenOption.CREATE,
                StandardOpenOption.WRITE,
                LinkOption.NOFOLLOW_LINKS);
        boolean isLocked = false;
        try {
            FileLock lock = channel.tryLock();
            if (lock == null) {
                LOG.log(System.Logger.Level.INFO, "event=download_wait model={0}", id);
                lock = channel.lock();
            }
            isLocked = true;
            return new Lock(channel, lock);
        } finally {
            if (!isLocked) {
                channel.close();
            }
        }
    }

    /** Held while a model is downloaded. */
    record Lock(FileChannel channel, FileLock held) implements AutoCloseable {
        @Override
        public void close() throws IOException {
            held.release();
            channel.close();
        }
    }
}
