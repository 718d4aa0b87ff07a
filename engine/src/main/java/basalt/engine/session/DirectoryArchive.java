package basalt.engine.session;

import basalt.engine.EngineException;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.file.AccessDeniedException;
import java.nio.file.DirectoryStream;
import java.nio.file.Files;
import java.nio.file.LinkOption;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.nio.file.StandardOpenOption;
import java.nio.file.attribute.FileAttribute;
import java.nio.file.attribute.PosixFilePermissions;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ConcurrentSkipListMap;
import java.util.concurrent.atomic.AtomicLong;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * Sessions in a directory: {@code ID.journal} and {@code ID.COUNT.image}. Files appear whole, by renaming; only
 * journals grow, by one write an entry. What cannot be read is renamed to {@code *.aside}. One process at a time holds
 * the directory, which each write makes sure of, so versions are not compared.
 *
 * <p>Written data survives the end of the process, however it ends. What a power failure may take is a matter of {@link
 * Durability}; what it tears the checksums inside the files tell.
 */
public final class DirectoryArchive implements SessionArchive {
    private static final System.Logger LOG = System.getLogger(DirectoryArchive.class.getName());
    private static final String JOURNAL = ".journal";
    private static final Pattern IMAGE = Pattern.compile("(.+)\\.([0-9]{1,19})\\.image");

    private final Path directory;
    private final DirectoryLock lock;
    private final Durability durability;
    private final DiskWriter disk = new DiskWriter();
    /** Of each journal with a torn entry that could not be cut off yet: where the entries before it end. */
    private final ConcurrentHashMap<String, Long> ends = new ConcurrentHashMap<>();

    private final BoundedBytes journalBytes;
    private final AtomicLong unfinishedCount = new AtomicLong(); // tells files apart that will have one name
    /** Of each session, the bytes of its images by their token counts. */
    private final ConcurrentHashMap<String, ConcurrentSkipListMap<Long, Long>> images = new ConcurrentHashMap<>();

    private DirectoryArchive(Path directory, DirectoryLock lock, Durability durability, long journalBytesMax) {
        journalBytes = new BoundedBytes(
                journalBytesMax,
                "The histories of sessions take all the room that there is for them",
                "delete some sessions, or start the server with more.");
        this.directory = directory;
        this.lock = lock;
        this.durability = durability;
    }

    /**
     * Makes the directory if need be, and takes hold of it.
     *
     * @param journalBytesMax of all journals, beyond which new ones are refused; those there are may grow
     * @throws EngineException.ArchiveFailure if it cannot be had, or another process holds it
     */
    public static DirectoryArchive open(Path directory, Durability durability, long journalBytesMax) {
        try {
            create(directory);
            var archive = new DirectoryArchive(directory, DirectoryLock.open(directory), durability, journalBytesMax);
            archive.removeUnfinished();
            if (durability == Durability.SECOND) {
                archive.disk.start();
            }
            return archive;
        } catch (IOException e) {
            throw failure(directory, "open", e);
        }
    }

    static DirectoryArchive open(Path directory, Durability durability) {
        return open(directory, durability, Long.MAX_VALUE);
    }

    /** What is said in sessions is nobody else's to read on this machine, unless the directory is made otherwise. */
    private static void create(Path directory) throws IOException {
        if (Files.isDirectory(directory)) {
            return;
        }
        Path parent = directory.toAbsolutePath().getParent();
        if (parent != null) {
            Files.createDirectories(parent);
        }
        boolean isPosix =
                directory.getFileSystem().supportedFileAttributeViews().contains("posix");
        var attributes = isPosix
                ? new FileAttribute<?>[] {
                    PosixFilePermissions.asFileAttribute(PosixFilePermissions.fromString("rwx------"))
                }
                : new FileAttribute<?>[0];
        Files.createDirectories(directory, attributes);
    }

    private static EngineException.ArchiveFailure failure(Path path, String operation, IOException e) {
        return new EngineException.ArchiveFailure(operation + " " + path + ": " + reason(e), e);
    }

    /** Some exceptions have no message but the file's name. */
    private static String reason(IOException e) {
        return switch (e) {
            case NoSuchFileException gone -> "there is no " + gone.getFile();
            case AccessDeniedException denied -> "no permission for " + denied.getFile();
            default -> String.valueOf(e.getMessage());
        };
    }

    private void removeUnfinished() throws IOException {
        for (Path path : list("*.new")) {
            Files.deleteIfExists(path);
        }
        for (Path path : list("*" + JOURNAL)) {
            if (Files.isRegularFile(path, LinkOption.NOFOLLOW_LINKS)) {
                journalBytes.add(Files.size(path));
            } else {
                setAside(path, "it is no file"); // but a link to one that is not the sessions' own, or a directory
            }
        }
        for (Path path : list("*.image")) {
            Matcher name = IMAGE.matcher(path.getFileName().toString());
            if (!name.matches()) {
                continue;
            }
            String id = name.group(1);
            if (Files.exists(journalPath(id))) {
                index(id).put(Long.parseLong(name.group(2)), Files.size(path));
            } else if (!Files.exists(aside(journalPath(id)))) {
                Files.deleteIfExists(path);
            }
        }
    }

