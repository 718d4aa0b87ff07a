package basalt.engine.session;

import java.util.List;
import java.util.Optional;

/**
 * Where sessions outlive memory: for each a journal, which is the truth, and images, which save reading it again. What
 * the bytes mean is the store's business. Safe for use by any number of threads; calls about one session come one at a
 * time. Every method may block, and throws {@link basalt.engine.EngineException.ArchiveFailure} if it fails.
 */
public interface SessionArchive extends AutoCloseable {
    /** Whether what it keeps outlives the process. */
    boolean isDurable();

    /** Ids of all sessions that have a journal; none if they are found one by one, as in a {@link SharedArchive}. */
    List<String> ids();

    /**
     * Begins a session's journal, or replaces it; whole or not at all.
     *
     * @param version of the journal that it replaces, {@link JournalVersion#NONE} if there is none
     * @return the new version
     * @throws basalt.engine.EngineException.SessionConflict if it has another version by now
     */
    JournalVersion create(Label label, JournalVersion version, byte[] journal);

    /**
     * Adds to a journal. Kept, even if the process is killed, once this returns.
     *
     * @param version of the journal that it continues
     * @return the new version
     * @throws basalt.engine.EngineException.SessionConflict if it has another version by now
     * @throws basalt.engine.EngineException.SessionNotFound if it is no more
     */
    JournalVersion append(String id, JournalVersion version, byte[] entry);

    /**
     * Replaces a session's journal by one that builds on an image, and its images by that one.
     *
     * @param version of the journal that it replaces
     * @return the new version
     * @throws basalt.engine.EngineException.SessionConflict if it has another version by now; then nothing is replaced
     */
    default JournalVersion replace(Label label, JournalVersion version, byte[] journal, long tokenCount, byte[] image) {
        // The image first: a journal with a base needs it, and an image alone changes nothing. But one that the journal
        // builds on until now is replaced last: whoever is killed between leaves the session as it was uploaded before.
        boolean isBase = journal(label.id()).stream()
                .map(before -> new SessionLog(Journal.read(before).entries()))
                .anyMatch(log -> log.hasBase() && log.firstCount() == tokenCount);
        var draft = draftImage(label.id(), tokenCount, image);
        if (!isBase) {
            draft.keep();
        }
        JournalVersion next;
        boolean isMade = false;
        try {
            next = create(label, version, journal);
            isMade = true;
        } finally {
            if (isBase && !isMade) {
                draft.drop();
            }
        }
        if (isBase) {
            draft.keep();
        }
        for (long at : images(label.id())) {
            if (at != tokenCount) {
                deleteImage(label.id(), at);
            }
        }
        return next;
    }

    /** A whole journal; empty if there is none. */
    Optional<byte[]> journal(String id);

    /** Cuts a journal after its first bytes. */
    void truncate(String id, long bytes);

    /** Token counts of a session's images, in ascending order. */
    List<Long> images(String id);

    /** Adds an image, whole or not at all. */
    void putImage(String id, long tokenCount, byte[] image);

    /**
     * Writes down an image that is none of the session's until it is kept. Unlike any other call, this one may come
     * beside others about the session.
     */
    default ImageDraft draftImage(String id, long tokenCount, byte[] image) {
        return new ImageDraft() {
            @Override
            public void keep() {
                putImage(id, tokenCount, image);
            }

            @Override
            public void drop() {}
        };
    }

    /** An image; empty if there is none. */
    Optional<byte[]> image(String id, long tokenCount);

    /** Gives a session the image of another. */
    void copyImage(String fromId, String toId, long tokenCount);

    /** Bytes of a session's images. */
    long imageBytes(String id);

    /** Bytes of an image, 0 if there is none. */
    long imageBytes(String id, long tokenCount);

    /** Drops an image; does nothing if there is none. */
    void deleteImage(String id, long tokenCount);

    /** Drops a session; does nothing if there is none. */
    void delete(String id);

    /** Puts a session aside that cannot be read, for a person to look at. It is not among the ids any more. */
    void setAside(String id, String reason);

    /** Puts an image aside. */
    void setAsideImage(String id, long tokenCount, String reason);

    @Override
    void close();

    /** An image that is written and not yet its session's. Either method is called, once. */
    interface ImageDraft {
        /** Makes it one of the session's images. */
        void keep();

        /** Leaves nothing of it. */
        void drop();
    }

    /**
     * What an archive may know of a session.
     *
     * @param lifeMillis how long it is kept without use; 0 for ever
     */
    record Label(String id, String owner, long lifeMillis) {}
}
