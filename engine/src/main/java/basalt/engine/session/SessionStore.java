package basalt.engine.session;

import basalt.engine.Engine;
import basalt.engine.EngineException;
import basalt.engine.Turn;
import basalt.engine.state.SessionState;
import java.security.SecureRandom;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.HexFormat;
import java.util.List;
import java.util.Optional;
import java.util.OptionalLong;
import java.util.concurrent.ConcurrentHashMap;
import java.util.function.LongSupplier;
import java.util.regex.Pattern;

/**
 * The sessions of one engine: makes, continues, forks and rewinds them, and keeps their images in memory and in an
 * archive. Safe for use by any number of threads.
 *
 * <p>The journal of a session is the truth: a turn is committed once its tokens are in it. Images are a cache over it.
 * Those in memory are of the sessions used last; a thread of the store writes the others to the archive, as well as
 * those of sessions whose archived image is far behind. A session without an image is read again from its tokens.
 *
 * <p>Owners are names that the caller makes up; a session of another owner is not there.
 */
public final class SessionStore implements AutoCloseable {
    private static final System.Logger LOG = System.getLogger(SessionStore.class.getName());
    private static final Pattern ID = Pattern.compile("sess_[0-9a-f]{32}");
    private static final int ID_BYTES = 16;
    /** Forks made by one call at most. */
    public static final int FORKS_MAX = 64;

    private final Engine engine;
    private final SessionConfig config;
    private final SessionArchive archive;
    private final LongSupplier millis;
    private final SecureRandom random = new SecureRandom();
    private final ConcurrentHashMap<String, Session> sessions = new ConcurrentHashMap<>();
    private final StateLoader loader;
    private final ImageKeeper keeper;

    private SessionStore(Engine engine, SessionConfig config, SessionArchive archive, LongSupplier millis) {
        this.engine = engine;
        this.config = config;
        this.archive = archive;
        this.millis = millis;
        loader = new StateLoader(
                archive, config.fingerprint(), engine.layout(), engine.model().vocabSize());
        keeper = new ImageKeeper(config, archive, sessions.values(), this::expire);
    }

    /**
     * Finds what the archive has, and takes it over: {@link #close} closes it.
     *
     * @param millis the clock, since 1970
     */
    public static SessionStore open(Engine engine, SessionConfig config, SessionArchive archive, LongSupplier millis) {
        var store = new SessionStore(engine, config, archive, millis);
        store.recover();
        store.keeper.start();
        return store;
    }