    private ConcurrentSkipListMap<Long, Long> index(String id) {
        return images.computeIfAbsent(id, absent -> new ConcurrentSkipListMap<>());
    }

    private static Path aside(Path path) {
        return Path.of(path + ".aside");
    }

    private List<Path> list(String glob) throws IOException {
        var paths = new ArrayList<Path>();
        try (DirectoryStream<Path> stream = Files.newDirectoryStream(directory, glob)) {
            stream.forEach(paths::add);
        }
        return paths;
    }

    private Path journalPath(String id) {
        return directory.resolve(id + JOURNAL);
    }

    private Path imagePath(String id, long tokenCount) {
        return directory.resolve(id + "." + tokenCount + ".image");
    }

    @Override
    public boolean isDurable() {
        return true;
    }

    @Override
    public List<String> ids() {
        try {
            return list("*" + JOURNAL).stream()
                    .map(path -> path.getFileName().toString())
                    .map(name -> name.substring(0, name.length() - JOURNAL.length()))
                    .toList();
        } catch (IOException e) {
            throw failure(directory, "list", e);
        }
    }

    @Override
    public JournalVersion create(Label label, JournalVersion version, byte[] journal) {
        Path path = journalPath(label.id());
        // A new session may be lost with the last second, an old one not by what replaces its journal.
        long before = bytes(path);
        journalBytes.hold(journal.length - before);
        boolean isWritten = false;
        try {
            write(path, journal, durability == Durability.COMMIT || before > 0);
            isWritten = true;
        } finally {
            if (!isWritten) {
                journalBytes.add(before - journal.length);
            }
        }
        ends.remove(label.id());
        return version;
    }

    private static long bytes(Path path) {
        try {
            return Files.size(path);
        } catch (NoSuchFileException e) {
            return 0;
        } catch (IOException e) {
            throw failure(path, "look at", e);
        }
    }

    /** @param isForced whether the content has to be on the disk before the name, unless nothing ever has */
    private void write(Path path, byte[] bytes, boolean isForced) {
        publish(written(path, bytes, isForced), path);
    }

    /** A file with the content of one that is not there yet. */
    private Path written(Path path, byte[] bytes, boolean isForced) {
        Path unfinished = directory.resolve(path.getFileName() + "." + unfinishedCount.incrementAndGet() + ".new");
        boolean isWritten = false;
        try {
            lock.require();
            try (var channel = FileChannel.open(unfinished, StandardOpenOption.CREATE_NEW, StandardOpenOption.WRITE)) {
                var buffer = ByteBuffer.wrap(bytes);
                while (buffer.hasRemaining()) {
                    channel.write(buffer);
                }
                if (isForced && durability != Durability.OFF) {
                    channel.force(false);
                }
            }
            isWritten = true;
            return unfinished;
        } catch (IOException e) {
            throw failure(path, "write", e);
        } finally {
            if (!isWritten) {
                deleteUnfinished(unfinished); // or a full disk would stay full
            }
        }
    }

    private void publish(Path unfinished, Path path) {
        boolean isDone = false;
        try {
            lock.require();
            Files.move(unfinished, path, StandardCopyOption.ATOMIC_MOVE);
            isDone = true;
            switch (durability) {
                case OFF -> {}
                case SECOND -> {
                    disk.later(path);
                    disk.later(directory);
                }
                case COMMIT -> DiskWriter.force(directory);
            }
        } catch (IOException e) {
            throw failure(path, "write", e);
        } finally {
            if (!isDone) {
                deleteUnfinished(unfinished);
            }
        }
    }

    private static void deleteUnfinished(Path path) {
        try {
            Files.deleteIfExists(path);
        } catch (IOException e) {
            LOG.log(System.Logger.Level.WARNING, "event=unfinished_file_stays file=" + path, e);
        }
    }

    private FileChannel opened(Path path) throws IOException {
        lock.require();
        return FileChannel.open(path, StandardOpenOption.WRITE);
    }

    @Override
    public JournalVersion append(String id, JournalVersion version, byte[] entry) {
        Path path = journalPath(id);
        try (var channel = opened(path)) {
            long end = end(id, channel);
            var buffer = ByteBuffer.wrap(entry);
            boolean isWhole = false;
            try {
                while (buffer.hasRemaining()) {
                    channel.write(buffer, end + buffer.position());
                }
                if (durability == Durability.COMMIT) {
                    channel.force(false);
                }
                isWhole = true;
            } finally {
                if (!isWhole) {
                    ends.put(id, end);
                    end(id, channel); // or the next entry would come behind a torn one
                }
            }
            if (durability == Durability.SECOND) {
                disk.later(path);
            }
            journalBytes.add(entry.length);
            return version;
        } catch (IOException e) {
            throw failure(path, "append to", e);
        }
    }

