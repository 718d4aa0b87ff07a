package basalt.engine.session;

import basalt.engine.EngineException;
import java.util.Collection;
import java.util.Comparator;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.locks.ReentrantLock;
import java.util.function.Consumer;
import java.util.function.LongSupplier;
import java.util.function.Predicate;
import java.util.function.Supplier;
import java.util.regex.Pattern;
import org.jspecify.annotations.Nullable;

/**
 * The sessions that a store knows: all there are, or with a {@link SharedArchive} those used here, each compared with
 * the archive whenever it is locked. Safe for use by any number of threads.
 */
final class SessionTable {
    private static final System.Logger LOG = System.getLogger(SessionTable.class.getName());
    /** To find whom to forget takes a look at all, so one in so many of them goes at once. */
    private static final int FORGOTTEN_SHARE = 64;

    private static final Pattern ID = Pattern.compile("sess_[0-9a-f]{32}");

    private final SessionConfig config;
    private final SessionArchive archive;
    private final Optional<SharedArchive> shared;
    private final StateLoader loader;
    private final LongSupplier millis;
    private final SessionCounters counters;
    private final Consumer<Session> left;
    private final ConcurrentHashMap<String, Session> sessions = new ConcurrentHashMap<>(); // more only under placesLock
    private final ReentrantLock placesLock = new ReentrantLock(); // taken last
    private final Map<String, Integer> heldCounts = new HashMap<>(); // by owner, of new ones; under placesLock
    private int heldCount; // places of sessions that are being made; under placesLock

    /**
     * Knows none yet.
     *
     * @param left told of each session whose state is no longer in memory, under its lock
     */
    SessionTable(
            SessionConfig config,
            SessionArchive archive,
            StateLoader loader,
            LongSupplier millis,
            SessionCounters counters,
            Consumer<Session> left) {
        this.config = config;
        this.archive = archive;
        this.shared = archive instanceof SharedArchive known ? Optional.of(known) : Optional.empty();
        this.loader = loader;
        this.millis = millis;
        this.counters = counters;
        this.left = left;
    }

    /** Finds what the archive names. */
    void recover() {
        int foreign = 0;
        for (String id : archive.ids()) {
            try {
                var log = loader.log(id);
                if (!ID.matcher(id).matches()) {
                    throw new EngineException.InvalidState("its name is no session's");
                }
                if (log.head().fingerprint().equals(config.fingerprint())) {
                    var session = new Session(id, log.head(), log.tokenCount(), log.usedMillis());
                    session.noted(log.note().isPresent());
                    session.baseBytes(baseBytes(session.id, log));
                    sessions.put(id, session);
                } else {
                    foreign++;
                }
            } catch (EngineException.InvalidState e) {
                counters.restoreFailures.increment();
                archive.setAside(id, String.valueOf(e.getMessage()));
            } catch (
                    EngineException.ArchiveFailure e) { // the others are none the worse, and the next start may read it
                counters.restoreFailures.increment();
                LOG.log(System.Logger.Level.ERROR, "event=session_unreadable session=" + id, e);
            }
        }
        if (!sessions.isEmpty() || foreign > 0) {
            LOG.log(
                    System.Logger.Level.INFO,
                    "event=sessions_found count={0} of_other_models={1}",
                    Integer.toString(sessions.size()),
                    Integer.toString(foreign));
        }
    }

    private long baseBytes(String id, SessionLog log) {
        return log.hasBase() ? archive.imageBytes(id, log.firstCount()) : 0;
    }

    /** All that are known; changes with the table. */
    Collection<Session> all() {
        return sessions.values();
    }

    int size() {
        return sessions.size();
    }

    boolean knows(String id) {
        return sessions.containsKey(id);
    }

    /**
     * The session, locked. The caller unlocks it.
     *
     * @throws EngineException.SessionNotFound if there is none, or it is another owner's
     */
    Session lock(String owner, String id) {
        var session = find(owner, id);
        // One that was forgotten while its lock was waited for is known anew.
        for (int attempt = 0; attempt < 2 && session != null; attempt++) {
            session.lock.lock();
            boolean isThere = false;
            try {
                isThere = !session.isDeleted() && isLive(session);
            } finally {
                if (!isThere) {
                    session.lock.unlock();
                }
            }
            if (isThere) {
                return session;
            }
            session = shared.isPresent() ? find(owner, id) : null;
        }
        throw new EngineException.SessionNotFound("There is no session " + id + ".");
    }

