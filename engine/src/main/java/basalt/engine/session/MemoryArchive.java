package basalt.engine.session;

import java.io.ByteArrayOutputStream;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicInteger;
import org.jspecify.annotations.Nullable;

/**
 * Journals in memory, for servers without a place to keep them. Images but for imported ones are not worth the room.
 * Only its process writes, so versions are not compared. Bounded: a write beyond the bound is refused.
 */
public final class MemoryArchive implements SessionArchive {
    private final BoundedBytes bytes;
    private final ConcurrentHashMap<String, Kept> sessions = new ConcurrentHashMap<>();

    private static final class Kept {
        final ByteArrayOutputStream journal = new ByteArrayOutputStream();
        final ConcurrentHashMap<Long, Shared> images = new ConcurrentHashMap<>();
    }

    /** An image, and how many sessions have it. */
    @SuppressWarnings("ArrayRecordComponent") // never compared
    private record Shared(byte[] image, AtomicInteger owners) {}

    /** Empty; journals and images will take so many bytes at most. */
    public MemoryArchive(long bytesMax) {
        bytes = new BoundedBytes(
                bytesMax,
                "The sessions take all the memory that there is for them",
                "delete some, or start the server with more or with a directory for them.");
    }

    private Kept kept(String id) {
        return sessions.computeIfAbsent(id, absent -> new Kept());
    }

    @Override
    public boolean isDurable() {
        return false;
    }

    @Override
    public List<String> ids() {
        return List.copyOf(sessions.keySet());
    }

    @Override
    public JournalVersion create(Label label, JournalVersion version, byte[] journal) {
        bytes.hold(journal.length);
        var kept = kept(label.id());
        bytes.add(-kept.journal.size());
        kept.journal.reset();
        kept.journal.writeBytes(journal);
        return version;
    }

    @Override
    public JournalVersion append(String id, JournalVersion version, byte[] entry) {
        bytes.hold(entry.length);
        kept(id).journal.writeBytes(entry);
        return version;
    }

    @Override
    public Optional<byte[]> journal(String id) {
        return Optional.ofNullable(sessions.get(id)).map(kept -> kept.journal.toByteArray());
    }

    @Override
    public void truncate(String id, long length) {
        var journal = kept(id).journal;
        byte[] all = journal.toByteArray();
        bytes.add(length - all.length);
        journal.reset();
        journal.write(all, 0, (int) length);
    }

    @Override
    public List<Long> images(String id) {
        var kept = sessions.get(id);
        return kept == null ? List.of() : kept.images.keySet().stream().sorted().toList();
    }

    @Override
    public void putImage(String id, long tokenCount, byte[] image) {
        bytes.hold(image.length);
        put(id, tokenCount, new Shared(image, new AtomicInteger(1)));
    }

    private void put(String id, long tokenCount, Shared image) {
        drop(kept(id).images.put(tokenCount, image));
    }

    private void drop(@Nullable Shared image) {
        if (image != null && image.owners().decrementAndGet() == 0) {
            bytes.add(-image.image().length);
        }
    }

    private Optional<Shared> shared(String id, long tokenCount) {
        return Optional.ofNullable(sessions.get(id)).map(kept -> kept.images.get(tokenCount));
    }

    @Override
    public Optional<byte[]> image(String id, long tokenCount) {
        return shared(id, tokenCount).map(Shared::image);
    }

    /** Takes no room. */
    @Override
    public void copyImage(String fromId, String toId, long tokenCount) {
        shared(fromId, tokenCount).ifPresent(image -> {
            image.owners().incrementAndGet();
            put(toId, tokenCount, image);
        });
    }

    @Override
    public long imageBytes(String id) {
        var kept = sessions.get(id);
        return kept == null
                ? 0
                : kept.images.values().stream()
                        .mapToLong(shared -> shared.image().length)
                        .sum();
    }

    @Override
    public long imageBytes(String id, long tokenCount) {
        return shared(id, tokenCount).map(shared -> shared.image().length).orElse(0);
    }

    @Override
    public void deleteImage(String id, long tokenCount) {
        var kept = sessions.get(id);
        if (kept != null) {
            drop(kept.images.remove(tokenCount));
        }
    }

    @Override
    public void delete(String id) {
        var kept = sessions.remove(id);
        if (kept != null) {
            bytes.add(-kept.journal.size());
            kept.images.values().forEach(this::drop);
        }
    }

    @Override
    public void setAside(String id, String reason) {
        delete(id);
    }

    @Override
    public void setAsideImage(String id, long tokenCount, String reason) {
        deleteImage(id, tokenCount);
    }

    @Override
    public void close() {}
}
