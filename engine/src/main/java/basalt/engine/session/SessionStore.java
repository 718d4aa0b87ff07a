package basalt.engine.session;

import basalt.engine.Engine;
import basalt.engine.EngineException;
import basalt.engine.Turn;
import basalt.engine.state.SessionState;
import java.security.SecureRandom;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HexFormat;
import java.util.List;
import java.util.Optional;
import java.util.function.LongSupplier;
import java.util.function.Supplier;

/**
 * The sessions of one engine: makes, continues, forks and rewinds them, and keeps their images in memory and in an
 * archive. Safe for use by any number of threads.
 *
 * <p>The journal of a session is the truth: a turn is committed once its tokens are in it. Images are a cache over it.
 * Those in memory are of the sessions used last; a thread of the store writes the others to the archive, as well as
 * those of sessions whose archived image is far behind. A session without an image is read again from its tokens.
 * Owners are names that the caller makes up; a session of another owner is not there.
 */
public final class SessionStore implements AutoCloseable {
    private static final System.Logger LOG = System.getLogger(SessionStore.class.getName());
    private static final int ID_BYTES = 16;
    /** Forks made by one call at most. */
    public static final int FORKS_MAX = 64;

    private final Engine engine;
    private final SessionConfig config;
    private final SessionArchive archive;
    private final LongSupplier millis;
    private final SecureRandom random = new SecureRandom();
    private final SessionCounters counters = new SessionCounters();
    private final StateLoader loader;
    private final SessionTable table;
    private final ImageKeeper keeper;
    private final SessionSummaries summaries;

    private SessionStore(Engine engine, SessionConfig config, SessionArchive archive, LongSupplier millis) {
        this.engine = engine;
        this.config = config;
        this.archive = archive;
        this.millis = millis;
        loader = new StateLoader(
                archive, config.fingerprint(), engine.layout(), engine.model().vocabSize(), counters);
        table = new SessionTable(config, archive, loader, millis, counters, this::left);
        summaries = new SessionSummaries(archive, loader, table);
        keeper = new ImageKeeper(config, archive, table.all(), counters, table::expire);
    }

    /**
     * Finds what the archive has, and takes it over: {@link #close} closes it.
     *
     * @param millis the clock, since 1970
     */
    public static SessionStore open(Engine engine, SessionConfig config, SessionArchive archive, LongSupplier millis) {
        var store = new SessionStore(engine, config, archive, millis);
        store.table.recover();
        store.keeper.start();
        return store;
    }

    /**
     * Makes a session without tokens.
     *
     * @param life how long it is kept without use; zero for ever
     * @throws EngineException.SessionsFull if there are too many
     */
    public String create(String owner, Duration life) {
        String id = newId();
        table.add(owner, () -> made(id, owner, life, List.of(), 0, SessionState.EMPTY));
        return id;
    }

    private Session made(
            String id, String owner, Duration life, List<Journal.Entry> entries, long baseBytes, SessionState state) {
        long now = millis.getAsLong();
        var head = new Journal.Entry.Head(config.fingerprint(), owner, now, life.toMillis());
        var all = new ArrayList<>(entries);
        all.addFirst(head);
        byte[] journal = Journal.bytes(all);
        var version = written(owner, () -> archive.create(label(id, head), JournalVersion.NONE, journal));
        var session = new Session(id, head, state.tokenCount(), now);
        session.lock.lock();
        try {
            session.version(version);
            session.baseBytes(baseBytes);
            keep(session, state);
        } finally {
            session.lock.unlock();
        }
        return session;
    }

    /** What a write returns, once there is room for it. */
    private JournalVersion written(String owner, Supplier<JournalVersion> write) {
        while (true) {
            try {
                return write.get();
            } catch (EngineException.SessionsFull e) {
                if (!table.dropNoted(owner)) {
                    throw e;
                }
            }
        }
    }

    private static SessionArchive.Label label(String id, Journal.Entry.Head head) {
        return new SessionArchive.Label(id, head.owner(), head.lifeMillis());
    }

    private String newId() {
        var bytes = new byte[ID_BYTES];
        random.nextBytes(bytes);
        return "sess_" + HexFormat.of().formatHex(bytes);
    }

    private void left(Session session) {
        keeper.dropped(session);
    }