    private @Nullable Session find(String owner, String id) {
        var session = sessions.get(id);
        if (session != null) {
            return session.owner.equals(owner) ? session : null;
        }
        return shared.isPresent() && ID.matcher(id).matches() ? found(shared.get(), owner, id) : null;
    }

    /** The version is read before what it is of: a journal that has grown meanwhile is noticed at the first write. */
    private @Nullable Session found(SharedArchive archive, String owner, String id) {
        Optional<JournalVersion> version = archive.version(owner, id);
        if (version.isEmpty()) {
            return null;
        }
        SessionLog log;
        try {
            log = loader.log(id);
        } catch (EngineException.InvalidState e) {
            counters.restoreFailures.increment();
            archive.setAside(id, String.valueOf(e.getMessage()));
            return null;
        }
        if (!log.head().owner().equals(owner) || !log.head().fingerprint().equals(config.fingerprint())) {
            return null;
        }
        return add(owner, false, () -> {
            var session = new Session(id, log.head(), log.tokenCount(), log.usedMillis());
            session.version(version.get());
            session.baseBytes(baseBytes(id, log));
            return session;
        });
    }

    /** Whether a session still is. What other processes did to it is noticed. Call only when holding its lock. */
    private boolean isLive(Session session) {
        if (shared.isEmpty()) {
            return !session.isExpired(millis.getAsLong());
        }
        Optional<JournalVersion> version = shared.get().version(session.owner, session.id);
        if (version.isEmpty()) {
            forget(session);
            return false;
        }
        if (!version.get().equals(session.version())) {
            var log = loader.log(session.id);
            session.state(null);
            session.beginEpoch();
            left.accept(session);
            session.changed(log.tokenCount(), log.usedMillis(), "");
            session.baseBytes(baseBytes(session.id, log));
            session.version(version.get());
        }
        return true;
    }

    /**
     * Makes sure that what was just read of a journal is of the state that is known here. Call only when holding the
     * session's lock.
     *
     * @throws EngineException.SessionConflict if another process has changed the session since it was locked
     */
    void requireUnchanged(Session session) {
        var before = session.version();
        if (shared.isPresent() && !(isLive(session) && session.version().equals(before))) {
            throw new EngineException.SessionConflict(
                    "Another server has just changed session " + session.id + "; try again.");
        }
    }

    /** The session is no more. Call only when holding its lock. */
    void drop(Session session) {
        archive.delete(session.id);
        forget(session);
    }

    /** Call only when holding the session's lock. */
    private void forget(Session session) {
        session.delete();
        left.accept(session);
        sessions.remove(session.id, session);
        shared.ifPresent(archive -> archive.forget(session.id));
    }

    /**
     * Adds a new session, whose place is held while it is made: who comes meanwhile finds it taken.
     *
     * @throws EngineException.SessionsFull if there is no place, here or among those that its owner may have
     */
    void add(String owner, Supplier<Session> making) {
        add(owner, true, making);
    }

    /** Returns the session of that id that is in the table then. */
    private Session add(String owner, boolean isNew, Supplier<Session> making) {
        holdPlace(owner, isNew);
        Session made = null;
        Session before = null;
        try {
            made = making.get();
        } finally {
            placesLock.lock();
            try {
                heldCount--;
                if (isNew) {
                    heldCounts.computeIfPresent(owner, (same, count) -> count == 1 ? null : count - 1);
                }
                if (made != null && isNew) {
                    sessions.put(made.id, made); // also if it was found already, without what is in memory
                } else if (made != null) {
                    before = sessions.putIfAbsent(made.id, made);
                }
            } finally {
                placesLock.unlock();
            }
        }
        return before == null ? made : before;
    }

