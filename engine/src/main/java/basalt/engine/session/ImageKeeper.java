package basalt.engine.session;

import basalt.engine.EngineException;
import basalt.engine.state.SessionState;
import java.util.ArrayList;
import java.util.Collection;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.Condition;
import java.util.concurrent.locks.ReentrantLock;
import org.jspecify.annotations.Nullable;

/**
 * Keeps the images of sessions within their bounds, on a thread of its own: writes to the archive those of sessions
 * used least recently and of those whose archived image is far behind, and drops the eldest of the archive.
 */
final class ImageKeeper implements AutoCloseable {
    private static final System.Logger LOG = System.getLogger(ImageKeeper.class.getName());
    private static final long SWEEP_NANOS = TimeUnit.SECONDS.toNanos(1);
    private static final long END_MILLIS = 30_000;
    /** Memory may be over its bound by this factor while the thread is busy; then whoever adds to it helps. */
    private static final int RELIEF_FACTOR = 2;

    private final SessionConfig config;
    private final SessionArchive archive;
    private final Collection<Session> sessions;
    private final SessionCounters counters;
    private final Runnable sweep;
    private final ImageMemory memory = new ImageMemory();
    private final ReentrantLock lock = new ReentrantLock();
    private final Condition changed = lock.newCondition();
    private final LinkedHashSet<Session> behind = new LinkedHashSet<>(); // under lock
    private final Set<Session> writings = ConcurrentHashMap.newKeySet(); // whose image is being written
    private boolean isCalled; // under lock: there is something to do
    private boolean isClosing; // under lock
    private volatile boolean isAbandoned;
    private @Nullable Thread thread;

    /**
     * Keeps nothing yet.
     *
     * @param sessions all there are
     * @param sweep done once a second
     */
    ImageKeeper(
            SessionConfig config,
            SessionArchive archive,
            Collection<Session> sessions,
            SessionCounters counters,
            Runnable sweep) {
        this.config = config;
        this.counters = counters;
        this.archive = archive;
        this.sessions = sessions;
        this.sweep = sweep;
    }

    void start() {
        thread = Thread.ofPlatform().daemon().name("basalt-sessions").start(this::run);
    }

    /** Notes the use of a session whose state is in memory. Call only when holding the session's lock. */
    void used(Session session, SessionState state) {
        memory.put(session, state.saved());
        boolean isBehind = archive.isDurable()
                && state.consumedCount() > 0
                && state.tokenCount() - newestImage(session) >= config.replayTokensMax();
        if (isBehind || memory.bytes() > config.memoryBytesMax()) {
            lock.lock();
            try {
                if (isBehind) {
                    behind.add(session);
                }
                isCalled = true;
                changed.signal();
            } finally {
                lock.unlock();
            }
        }
    }

    /** Tokens of the newest archived image, 0 if there is none. */
    private long newestImage(Session session) {
        var images = archive.images(session.id);
        return images.isEmpty() ? 0 : images.getLast();
    }

    void dropped(Session session) {
        memory.remove(session);
        lock.lock();
        try {
            behind.remove(session);
        } finally {
            lock.unlock();
        }
    }

    /** Waits, in its way, for memory to come near its bound. Call without a session's lock. */
    void relieve() {
        if (memory.bytes() > RELIEF_FACTOR * config.memoryBytesMax()) {
            demote();
        }
    }

    private void run() {
        boolean isOver = false;
        while (!isOver) {
            isOver = await();
            if (isAbandoned) {
                return;
            }
            try {
                saveBehind();
                demote();
                trimArchive(config.archiveBytesMax());
                sweep.run();
            } catch (RuntimeException | OutOfMemoryError e) { // the next time may go better
                LOG.log(System.Logger.Level.ERROR, "event=sessions_not_kept reason=\"" + e.getMessage() + "\"", e);
            }
        }
    }

    /** Waits for something to do; returns whether it is the end. */
    private boolean await() {
        lock.lock();
        try {
            long left = SWEEP_NANOS;
            while (!isClosing && !isCalled && left > 0) {
                left = changed.awaitNanos(left);
            }
            isCalled = false;
            return isClosing;
        } catch (InterruptedException e) {
            return true;
        } finally {
            lock.unlock();
        }
    }

    private @Nullable Session nextBehind() {
        lock.lock();
        try {
            return behind.isEmpty() ? null : behind.removeFirst();
        } finally {
            lock.unlock();
        }
    }

    private void saveBehind() {
        for (var session = nextBehind(); session != null; session = nextBehind()) {
            saveIfPossible(session);
        }
    }

    /** An image that is being written, and the epoch of its session. */
    private record Writing(SessionState state, int epoch) {}

    /** Archives the image of a session unless it is there; returns false if that failed. */
    private boolean saveIfPossible(Session session) {
        Writing writing;
        session.lock.lock();
        try {
            writing = begin(session);
        } finally {
            session.lock.unlock();
        }
        return writing == null || write(session, writing);
    }

    /** What is to be written, null if nothing is. Call only when holding the session's lock. */
    private @Nullable Writing begin(Session session) {
        var state = session.state();
        if (state == null || session.isDeleted() || state.consumedCount() == 0 || !archive.isDurable()) {
            return null;
        }
        if (archive.images(session.id).contains(state.tokenCount()) || config.archiveBytesMax() == 0) {
            return null;
        }
        return writings.add(session) ? new Writing(state, session.epoch()) : null;
    }