    /** Call only when holding the session's lock. */
    private void keep(Session session, SessionState state) {
        session.state(state);
        session.changed(state.tokenCount(), millis.getAsLong(), state.history().digestText());
        keeper.used(session, state);
    }

    /** Call only when holding the session's lock. */
    private SessionState load(Session session) {
        var state = session.state();
        if (state == null) {
            state = loader.load(session.id, session.digest());
            session.digest(state.history().digestText());
            session.state(state);
        }
        keeper.used(session, state);
        return state;
    }

    /** Call only when holding the session's lock. */
    private SessionState loadForTurn(Session session) {
        boolean isInMemory = session.state() != null;
        var state = load(session);
        if (state.tokenCount() > 0) {
            boolean hasImage = state.saved().isPresent();
            (!hasImage ? counters.tokenTurns : isInMemory ? counters.memoryTurns : counters.archiveTurns).increment();
        }
        return state;
    }

    /**
     * Starts a turn.
     *
     * @param patience with a turn that runs
     * @throws EngineException.SessionNotFound if there is none, or another's
     * @throws EngineException.SessionBusy if a turn runs for longer, or too many others wait for it
     */
    public SessionTurn turn(String owner, String id, TurnRequest request, Patience patience)
            throws InterruptedException {
        var session = table.lock(owner, id);
        try {
            if (!session.acquire(patience)) {
                counters.conflicts.increment();
                throw new EngineException.SessionBusy(
                        "A turn of session " + id + " runs; send the next one after its end, or fork the session.");
            }
            boolean isStarted = false;
            try {
                if (session.isDeleted()) {
                    throw new EngineException.SessionNotFound("There is no session " + id + ".");
                }
                var state = loadForTurn(session);
                int[] prompt = state.tokenCount() == 0
                        ? request.opening()
                        : request.promptAfter(state.pending(), engine.model().endOfSequence());
                var start =
                        prompt.length > 0 || state.pendingCount() > 0 ? state.append(prompt) : loader.unread(state, id);
                if (start.pendingCount() == 0) {
                    throw new EngineException.InvalidRequest(
                            "pending", "The session has no token that an answer could follow; give a prompt.");
                }
                Turn turn = request.start(engine, start, prompt.length, patience, () -> loader.tokens(id, prompt));
                var sessionTurn = new SessionTurn(this, session, turn, prompt, session.version());
                session.turn(sessionTurn);
                session.used(millis.getAsLong());
                isStarted = true;
                return sessionTurn;
            } finally {
                if (!isStarted) {
                    session.release();
                }
            }
        } finally {
            session.lock.unlock();
        }
    }

    /**
     * Makes a turn part of its session, for good.
     *
     * @throws EngineException.SessionConflict if another process has changed the session since the turn began
     */
    void commit(Session session, SessionTurn turn, Turn.Copy outcome) {
        session.lock.lock();
        try {
            if (session.isDeleted()) {
                throw new EngineException.SessionNotFound("Session " + session.id + " was deleted meanwhile.");
            }
            byte[] entry = Journal.bytes(turn.entry(millis.getAsLong(), outcome));
            session.version(written(session.owner, () -> archive.append(session.id, turn.version(), entry)));
            session.turn(null); // from now on the journal has it, and a fork finds it there
            counters.commits.increment();
            keep(session, outcome.state());
        } finally {
            session.lock.unlock();
        }
        keeper.relieve();
    }

    /**
     * Makes copies of a session, and returns their ids. If a turn of it runs, they are taken at its current token.
     *
     * @param count how many, at most {@value #FORKS_MAX}
     * @throws EngineException.SessionNotFound if there is none, or another's
     * @throws EngineException.SessionsFull if there is no room for so many
     */
    public List<String> fork(String owner, String id, int count, Duration life) throws InterruptedException {
        var session = table.lock(owner, id);
        SessionTurn running;
        try {
            running = session.turn();
            session.used(millis.getAsLong());
        } finally {
            session.lock.unlock();
        }
        // Not under the lock: the turn needs it to end.
        var copy = running == null ? Optional.<Turn.Copy>empty() : running.copy();
        session = table.lock(owner, id);
        try {
            var entries = new ArrayList<>(loader.entries(id));
            table.requireUnchanged(session);
            entries.removeFirst();
            entries.removeIf(Journal.Entry.Noted.class::isInstance);
            SessionState state;
            if (copy.isPresent() && running != null && running == session.turn()) {
                entries.add(running.entry(millis.getAsLong(), copy.get()));
                state = copy.get().state();
            } else {
                state = load(session);
            }
            return copies(session, count, life, entries, state);
        } finally {
            session.lock.unlock();
        }
    }