    /**
     * Holds a place for one session more. It makes one if need be: of the sessions without a turn, the owner's that
     * have a note go; those of a shared archive can be found again, and the ones used least recently are forgotten.
     *
     * @param isNew if it is one more of those that its owner may have
     * @throws EngineException.SessionsFull if there is none
     */
    private void holdPlace(String owner, boolean isNew) {
        var place = tryHoldPlace(owner, isNew);
        if (place != Place.HELD) {
            expire();
            place = tryHoldPlace(owner, isNew);
        }
        while (place != Place.HELD) {
            boolean isOwners = place == Place.NONE_OF_OWNER;
            boolean isMade = shared.isPresent() ? !isOwners && forgetIdle() : dropNoted(owner);
            if (!isMade) {
                throw new EngineException.SessionsFull(
                        isOwners
                                ? "There are " + config.ownerSessionsMax() + " sessions and stored responses of this "
                                        + "key, as many as it may have; delete some"
                                : config.sessionsMax()
                                        + " sessions are kept and there is room for no more; delete some");
            }
            place = tryHoldPlace(owner, isNew);
        }
    }

    private enum Place {
        HELD,
        NONE,
        NONE_OF_OWNER
    }

    private Place tryHoldPlace(String owner, boolean isNew) {
        boolean isBounded = isNew && config.ownerSessionsMax() > 0;
        // Before the lock, as it may take long. What is added elsewhere meanwhile could not be counted anyway.
        int archived = isBounded && shared.isPresent() ? shared.get().ids(owner).size() : 0;
        placesLock.lock();
        try {
            if (isBounded) {
                long kept = shared.isPresent() ? archived : count(owner);
                if (kept + heldCounts.getOrDefault(owner, 0) >= config.ownerSessionsMax()) {
                    return Place.NONE_OF_OWNER;
                }
            }
            if (sessions.size() + heldCount >= config.sessionsMax()) {
                return Place.NONE;
            }
            heldCount++;
            if (isNew) {
                heldCounts.merge(owner, 1, Integer::sum);
            }
            return Place.HELD;
        } finally {
            placesLock.unlock();
        }
    }

    private long count(String owner) {
        return sessions.values().stream()
                .filter(session -> session.owner.equals(owner))
                .count();
    }

    /**
     * Forgets sessions of a shared archive that nobody uses just now.
     *
     * @return whether there was one
     */
    private boolean forgetIdle() {
        int countMax = 1 + config.sessionsMax() / FORGOTTEN_SHARE;
        int count = 0;
        for (var session : Session.eldestFirst(sessions.values().stream())) {
            if (count < countMax && ifIdle(session, idle -> true, this::forget)) {
                count++;
            }
        }
        return count > 0;
    }

    /**
     * Drops the least recently used of an owner's sessions with a note that nobody uses just now. They stand for
     * answers that were kept without being asked for.
     *
     * @return whether there was one
     */
    boolean dropNoted(String owner) {
        var noted = sessions.values().stream().filter(session -> session.isNoted() && session.owner.equals(owner));
        for (var session : Session.eldestFirst(noted)) {
            if (ifIdle(session, Session::isNoted, this::drop)) {
                return true;
            }
        }
        return false;
    }

    /** Drops sessions whose life is over; a shared archive does so itself, and they are forgotten here. */
    void expire() {
        long now = millis.getAsLong();
        for (var session : sessions.values()) {
            if (session.isExpired(now)) {
                ifIdle(session, idle -> idle.isExpired(now), shared.isPresent() ? this::forget : this::drop);
            }
        }
    }

    /**
     * Does something to a session that nobody uses just now.
     *
     * @param condition asked under its lock: others may have changed it meanwhile
     * @return whether it was done
     */
    private static boolean ifIdle(Session session, Predicate<Session> condition, Consumer<Session> action) {
        if (!session.lock.tryLock()) {
            return false;
        }
        try {
            if (session.isBusy() || session.isDeleted() || !condition.test(session)) {
                return false;
            }
            action.accept(session);
            return true;
        } finally {
            session.lock.unlock();
        }
    }

    /** Ids of an owner's sessions, the oldest first. */
    List<String> ids(String owner) {
        if (shared.isPresent()) {
            return shared.get().ids(owner);
        }
        long now = millis.getAsLong();
        return sessions.values().stream()
                .filter(session -> session.owner.equals(owner) && !session.isExpired(now))
                .sorted(Comparator.<Session>comparingLong(session -> session.createdMillis)
                        .thenComparing(session -> session.id))
                .map(session -> session.id)
                .toList();
    }
}
