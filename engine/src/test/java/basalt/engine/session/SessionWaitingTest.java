package basalt.engine.session;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.LockSupport;
import org.junit.jupiter.api.Test;

/** In what order those who wait for a session have their turns. */
class SessionWaitingTest {
    private final Session session = new Session("sess", new Journal.Entry.Head("", "owner", 0, 0), 0, 0);

    private record Waiter(Thread thread, Patience patience, CompletableFuture<Boolean> hasTurn) {
        boolean answer() throws Exception {
            return hasTurn.get(1, TimeUnit.MINUTES);
        }
    }

    private boolean acquire(Patience patience) throws InterruptedException {
        session.lock.lockInterruptibly();
        try {
            return session.acquire(patience);
        } finally {
            session.lock.unlock();
        }
    }

    private boolean acquireAtOnce() throws InterruptedException {
        return acquire(new Patience(Duration.ZERO));
    }

    private Waiter waiter(Duration bound) {
        var patience = new Patience(bound);
        var hasTurn = new CompletableFuture<Boolean>();
        var thread = Thread.ofPlatform().start(() -> {
            try {
                hasTurn.complete(acquire(patience));
            } catch (InterruptedException e) {
                hasTurn.completeExceptionally(e);
            }
        });
        while (thread.getState() != Thread.State.TIMED_WAITING && thread.isAlive()) {
            LockSupport.parkNanos(100_000);
        }
        return new Waiter(thread, patience, hasTurn);
    }

    private Waiter waiter() {
        return waiter(Duration.ofMinutes(10));
    }

    private List<Waiter> waiters(int count) {
        var waiters = new ArrayList<Waiter>();
        for (int i = 0; i < count; i++) {
            waiters.add(waiter());
        }
        return waiters;
    }

    @Test
    void turnsAreHadInTheOrderOfComing() throws Exception {
        assertTrue(acquireAtOnce());
        var waiters = waiters(8);

        for (var first : waiters) {
            session.release();

            assertTrue(first.answer());
            assertEquals(
                    waiters.indexOf(first) + 1L,
                    waiters.stream().filter(each -> each.hasTurn().isDone()).count());
        }
    }

    /** At the moment of a release, when the one who has waited has yet to get hold of the lock. */
    @Test
    void nobodyOvertakesThoseWhoWait() throws Exception {
        assertTrue(acquireAtOnce());
        var first = waiter();
        session.lock.lock();
        try {
            session.release();
            assertFalse(acquireAtOnce());
            assertFalse(session.acquire(new Patience(Duration.ofMillis(1))));
        } finally {
            session.lock.unlock();
        }

        assertTrue(first.answer());
        session.release();
        assertTrue(acquireAtOnce());
    }

    @Test
    void whoeverLeavesPassesTheTurnOn() throws Exception {
        assertTrue(acquireAtOnce());
        var ended = waiter();
        var interrupted = waiter();
        var impatient = waiter(Duration.ofMillis(300));
        var last = waiter();

        interrupted.thread().interrupt();
        interrupted.thread().join();
        assertTrue(interrupted.hasTurn().isCompletedExceptionally());
        assertFalse(impatient.answer());
        session.lock.lock();
        try { // so that it still is the first when the turn is free
            session.release();
            ended.patience().end();
        } finally {
            session.lock.unlock();
        }

        assertFalse(ended.answer());
        assertTrue(last.answer());
    }

    @Test
    void deletionWakesAll() throws Exception {
        assertTrue(acquireAtOnce());
        var waiters = waiters(3);

        session.lock.lock();
        try {
            session.delete();
        } finally {
            session.lock.unlock();
        }

        for (var each : waiters) {
            assertTrue(each.answer()); // and the store then says that there is none
        }
    }
}
