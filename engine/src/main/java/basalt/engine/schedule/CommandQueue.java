package basalt.engine.schedule;

import java.util.concurrent.atomic.AtomicLong;
import java.util.concurrent.atomic.AtomicReferenceArray;
import org.jspecify.annotations.Nullable;

/**
 * The one way into the engine thread: a bounded ring that any thread writes and the engine thread reads. Neither side
 * locks, and reading allocates nothing.
 */
final class CommandQueue {
    private final AtomicReferenceArray<@Nullable Command> ring;
    private final int mask;
    private final AtomicLong writeCount = new AtomicLong();
    private final AtomicLong readCount = new AtomicLong();

    /** Holds at least so many commands. */
    CommandQueue(int capacity) {
        int size = Integer.highestOneBit(Math.max(1, capacity - 1)) * 2;
        ring = new AtomicReferenceArray<>(size);
        mask = size - 1;
    }

    /**
     * Appends a command.
     *
     * @throws IllegalStateException if the queue is full, which the bounds on requests rule out
     */
    void add(Command command) {
        while (true) {
            long place = writeCount.get();
            if (place - readCount.get() > mask) {
                throw new IllegalStateException("command queue is full: " + ring.length());
            }
            if (writeCount.compareAndSet(place, place + 1)) {
                ring.set((int) place & mask, command);
                return;
            }
        }
    }

    /** Takes the oldest command, or null. Only for the engine thread. */
    @Nullable Command poll() {
        long place = readCount.get();
        var command = ring.get((int) place & mask);
        if (command != null) {
            ring.setRelease((int) place & mask, null);
            readCount.setRelease(place + 1);
        }
        return command;
    }

    /** Whether nothing waits. */
    boolean isEmpty() {
        return ring.get((int) readCount.get() & mask) == null;
    }
}
