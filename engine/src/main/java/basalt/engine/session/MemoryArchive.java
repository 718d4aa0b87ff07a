package basalt.engine.session;

import java.io.ByteArrayOutputStream;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.ConcurrentHashMap;

/**
 * Journals in memory, for servers without a place to keep them. Images but for imported ones are not worth the room.
 * Only its process writes, so versions are not compared.
 */
public final class MemoryArchive implements SessionArchive {
    private final ConcurrentHashMap<String, Kept> sessions = new ConcurrentHashMap<>();

    private static final class Kept {
        final ByteArrayOutputStream journal = new ByteArrayOutputStream();
        final ConcurrentHashMap<Long, byte[]> images = new ConcurrentHashMap<>();
    }

    /** Empty. */
    public MemoryArchive() {}

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
        var kept = kept(label.id());
        kept.journal.reset();
        kept.journal.writeBytes(journal);
        return version;
    }

    @Override
    public JournalVersion append(String id, JournalVersion version, byte[] entry) {
        kept(id).journal.writeBytes(entry);
        return version;
    }

    @Override
    public Optional<byte[]> journal(String id) {
        return Optional.ofNullable(sessions.get(id)).map(kept -> kept.journal.toByteArray());
    }

    @Override
    public void truncate(String id, long bytes) {
        byte[] all = kept(id).journal.toByteArray();
        kept(id).journal.reset();
        kept(id).journal.write(all, 0, (int) bytes);
    }

    @Override
    public List<Long> images(String id) {
        var kept = sessions.get(id);
        return kept == null ? List.of() : kept.images.keySet().stream().sorted().toList();
    }

    @Override
    public void putImage(String id, long tokenCount, byte[] image) {
        kept(id).images.put(tokenCount, image);
    }

    @Override
    public Optional<byte[]> image(String id, long tokenCount) {
        var kept = sessions.get(id);
        return kept == null ? Optional.empty() : Optional.ofNullable(kept.images.get(tokenCount));
    }

    @Override
    public void copyImage(String fromId, String toId, long tokenCount) {
        image(fromId, tokenCount).ifPresent(image -> putImage(toId, tokenCount, image));
    }

    @Override
    public long imageBytes(String id) {
        var kept = sessions.get(id);
        return kept == null
                ? 0
                : kept.images.values().stream().mapToLong(image -> image.length).sum();
    }

    @Override
    public void deleteImage(String id, long tokenCount) {
        var kept = sessions.get(id);
        if (kept != null) {
            kept.images.remove(tokenCount);
        }
    }

    @Override
    public void delete(String id) {
        sessions.remove(id);
    }

    @Override
    public void setAside(String id, String reason) {
        sessions.remove(id);
    }

    @Override
    public void setAsideImage(String id, long tokenCount, String reason) {
        deleteImage(id, tokenCount);
    }

    @Override
    public void close() {}
}