    /** All or none. The images come first: a journal may build on one. */
    private List<String> copies(
            Session session, int count, Duration life, List<Journal.Entry> entries, SessionState state) {
        var ids = new ArrayList<String>(count);
        long baseBytes = session.baseBytes();
        boolean areMade = false;
        try {
            while (ids.size() < count) {
                String fork = newId();
                table.add(session.owner, () -> {
                    if (baseBytes > 0) {
                        keeper.makeRoom(baseBytes);
                    }
                    ids.add(fork);
                    archive.images(session.id).forEach(at -> archive.copyImage(session.id, fork, at));
                    return made(fork, session.owner, life, entries, baseBytes, state);
                });
            }
            areMade = true;
            return ids;
        } finally {
            if (!areMade) {
                ids.forEach(fork -> discard(session.owner, fork));
            }
        }
    }

    /** Drops a copy that nobody knows of, made or half made, as far as that can be done. */
    private void discard(String owner, String id) {
        try {
            if (table.knows(id)) {
                delete(owner, id);
            } else {
                archive.delete(id);
            }
        } catch (EngineException e) {
            LOG.log(System.Logger.Level.WARNING, "event=copy_not_dropped session=" + id, e);
        }
    }

    /**
     * Takes a session back.
     *
     * @param tokenCount tokens it is to have
     * @throws EngineException.SessionNotFound if there is none, or another's
     * @throws EngineException.SessionBusy if a turn runs
     * @throws EngineException.InvalidRequest if it never had so many tokens, or they are not known any more
     */
    public void rewind(String owner, String id, long tokenCount) {
        var session = table.lock(owner, id);
        try {
            requireIdle(session);
            var entries = loader.entries(id);
            var log = new SessionLog(entries);
            if (tokenCount < log.firstCount() || tokenCount > log.tokenCount()) {
                throw new EngineException.InvalidRequest(
                        "tokens",
                        "the session can go back to " + log.firstCount() + " to " + log.tokenCount() + " tokens, not "
                                + tokenCount);
            }
            var state = loader.rewound(load(session), id, log, tokenCount);
            var entry = new Journal.Entry.Rewound(millis.getAsLong(), tokenCount);
            session.version(CompactJournal.append(archive, session, entries, entry));
            session.beginEpoch();
            for (long at : archive.images(id)) {
                if (at > tokenCount) {
                    archive.deleteImage(id, at);
                }
            }
            keep(session, state);
        } finally {
            session.lock.unlock();
        }
    }

    private static void requireIdle(Session session) {
        if (session.isBusy()) {
            throw new EngineException.SessionBusy(
                    "A turn of session " + session.id + " runs; try again after its end.");
        }
    }

    /** The state of a session, to be written elsewhere; of the last committed turn. */
    public byte[] exported(String owner, String id) {
        var session = table.lock(owner, id);
        SessionState state;
        try {
            state = load(session);
        } finally {
            session.lock.unlock();
        }
        return StateFile.bytes(state, config.fingerprint());
    }

    /** The size of what {@link #importState} takes at most. */
    public long exportBytesMax() {
        return StateFile.bytesMax(engine.layout(), engine.model().vocabSize());
    }

    /**
     * Replaces the state of a session by one that was written down. What it went through before is forgotten.
     *
     * @throws EngineException.InvalidState saying why it cannot be used
     * @throws EngineException.SessionNotFound if there is no such session, or it is another's
     * @throws EngineException.SessionBusy if a turn runs
     * @throws EngineException.SessionsFull if states that cannot be dropped take all the room
     */
    public void importState(String owner, String id, byte[] bytes) {
        var state = StateFile.read(
                bytes, config.fingerprint(), engine.layout(), engine.model().vocabSize());
        var session = table.lock(owner, id);
        try {
            requireIdle(session);
            var head = new Journal.Entry.Head(config.fingerprint(), owner, session.createdMillis, session.lifeMillis);
            keeper.makeRoom(bytes.length - session.baseBytes());
            byte[] journal = Journal.bytes(List.of(head, new Journal.Entry.Base(state.tokenCount())));
            session.beginEpoch(); // also if it fails halfway
            session.version(archive.replace(label(id, head), session.version(), journal, state.tokenCount(), bytes));
            session.baseBytes(bytes.length);
            keep(session, state);
        } finally {
            session.lock.unlock();
        }
    }