    /** Where a journal ends; what a failed call has left behind that is cut off. */
    private long end(String id, FileChannel channel) throws IOException {
        Long known = ends.get(id);
        if (known == null) {
            return channel.size();
        }
        channel.truncate(known);
        ends.remove(id);
        return known;
    }

    @Override
    public Optional<byte[]> journal(String id) {
        Long end = ends.get(id);
        var journal = read(journalPath(id));
        return end == null ? journal : journal.map(bytes -> Arrays.copyOf(bytes, Math.toIntExact(end)));
    }

    private static Optional<byte[]> read(Path path) {
        try {
            return Optional.of(Files.readAllBytes(path));
        } catch (NoSuchFileException e) {
            return Optional.empty();
        } catch (IOException e) {
            throw failure(path, "read", e);
        }
    }

    @Override
    public void truncate(String id, long bytes) {
        Path path = journalPath(id);
        try (var channel = opened(path)) {
            journalBytes.add(bytes - channel.size());
            channel.truncate(bytes);
            LOG.log(System.Logger.Level.WARNING, "event=journal_cut session={0} bytes={1}", id, Long.toString(bytes));
        } catch (IOException e) {
            throw failure(path, "cut", e);
        }
    }

    @Override
    public List<Long> images(String id) {
        var known = images.get(id);
        return known == null ? List.of() : List.copyOf(known.keySet());
    }

    @Override
    public void putImage(String id, long tokenCount, byte[] image) {
        draftImage(id, tokenCount, image).keep();
    }

    @Override
    public ImageDraft draftImage(String id, long tokenCount, byte[] image) {
        Path path = imagePath(id, tokenCount);
        Path unfinished = written(path, image, true);
        return new ImageDraft() {
            @Override
            public void keep() {
                publish(unfinished, path);
                index(id).put(tokenCount, (long) image.length);
            }

            @Override
            public void drop() {
                deleteUnfinished(unfinished);
            }
        };
    }

    @Override
    public Optional<byte[]> image(String id, long tokenCount) {
        return read(imagePath(id, tokenCount));
    }

    /** Images never change, so two names for one file are two images. */
    @Override
    public void copyImage(String fromId, String toId, long tokenCount) {
        Path from = imagePath(fromId, tokenCount);
        try {
            lock.require();
            if (Files.exists(from)) {
                Files.createLink(imagePath(toId, tokenCount), from);
                index(toId).put(tokenCount, Files.size(from));
            }
        } catch (UnsupportedOperationException | IOException e) {
            read(from).ifPresent(bytes -> putImage(toId, tokenCount, bytes));
        }
    }

    @Override
    public long imageBytes(String id) {
        var known = images.get(id);
        return known == null
                ? 0
                : known.values().stream().mapToLong(Long::longValue).sum();
    }

    @Override
    public long imageBytes(String id, long tokenCount) {
        var known = images.get(id);
        return known == null ? 0 : known.getOrDefault(tokenCount, 0L);
    }

    @Override
    public void deleteImage(String id, long tokenCount) {
        delete(imagePath(id, tokenCount));
        index(id).remove(tokenCount);
    }

    private void delete(Path path) {
        try {
            lock.require();
            Files.deleteIfExists(path);
        } catch (IOException e) {
            throw failure(path, "delete", e);
        }
    }

    /** The journal first: images without one are found and removed by the next start. */
    @Override
    public void delete(String id) {
        Path path = journalPath(id);
        long bytes = bytes(path);
        delete(path);
        journalBytes.add(-bytes);
        ends.remove(id);
        images(id).forEach(tokenCount -> deleteImage(id, tokenCount));
        images.remove(id);
    }

    @Override
    public void setAside(String id, String reason) {
        Path path = journalPath(id);
        long bytes = bytes(path);
        setAside(path, reason);
        journalBytes.add(-bytes);
    }

    @Override
    public void setAsideImage(String id, long tokenCount, String reason) {
        setAside(imagePath(id, tokenCount), reason);
        index(id).remove(tokenCount);
    }

    private void setAside(Path path, String reason) {
        LOG.log(System.Logger.Level.WARNING, "event=set_aside file={0} reason=\"{1}\"", path, reason);
        try {
            lock.require();
            Files.move(path, aside(path), StandardCopyOption.REPLACE_EXISTING);
        } catch (IOException e) {
            throw failure(path, "set aside", e);
        }
    }

    @Override
    public void close() {
        disk.close();
        try {
            lock.close();
        } catch (IOException e) {
            throw failure(directory, "close", e);
        }
    }
}
