package basalt.engine.schedule;

import java.util.concurrent.atomic.AtomicLong;
import java.util.concurrent.atomic.AtomicReferenceArray;
import java.util.concurrent.locks.LockSupport;
import org.jspecify.annotations.Nullable;

/**
 * Wakes readers on behalf of the engine thread, on a platform thread of its own. Waking a virtual thread submits a
 * task, which allocates and may take a lock; the engine thread does neither. It writes into a ring and wakes this
 * thread once a step.
 */
final class Waker implements Runnable {
    private final AtomicReferenceArray<@Nullable SequenceGroup> ring;
    private final int mask;
    private final AtomicLong readCount = new AtomicLong();
    private final AtomicLong writeCount = new AtomicLong();
    private volatile @Nullable Thread thread;
    private volatile boolean isParked;
    private volatile boolean isStopping;

    /** With room for at least so many requests. */
    Waker(int capacity) {
        int size = Integer.highestOneBit(Math.max(1, capacity - 1)) * 2;
        ring = new AtomicReferenceArray<>(size);
        mask = size - 1;
    }

    /** Notes that something has arrived for a request's reader; {@link #flush} follows. Only for the engine thread. */
    void add(SequenceGroup group) {
        if (group.waiter() == null || group.isWaking()) {
            return;
        }
        long place = writeCount.getPlain();
        if (place - readCount.get() > mask) {
            group.wake(); // more requests than the ring was made for: rare, and right
            return;
        }
        group.waking(true);
        ring.setRelease((int) place & mask, group);
        writeCount.set(place + 1);
    }

    /** Lets the readers noted so far be woken. Only for the engine thread. */
    void flush() {
        if (isParked && writeCount.getPlain() > readCount.get()) {
            LockSupport.unpark(thread);
        }
    }

    /** Ends the thread once all noted readers are woken. */
    void stop() {
        isStopping = true;
        LockSupport.unpark(thread);
    }

    @Override
    public void run() {
        thread = Thread.currentThread();
        while (true) {
            boolean isLast = isStopping; // before a look at the ring, which then has all that was added before the stop
            if (!wakeAll() && isLast) {
                return;
            }
            isParked = true;
            if (writeCount.get() == readCount.get() && !isStopping) {
                LockSupport.park(this);
            }
            isParked = false;
        }
    }

    /** Wakes all readers noted so far; returns whether there were any. Called by the engine's tests, too. */
    boolean wakeAll() {
        boolean hasWoken = false;
        while (readCount.get() < writeCount.get()) {
            long place = readCount.get();
            var group = ring.get((int) place & mask);
            ring.set((int) place & mask, null);
            readCount.set(place + 1);
            if (group != null) {
                group.waking(false);
                group.wake();
                hasWoken = true;
            }
        }
        return hasWoken;
    }
}