    /**
     * Writes an image, which takes long, while the session goes on. Without it the session takes longer to go on with,
     * and that is all; returns false if it could not be written. Call without the session's lock.
     */
    private boolean write(Session session, Writing writing) {
        try {
            var state = writing.state();
            var draft =
                    archive.draftImage(session.id, state.tokenCount(), StateFile.bytes(state, config.fingerprint()));
            session.lock.lock();
            try {
                end(session, writing, draft);
            } finally {
                session.lock.unlock();
            }
            return true;
        } catch (EngineException.SessionNotFound e) {
            return false; // it was dropped, or forgotten, meanwhile
        } catch (EngineException e) {
            LOG.log(
                    System.Logger.Level.ERROR,
                    "event=image_not_kept session={0} reason=\"{1}\"",
                    session.id,
                    e.getMessage());
            return false;
        } finally {
            writings.remove(session);
        }
    }

    /** Call only when holding the session's lock. */
    private void end(Session session, Writing writing, SessionArchive.ImageDraft draft) {
        if (session.isDeleted() || session.epoch() != writing.epoch()) {
            draft.drop(); // the session has never had these tokens, as far as it knows
            return;
        }
        var images = new ArrayList<>(archive.images(session.id));
        images.remove(writing.state().tokenCount());
        draft.keep();
        deleteImages(session, images);
    }

    /** But for the one that the journal builds on. */
    private void deleteImages(Session session, List<Long> images) {
        Optional<byte[]> journal = archive.journal(session.id);
        if (journal.isEmpty() && archive instanceof SharedArchive) {
            return; // another process has dropped it, or its life is over
        }
        var log = new SessionLog(Journal.read(journal.orElseThrow(
                        () -> new EngineException.InvalidState("session " + session.id + " lost its journal")))
                .entries());
        for (long at : images) {
            if (!log.hasBase() || at != log.firstCount()) {
                archive.deleteImage(session.id, at);
            }
        }
    }

    private void demote() {
        if (memory.bytes() <= config.memoryBytesMax()) {
            return;
        }
        for (var session : memory.eldest()) {
            if (memory.bytes() <= config.memoryBytesMax()) {
                return;
            }
            if (session.lock.tryLock()) {
                SessionState state;
                Writing writing;
                try {
                    if (writings.contains(session)) {
                        continue; // until its image is kept there is none but in memory
                    }
                    state = session.state();
                    writing = begin(session);
                } finally {
                    session.lock.unlock();
                }
                if (writing != null) {
                    write(session, writing);
                }
                drop(session, state);
            }
        }
    }

    /** Takes a state out of memory unless the session has gone on, or another thread has taken it. */
    private void drop(Session session, @Nullable SessionState state) {
        session.lock.lock();
        try {
            if (state != null && session.state() == state) {
                session.state(null);
                memory.remove(session);
                counters.demotions.increment();
            }
        } finally {
            session.lock.unlock();
        }
    }

    /**
     * Makes room in the archive for an image that a journal builds on, which is never dropped.
     *
     * @param bytes by which such images will take more
     * @throws EngineException.SessionsFull if others like it take all there is
     */
    void makeRoom(long bytes) {
        if (!archive.isDurable()) {
            return; // it has a bound of its own
        }
        long others = sessions.stream().mapToLong(Session::baseBytes).sum();
        if (others + bytes > config.archiveBytesMax()) {
            throw new EngineException.SessionsFull("Uploaded states take all the room that there is for states, "
                    + config.archiveBytesMax() + " bytes; delete some of their sessions.");
        }
        trimArchive(config.archiveBytesMax() - bytes);
    }

    private void trimArchive(long bytesMax) {
        long bytes = archiveBytes();
        if (bytes <= bytesMax) {
            return;
        }
        var eldest = Session.eldestFirst(sessions.stream());
        for (var session : eldest) {
            if (bytes <= bytesMax) {
                return;
            }
            if (archive.imageBytes(session.id) > 0 && session.lock.tryLock()) {
                try {
                    bytes -= trim(session);
                } finally {
                    session.lock.unlock();
                }
            }
        }
    }

    /**
     * Drops the images that the journal can replace; returns their bytes. Call only when holding the session's lock.
     */
    private long trim(Session session) {
        if (session.isDeleted()) {
            return 0;
        }
        long before = archive.imageBytes(session.id);
        deleteImages(session, archive.images(session.id));
        return before - archive.imageBytes(session.id);
    }

    /** Sessions with an image in memory. */
    long memoryCount() {
        return memory.count();
    }

    long memoryBytes() {
        return memory.bytes();
    }

    long archiveBytes() {
        return sessions.stream()
                .mapToLong(session -> archive.imageBytes(session.id))
                .sum();
    }

    /** Archives all that is only in memory, those used last first, and ends. */
    @Override
    public void close() {
        end();
        var resting = memory.eldest();
        if (!archive.isDurable() || resting.isEmpty()) {
            return;
        }
        long began = System.nanoTime();
        int savedCount = 0;
        for (var session : resting.reversed()) {
            savedCount += saveIfPossible(session) ? 1 : 0;
        }
        LOG.log(
                System.Logger.Level.INFO,
                "event=sessions_saved count={0} of={1} millis={2}",
                Integer.toString(savedCount),
                Integer.toString(resting.size()),
                Long.toString(TimeUnit.NANOSECONDS.toMillis(System.nanoTime() - began)));
    }

    /** Ends without writing anything more. */
    void abandon() {
        isAbandoned = true;
        end();
    }

    private void end() {
        lock.lock();
        try {
            isClosing = true;
            changed.signal();
        } finally {
            lock.unlock();
        }
        var running = thread;
        if (running != null) {
            try {
                running.join(END_MILLIS);
            } catch (InterruptedException e) {
                Thread.currentThread().interrupt();
            }
        }
    }
}