    private void recover() {
        int foreign = 0;
        for (String id : archive.ids()) {
            try {
                var log = loader.log(id);
                if (!ID.matcher(id).matches()) {
                    throw new EngineException.InvalidState("its name is no session's");
                }
                if (log.head().fingerprint().equals(config.fingerprint())) {
                    sessions.put(id, new Session(id, log.head(), log.tokenCount(), log.usedMillis()));
                } else {
                    foreign++;
                }
            } catch (EngineException.InvalidState e) {
                archive.setAside(id, String.valueOf(e.getMessage()));
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

    /**
     * Makes a session without tokens.
     *
     * @param life how long it is kept without use; zero for ever
     * @throws EngineException.SessionsFull if there are too many
     */
    public String create(String owner, Duration life) {
        return create(newId(), owner, life, List.of(), SessionState.EMPTY);
    }

    private String create(String id, String owner, Duration life, List<Journal.Entry> entries, SessionState state) {
        requireRoom();
        long now = millis.getAsLong();
        var head = new Journal.Entry.Head(config.fingerprint(), owner, now, life.toMillis());
        var all = new ArrayList<Journal.Entry>(entries.size() + 1);
        all.add(head);
        all.addAll(entries);
        archive.create(id, Journal.bytes(all));
        var session = new Session(id, head, state.tokenCount(), now);
        session.lock.lock();
        try {
            keep(session, state);
        } finally {
            session.lock.unlock();
        }
        sessions.put(id, session);
        return id;
    }

    private void requireRoom() {
        if (sessions.size() >= config.sessionsMax()) {
            expire();
        }
        if (sessions.size() >= config.sessionsMax()) {
            throw new EngineException.SessionsFull(
                    config.sessionsMax() + " sessions are kept and there is room for no more; delete some");
        }
    }

    private String newId() {
        var bytes = new byte[ID_BYTES];
        random.nextBytes(bytes);
        return "sess_" + HexFormat.of().formatHex(bytes);
    }

    /** Call only when holding the session's lock. */
    private void keep(Session session, SessionState state) {
        session.state(state);
        session.changed(state.tokenCount(), millis.getAsLong());
        keeper.used(session, state);
    }

    /** The session, locked. The caller unlocks it. */
    private Session lock(String owner, String id) {
        var session = sessions.get(id);
        if (session != null && session.owner.equals(owner)) {
            boolean isThere = false;
            session.lock.lock();
            try {
                isThere = !session.isDeleted() && !session.isExpired(millis.getAsLong());
            } finally {
                if (!isThere) {
                    session.lock.unlock();
                }
            }
            if (isThere) {
                return session;
            }
        }
        throw new EngineException.SessionNotFound("There is no session " + id + ".");
    }

    /** Call only when holding the session's lock. */
    private SessionState load(Session session) {
        var state = session.state();
        if (state == null) {
            state = loader.load(session.id);
            session.state(state);
        }
        keeper.used(session, state);
        return state;
    }

    /**
     * Starts a turn.
     *
     * @param wait for the end of a turn that runs
     * @throws EngineException.SessionNotFound if there is none, or another's
     * @throws EngineException.SessionBusy if a turn runs for longer
     */
    public SessionTurn turn(String owner, String id, TurnRequest request, Duration wait) throws InterruptedException {
        var session = lock(owner, id);
        try {
            if (!session.acquire(wait.toNanos())) {
                throw new EngineException.SessionBusy(
                        "A turn of session " + id + " runs; send the next one after its end, or fork the session.");
            }
            boolean isStarted = false;
            try {
                if (session.isDeleted()) {
                    throw new EngineException.SessionNotFound("There is no session " + id + ".");
                }
                var state = load(session);
                int[] prompt = state.tokenCount() == 0 ? request.opening() : request.prompt();
                var start = state.append(prompt);
                if (start.pendingCount() == 0) {
                    throw new EngineException.InvalidRequest(
                            "prompt", "the session has no token that an answer could follow; give a prompt");
                }
                var generation = request.template().withPrompt(start.pending());
                Turn turn = engine.resume(start, generation, request.keepsStopToken());
                var sessionTurn = new SessionTurn(this, session, turn, prompt);
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

    /** Makes a turn part of its session, for good. */
    void commit(Session session, SessionTurn turn, Turn.Copy outcome) {
        session.lock.lock();
        try {
            if (session.isDeleted()) {
                throw new EngineException.SessionNotFound("Session " + session.id + " was deleted meanwhile.");
            }
            archive.append(session.id, Journal.bytes(entry(turn, outcome)));
            keep(session, outcome.state());
        } finally {
            session.lock.unlock();
        }
        keeper.relieve();
    }

    private Journal.Entry entry(SessionTurn turn, Turn.Copy copy) {
        int[] prompt = turn.prompt();
        var tokens = new int[prompt.length + copy.tokens().length];
        System.arraycopy(prompt, 0, tokens, 0, prompt.length);
        System.arraycopy(copy.tokens(), 0, tokens, prompt.length, copy.tokens().length);
        return new Journal.Entry.Turned(millis.getAsLong(), prompt.length, tokens);
    }

    /**
     * Makes copies of a session. If a turn of it runs, they are taken at its current token.
     *
     * @param count how many, at most {@value #FORKS_MAX}
     * @return ids of the copies
     * @throws EngineException.SessionNotFound if there is none, or another's
     */
    public List<String> fork(String owner, String id, int count, Duration life) throws InterruptedException {
        var session = lock(owner, id);
        SessionTurn running;
        try {
            running = session.turn();
        } finally {
            session.lock.unlock();
        }
        // Not under the lock: the turn needs it to end.
        var copy = running == null ? Optional.<Turn.Copy>empty() : running.copy();
        session = lock(owner, id);
        try {
            var entries = new ArrayList<>(loader.entries(id));
            entries.removeFirst();
            SessionState state;
            if (copy.isPresent() && running != null && running == session.turn()) {
                entries.add(entry(running, copy.get()));
                state = copy.get().state();
            } else {
                state = load(session);
            }
            var ids = new ArrayList<String>(count);
            for (int i = 0; i < count; i++) {
                ids.add(copy(id, owner, life, entries, state));
            }
            return ids;
        } finally {
            session.lock.unlock();
        }
    }

    /** The images first: a journal may build on one, and without a journal they are swept away. */
    private String copy(String id, String owner, Duration life, List<Journal.Entry> entries, SessionState state) {
        requireRoom();
        String fork = newId();
        archive.images(id).forEach(at -> archive.copyImage(id, fork, at));
        return create(fork, owner, life, entries, state);
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
        var session = lock(owner, id);
        try {
            requireIdle(session);
            var log = loader.log(id);
            if (tokenCount < log.firstCount() || tokenCount > log.tokenCount()) {
                throw new EngineException.InvalidRequest(
                        "tokens",
                        "the session can go back to " + log.firstCount() + " to " + log.tokenCount() + " tokens, not "
                                + tokenCount);
            }
            var state = loader.rewound(load(session), id, log, tokenCount);
            archive.append(id, Journal.bytes(new Journal.Entry.Rewound(millis.getAsLong(), tokenCount)));
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
        var session = lock(owner, id);
        SessionState state;
        try {
            state = load(session);
        } finally {
            session.lock.unlock();
        }
        return StateFile.bytes(state, config.fingerprint());
    }

    /**
     * Replaces the state of a session by one that was written down. What it went through before is forgotten.
     *
     * @throws EngineException.InvalidState saying why it cannot be used
     * @throws EngineException.SessionNotFound if there is no such session, or it is another's
     * @throws EngineException.SessionBusy if a turn runs
     */
    public void importState(String owner, String id, byte[] bytes) {
        var state = StateFile.read(
                bytes, config.fingerprint(), engine.layout(), engine.model().vocabSize());
        var session = lock(owner, id);
        try {
            requireIdle(session);
            var head = new Journal.Entry.Head(config.fingerprint(), owner, session.createdMillis, session.lifeMillis);
            // The image first: a journal with a base needs it, and an image alone changes nothing.
            archive.putImage(id, state.tokenCount(), bytes);
            archive.create(id, Journal.bytes(List.of(head, new Journal.Entry.Base(state.tokenCount()))));
            for (long at : archive.images(id)) {
                if (at != state.tokenCount()) {
                    archive.deleteImage(id, at);
                }
            }
            keep(session, state);
        } finally {
            session.lock.unlock();
        }
    }

    /** What there is to know of a session. */
    public SessionSummary summary(String owner, String id) {
        var session = lock(owner, id);
        try {
            return summary(session);
        } finally {
            session.lock.unlock();
        }
    }

    /** Call only when holding the session's lock. */
    private SessionSummary summary(Session session) {
        var log = loader.log(session.id);
        var state = session.state();
        long archived = archive.imageBytes(session.id);
        boolean isInMemory = state != null && state.image().isPresent();
        long inMemory = isInMemory && state != null
                ? state.image().map(ImageMemory::bytes).orElse(0L)
                : 0;
        var tier = isInMemory
                ? SessionSummary.Tier.MEMORY
                : archived > 0 ? SessionSummary.Tier.ARCHIVE : SessionSummary.Tier.TOKENS;
        var history = state != null ? state.history() : loader.history(session.id, log);
        return new SessionSummary(
                session.id,
                session.createdMillis,
                session.usedMillis(),
                session.lifeMillis > 0
                        ? OptionalLong.of(session.usedMillis() + session.lifeMillis)
                        : OptionalLong.empty(),
                log.tokenCount(),
                log.turnCount(),
                log.promptTokens(),
                log.answerTokens(),
                history.digestText(),
                tier,
                Math.max(inMemory, archived),
                log.ends(),
                session.isBusy());
    }

    /** All sessions of an owner, the oldest first, after one of them, at most so many. */
    public List<SessionSummary> list(String owner, String afterId, int max) {
        long now = millis.getAsLong();
        var ids = sessions.values().stream()
                .filter(session -> session.owner.equals(owner) && !session.isExpired(now))
                .sorted(Comparator.<Session>comparingLong(session -> session.createdMillis)
                        .thenComparing(session -> session.id))
                .map(session -> session.id)
                .toList();
        int from = afterId.isEmpty() ? 0 : ids.indexOf(afterId) + 1;
        var summaries = new ArrayList<SessionSummary>();
        for (String id : ids.subList(from, Math.min(ids.size(), from + max))) {
            try {
                summaries.add(summary(owner, id));
            } catch (EngineException.SessionNotFound e) {
                LOG.log(System.Logger.Level.DEBUG, "event=session_gone session={0}", id);
            }
        }
        return summaries;
    }

    /** Drops a session; a turn of it that runs is cancelled. */
    public void delete(String owner, String id) {
        var session = lock(owner, id);
        SessionTurn running;
        try {
            running = session.turn();
            drop(session);
        } finally {
            session.lock.unlock();
        }
        if (running != null) {
            running.close();
        }
    }

    /** Call only when holding the session's lock. */
    private void drop(Session session) {
        archive.delete(session.id);
        session.delete();
        keeper.dropped(session);
        sessions.remove(session.id);
    }

    private void expire() {
        long now = millis.getAsLong();
        for (var session : sessions.values()) {
            if (session.isExpired(now) && session.lock.tryLock()) {
                try {
                    if (!session.isBusy() && !session.isDeleted() && session.isExpired(now)) {
                        drop(session);
                    }
                } finally {
                    session.lock.unlock();
                }
            }
        }
    }

    /** Sessions kept. */
    public int count() {
        return sessions.size();
    }

    /** Bytes of images in memory. */
    public long memoryBytes() {
        return keeper.memoryBytes();
    }

    /** Bytes of images in the archive. */
    public long archiveBytes() {
        return keeper.archiveBytes();
    }

    /** Ends as a killed process would, for tests: nothing more is written. */
    void abandon() {
        keeper.abandon();
        archive.close();
    }

    /** Writes what is only in memory, and closes the archive. No turn may run any more. */
    @Override
    public void close() {
        keeper.close();
        archive.close();
    }
}
