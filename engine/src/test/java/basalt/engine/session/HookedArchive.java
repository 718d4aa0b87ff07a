package basalt.engine.session;

import java.util.List;
import java.util.Optional;
import java.util.function.Consumer;

/** Another archive, in which a test can let things happen. */
final class HookedArchive implements SessionArchive {
    private final SessionArchive archive;
    volatile Runnable beforeCreate = () -> {};
    volatile Runnable beforeAppend = () -> {};
    volatile Consumer<String> beforeJournal = id -> {};
    volatile Consumer<String> beforeImage = id -> {};
    volatile Consumer<String> beforeKeep = id -> {};
    volatile Consumer<String> beforeName = id -> {};
    volatile Consumer<String> afterKeep = id -> {};
    volatile Consumer<String> afterDrop = id -> {};
    volatile Consumer<String> beforeDelete = id -> {};

    HookedArchive(SessionArchive archive) {
        this.archive = archive;
    }

    @Override
    public boolean isDurable() {
        return archive.isDurable();
    }

    @Override
    public List<String> ids() {
        return archive.ids();
    }

    @Override
    public JournalVersion create(Label label, JournalVersion version, byte[] journal) {
        beforeCreate.run();
        return archive.create(label, version, journal);
    }

    @Override
    public JournalVersion append(String id, JournalVersion version, byte[] entry) {
        beforeAppend.run();
        return archive.append(id, version, entry);
    }

    @Override
    public Optional<byte[]> journal(String id) {
        beforeJournal.accept(id);
        return archive.journal(id);
    }

    @Override
    public void truncate(String id, long bytes) {
        archive.truncate(id, bytes);
    }

    @Override
    public List<Long> images(String id) {
        return archive.images(id);
    }

    @Override
    public void putImage(String id, long tokenCount, byte[] image) {
        beforeImage.accept(id);
        archive.putImage(id, tokenCount, image);
    }

    @Override
    public ImageDraft draftImage(String id, long tokenCount, byte[] image) {
        beforeImage.accept(id);
        var draft = archive.draftImage(id, tokenCount, image);
        beforeKeep.accept(id);
        return new ImageDraft() {
            @Override
            public void keep() {
                beforeName.accept(id);
                draft.keep();
                afterKeep.accept(id);
            }

            @Override
            public void drop() {
                draft.drop();
                afterDrop.accept(id);
            }
        };
    }

    @Override
    public Optional<byte[]> image(String id, long tokenCount) {
        return archive.image(id, tokenCount);
    }

    @Override
    public void copyImage(String fromId, String toId, long tokenCount) {
        archive.copyImage(fromId, toId, tokenCount);
    }

    @Override
    public long imageBytes(String id) {
        return archive.imageBytes(id);
    }

    @Override
    public long imageBytes(String id, long tokenCount) {
        return archive.imageBytes(id, tokenCount);
    }

    @Override
    public void deleteImage(String id, long tokenCount) {
        archive.deleteImage(id, tokenCount);
    }

    @Override
    public void delete(String id) {
        beforeDelete.accept(id);
        archive.delete(id);
    }

    @Override
    public void setAside(String id, String reason) {
        archive.setAside(id, reason);
    }

    @Override
    public void setAsideImage(String id, long tokenCount, String reason) {
        archive.setAsideImage(id, tokenCount, reason);
    }

    @Override
    public void close() {
        archive.close();
    }
}
