package basalt.engine.session;

import basalt.engine.EngineException;
import java.util.List;
import java.util.Optional;
import java.util.UUID;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ConcurrentMap;

/** One server's view of sessions that several servers of a test share. */
final class SharedMemoryArchive implements SharedArchive {
    private final Common common;
    private volatile boolean isCut;

    /** What the servers share. */
    static final class Common {
        private final MemoryArchive archive = new MemoryArchive(1 << 24);
        private final ConcurrentMap<String, Label> labels = new ConcurrentHashMap<>();
        private final ConcurrentMap<String, JournalVersion> versions = new ConcurrentHashMap<>();
    }

    SharedMemoryArchive(Common common) {
        this.common = common;
    }

    /** From now on nothing can be reached, or it can again. */
    void cut(boolean isNowCut) {
        isCut = isNowCut;
    }

    private MemoryArchive reached() {
        if (isCut) {
            throw new EngineException.ArchiveUnavailable("cut");
        }
        return common.archive;
    }

    @Override
    public Optional<JournalVersion> version(String owner, String id) {
        reached();
        var label = common.labels.get(id);
        var version = common.versions.get(id);
        return label != null && version != null && label.owner().equals(owner)
                ? Optional.of(version)
                : Optional.empty();
    }

    private JournalVersion next(String id, JournalVersion version) {
        return common.versions.compute(id, (same, now) -> {
            if (now == null && !version.equals(JournalVersion.NONE)) {
                throw new EngineException.SessionNotFound("deleted meanwhile");
            }
            if (!(now == null ? JournalVersion.NONE : now).equals(version)) {
                throw new EngineException.SessionConflict("another server has written");
            }
            return version.next(UUID.randomUUID().toString());
        });
    }

    @Override
    public JournalVersion create(Label label, JournalVersion version, byte[] journal) {
        reached();
        var next = next(label.id(), version);
        common.labels.put(label.id(), label);
        common.archive.create(label, version, journal);
        return next;
    }

    @Override
    public JournalVersion append(String id, JournalVersion version, byte[] entry) {
        reached();
        var next = next(id, version);
        common.archive.append(id, version, entry);
        return next;
    }

    @Override
    public JournalVersion replace(Label label, JournalVersion version, byte[] journal, long tokenCount, byte[] image) {
        reached();
        var next = next(label.id(), version);
        common.archive.replace(label, version, journal, tokenCount, image);
        return next;
    }

    @Override
    public void delete(String id) {
        reached().delete(id);
        common.labels.remove(id);
        common.versions.remove(id);
    }

    @Override
    public List<String> ids(String owner) {
        reached();
        return common.labels.values().stream()
                .filter(label -> label.owner().equals(owner))
                .map(Label::id)
                .sorted()
                .toList();
    }

    @Override
    public List<String> ids() {
        return List.of();
    }

    @Override
    public boolean isDurable() {
        return true;
    }

    @Override
    public Optional<byte[]> journal(String id) {
        return reached().journal(id);
    }

    @Override
    public void truncate(String id, long bytes) {
        reached().truncate(id, bytes);
    }

    @Override
    public List<Long> images(String id) {
        return common.archive.images(id);
    }

    @Override
    public void putImage(String id, long tokenCount, byte[] image) {
        reached().putImage(id, tokenCount, image);
    }

    @Override
    public Optional<byte[]> image(String id, long tokenCount) {
        return reached().image(id, tokenCount);
    }

    @Override
    public void copyImage(String fromId, String toId, long tokenCount) {
        reached().copyImage(fromId, toId, tokenCount);
    }

    @Override
    public long imageBytes(String id) {
        return common.archive.imageBytes(id);
    }

    @Override
    public long imageBytes(String id, long tokenCount) {
        return common.archive.imageBytes(id, tokenCount);
    }

    @Override
    public void deleteImage(String id, long tokenCount) {
        reached().deleteImage(id, tokenCount);
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
    public void forget(String id) {}

    @Override
    public String name() {
        return "one of the test";
    }

    @Override
    public boolean isThere(String name) {
        return name.equals(name());
    }

    @Override
    public Health health() {
        return new Health(!isCut, 0, 0);
    }

    @Override
    public void close() {}
}