    /**
     * Writes down what the owner wants to know of a session as it is; a note before is forgotten, and so is this one
     * when the session changes. Forks have none. Where there is no room for more sessions, those with a note go.
     *
     * @throws EngineException.SessionNotFound if there is none, or another's
     * @throws EngineException.SessionConflict if another process has changed it since
     */
    public void note(String owner, String id, byte[] note) {
        note(owner, id, new Journal.Entry.Noted(note, false));
    }

    /** As {@link #note(String, String, byte[])}, but it holds until the next one, whatever turns come before. */
    public void noteUntilNext(String owner, String id, byte[] note) {
        note(owner, id, new Journal.Entry.Noted(note, true));
    }

    private void note(String owner, String id, Journal.Entry.Noted note) {
        var session = table.lock(owner, id);
        boolean isNoted = session.isNoted();
        try {
            byte[] entry = Journal.bytes(note);
            session.noted(false); // or it could go itself to make room
            session.version(written(owner, () -> archive.append(id, session.version(), entry)));
            isNoted = !note.isLasting(); // its turn is about to begin
        } finally {
            session.noted(isNoted);
            session.lock.unlock();
        }
    }

    /**
     * The note of a session, if it has not changed since or the note outlasts that.
     *
     * @throws EngineException.SessionNotFound if there is none, or another's
     */
    public Optional<byte[]> note(String owner, String id) {
        var session = table.lock(owner, id);
        try {
            return loader.log(id).note();
        } finally {
            session.lock.unlock();
        }
    }

    /** What there is to know of a session. */
    public SessionSummary summary(String owner, String id) {
        return summaries.of(owner, id);
    }

    /**
     * All sessions of an owner, the oldest first, after one of them, at most so many. Those that cannot be read are
     * left out.
     *
     * @param afterId empty for the first ones
     * @throws EngineException.SessionNotFound if there is no session to come after
     */
    public List<SessionSummary> list(String owner, String afterId, int max) {
        return summaries.list(owner, afterId, max);
    }

    /** Drops a session; a turn of it that runs is cancelled. */
    public void delete(String owner, String id) {
        var session = table.lock(owner, id);
        SessionTurn running;
        try {
            running = session.turn();
            table.drop(session);
        } finally {
            session.lock.unlock();
        }
        if (running != null) {
            running.close();
        }
    }

    /** The processes that use the archive too, if it can be shared. */
    public Optional<Peers> peers() {
        return archive instanceof SharedArchive shared ? Optional.of(shared) : Optional.empty();
    }

    /** Sessions kept. */
    public int count() {
        return table.size();
    }

    /** Readings, for which all sessions are looked at. */
    public SessionStats stats() {
        long inMemory = keeper.memoryCount();
        long archived = table.all().stream()
                .filter(session -> !session.hasImage() && archive.imageBytes(session.id) > 0)
                .count();
        return new SessionStats(
                new SessionStats.Tier(inMemory, keeper.memoryBytes(), counters.memoryTurns.sum()),
                new SessionStats.Tier(archived, keeper.archiveBytes(), counters.archiveTurns.sum()),
                new SessionStats.Tier(Math.max(0, table.size() - inMemory - archived), 0, counters.tokenTurns.sum()),
                counters.archiveTurns.sum(),
                counters.demotions.sum(),
                counters.commits.sum(),
                counters.conflicts.sum(),
                counters.restoreFailures.sum());
    }

    /** Ends as a killed process would, for tests: nothing more is written. */
    void abandon() {
        keeper.abandon();
        archive.close();
    }

    /** Writes what is only in memory, and closes the archive. A turn that still runs fails at its end. */
    @Override
    public void close() {
        keeper.close();
        archive.close();
    }
}
