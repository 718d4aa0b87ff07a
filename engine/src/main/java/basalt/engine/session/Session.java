package basalt.engine.session;

import basalt.engine.state.SessionState;
import java.util.ArrayDeque;
import java.util.Comparator;
import java.util.Deque;
import java.util.List;
import java.util.concurrent.locks.Condition;
import java.util.concurrent.locks.ReentrantLock;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;

/** One session of a {@link SessionStore}. What changes is guarded by its lock. */
final class Session {
    /** Turns that wait for another one at most; each holds a thread and a connection. */
    static final int WAITING_MAX = 64;

    final String id;
    final String owner;
    final long createdMillis;
    final long lifeMillis;
    final ReentrantLock lock = new ReentrantLock();
    private final Condition idle = lock.newCondition();
    private final Deque<Patience> waiting = new ArrayDeque<>(); // for the turn, in the order they came; under lock
    private volatile boolean isBusy; // written under lock
    private @Nullable SessionTurn turn; // that runs, once it is started
    private volatile boolean isDeleted; // written under lock
    private volatile @Nullable SessionState state; // null if it is not in memory; written under lock
    private JournalVersion version = JournalVersion.NONE; // of the journal that the state is of
    private String digest = ""; // of the history, empty until it is known; under lock
    private volatile long tokenCount;
    private volatile long usedMillis;
    private volatile boolean isNoted; // written under lock
    private volatile long baseBytes; // written under lock
    private int epoch; // under lock

    Session(String id, Journal.Entry.Head head, long tokenCount, long usedMillis) {
        this.id = id;
        owner = head.owner();
        createdMillis = head.createdMillis();
        lifeMillis = head.lifeMillis();
        this.tokenCount = tokenCount;
        this.usedMillis = usedMillis;
    }

    /**
     * Waits until no turn runs and all that have come before have had theirs, and lets one begin. Call only when
     * holding lock.
     *
     * @return false if the patience is over, or too many wait already
     */
    boolean acquire(Patience patience) throws InterruptedException {
        long left = patience.nanos();
        if ((isBusy || !waiting.isEmpty()) && (left <= 0 || waiting.size() == WAITING_MAX)) {
            return false;
        }
        patience.onEnd(this::wakeAll);
        waiting.addLast(patience);
        try {
            while ((isBusy || waiting.getFirst() != patience) && !isDeleted && !patience.isOver()) {
                if (left <= 0) {
                    return false;
                }
                left = idle.awaitNanos(left);
            }
            if (patience.isOver()) {
                return false;
            }
            isBusy = true;
            return true;
        } finally {
            waiting.remove(patience);
            if (!isBusy) {
                idle.signalAll(); // the next one may have been woken before it was the first
            }
        }
    }

    private void wakeAll() {
        lock.lock();
        try {
            idle.signalAll();
        } finally {
            lock.unlock();
        }
    }

    /** Notes that no turn runs. */
    void release() {
        lock.lock();
        try {
            isBusy = false;
            turn = null;
            idle.signalAll(); // all look, and the first one goes on
        } finally {
            lock.unlock();
        }
    }

    /** Whether a turn runs; it can begin at any time unless the lock is held. */
    boolean isBusy() {
        return isBusy;
    }

    /** The turn that runs and is not committed, or null. Call only when holding lock. */
    @Nullable SessionTurn turn() {
        return turn;
    }

    /** Call only when holding lock. */
    void turn(@Nullable SessionTurn value) {
        turn = value;
    }

    /** Whether it is no more; stays so only while the lock is held. May be asked by any thread. */
    boolean isDeleted() {
        return isDeleted;
    }

    /** Call only when holding lock. */
    void delete() {
        isDeleted = true;
        state = null;
        idle.signalAll();
    }

    /** The state if it is in memory. Call only when holding lock. */
    @Nullable SessionState state() {
        return state;
    }

    /** Call only when holding lock. */
    void state(@Nullable SessionState value) {
        state = value;
    }

    /**
     * Grows whenever tokens are taken back or replaced: what was read of its history before need not be of it any
     * more. Call only when holding lock.
     */
    int epoch() {
        return epoch;
    }

    /** Call only when holding lock. */
    void beginEpoch() {
        epoch++;
    }

    /** The version of the journal as it is known here. Call only when holding lock. */
    JournalVersion version() {
        return version;
    }

    /** Call only when holding lock. */
    void version(JournalVersion value) {
        version = value;
    }

    /** The digest of its history, empty if it is not known yet. Call only when holding lock. */
    String digest() {
        return digest;
    }

    /** Call only when holding lock. */
    void digest(String value) {
        digest = value;
    }

    /** Whether its image is in memory. May be asked by any thread. */
    boolean hasImage() {
        var now = state;
        return now != null && now.saved().isPresent();
    }

    long tokenCount() {
        return tokenCount;
    }

    /**
     * Notes what the session is now. Call only when holding lock.
     *
     * @param newDigest of its history; empty if that was not looked at
     */
    void changed(long tokens, long nowMillis, String newDigest) {
        tokenCount = tokens;
        isNoted = false;
        digest = newDigest;
        usedMillis = nowMillis;
    }

    /** Bytes of the archived image that its journal builds on, 0 if it builds on none. */
    long baseBytes() {
        return baseBytes;
    }

    /** Call only when holding lock, or before anyone else can. */
    void baseBytes(long value) {
        baseBytes = value;
    }

    /** Whether its owner has written something down about it as it is. */
    boolean isNoted() {
        return isNoted;
    }

    /** Call only when holding lock, or before anyone else can. */
    void noted(boolean value) {
        isNoted = value;
    }

    void used(long nowMillis) {
        usedMillis = nowMillis;
    }

    long usedMillis() {
        return usedMillis;
    }

    private record Use(Session session, long millis) {}

    /** By when they were last used, as it is now: turns that end meanwhile change no order. */
    static List<Session> eldestFirst(Stream<Session> sessions) {
        return sessions.map(session -> new Use(session, session.usedMillis))
                .sorted(Comparator.comparingLong(Use::millis))
                .map(Use::session)
                .toList();
    }

    /** Whether its life is over, which it never is while a turn runs. */
    boolean isExpired(long nowMillis) {
        return lifeMillis > 0 && !isBusy && nowMillis - usedMillis > lifeMillis;
    }
}
