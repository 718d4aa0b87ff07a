package basalt.server.http;

import basalt.server.api.JsonBuffer;
import basalt.server.api.Problem;
import basalt.server.api.ProblemCode;
import basalt.server.api.ProblemException;
import io.helidon.webserver.CloseConnectionException;
import java.io.ByteArrayOutputStream;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.locks.Condition;
import java.util.concurrent.locks.ReentrantLock;

/**
 * The events of one answer, numbered, of which the last ones are kept for a reader that comes back. Whoever writes them
 * does not know of connections; while half of the bound is full of events that no reader was sent, it waits. The other
 * half keeps events that were sent, since those on their way when a connection is lost never arrive. One reader at a
 * time: a new one takes over. Safe for use by any number of threads.
 */
final class ReplayStream implements EventSink {
    private static final byte[] END = {'\n', '\n'};
    /** Sent by one write. */
    private static final int WRITE_BYTES_MAX = 64 * 1024;

    private final String id;
    private final String tenant;
    private final HttpConfig.Resume bounds;
    private final ReentrantLock lock = new ReentrantLock();
    private final Condition changed = lock.newCondition();
    private final ArrayDeque<byte[]> events = new ArrayDeque<>(); // under lock, as what follows
    private long firstIndex; // of the events
    private long bytes; // of the events
    private long sentIndex; // events before this one were sent
    private long unsentBytes;
    private long readerCount; // readers there were; the last one counts
    private boolean hasReader;
    private boolean isEnded; // nothing more is written
    private boolean isClosed; // nobody may read any more
    private long leftNanos = System.nanoTime(); // when the last reader went
    private List<Runnable> onClose = new ArrayList<>();

    ReplayStream(String id, String tenant, HttpConfig.Resume bounds) {
        this.id = id;
        this.tenant = tenant;
        this.bounds = bounds;
    }

    String id() {
        return id;
    }

    String tenant() {
        return tenant;
    }

    boolean isOf(String someTenant) {
        return tenant.equals(someTenant);
    }

    /** Lets something happen when the stream is dropped, or now if it is. */
    void onClose(Runnable action) {
        boolean isLate;
        lock.lock();
        try {
            isLate = isClosed;
            onClose.add(action);
        } finally {
            lock.unlock();
        }
        if (isLate) {
            action.run();
        }
    }

    /** Numbers the events and keeps them; those of a dropped stream go nowhere. */
    @Override
    public void write(JsonBuffer buffer) {
        byte[] text = buffer.toByteArray();
        lock.lock();
        try {
            while (unsentBytes >= bounds.bufferBytesMax() / 2 && !isClosed) {
                changed.awaitUninterruptibly();
            }
            if (isClosed) {
                return;
            }
            int from = 0;
            for (int at = 0; at + 1 < text.length; at++) {
                if (text[at] == END[0] && text[at + 1] == END[1]) {
                    add(text, from, at + END.length);
                    from = at + END.length;
                    at++;
                }
            }
            assert from == text.length : "an event without its end";
            forget();
            changed.signalAll();
        } finally {
            lock.unlock();
        }
    }

    /** Call only when holding lock. */
    private void add(byte[] text, int from, int to) {
        byte[] name = ("id: " + id + ":" + (firstIndex + events.size()) + "\n").getBytes(StandardCharsets.US_ASCII);
        var event = new byte[name.length + to - from];
        System.arraycopy(name, 0, event, 0, name.length);
        System.arraycopy(text, from, event, name.length, to - from);
        events.add(event);
        bytes += event.length;
        unsentBytes += event.length;
    }

    /** Drops the oldest events that were sent, as far as the bound asks. Call only when holding lock. */
    private void forget() {
        while (bytes > bounds.bufferBytesMax() && firstIndex < sentIndex) {
            bytes -= events.remove().length;
            firstIndex++;
        }
    }

    /** Nothing more is written. */
    void end() {
        lock.lock();
        try {
            isEnded = true;
            changed.signalAll();
        } finally {
            lock.unlock();
        }
    }

    /** Drops the stream: its reader is cut off, and what writes it is told to end. */
    void close() {
        List<Runnable> actions;
        lock.lock();
        try {
            isClosed = true;
            events.clear();
            bytes = 0;
            unsentBytes = 0;
            actions = onClose;
            onClose = new ArrayList<>();
            changed.signalAll();
        } finally {
            lock.unlock();
        }
        actions.forEach(Runnable::run);
    }

    /** How long nobody has read. */
    long idleNanos() {
        lock.lock();
        try {
            return hasReader ? 0 : System.nanoTime() - leftNanos;
        } finally {
            lock.unlock();
        }
    }

    /** Whether nobody has read for so long. */
    boolean isAbandoned(Duration time) {
        return idleNanos() > time.toNanos();
    }

    /** Whether nothing more is written. */
    boolean isEnded() {
        lock.lock();
        try {
            return isEnded;
        } finally {
            lock.unlock();
        }
    }

    /** Whether it is written whole and nobody reads it. */
    boolean isIdle() {
        lock.lock();
        try {
            return isEnded && !hasReader;
        } finally {
            lock.unlock();
        }
    }

    /**
     * Lets someone read on; whoever has read until now is cut off.
     *
     * @param from index of the first event to send
     * @throws ProblemException if it is not kept any more, or was never written
     */
    Reader reader(long from) {
        lock.lock();
        try {
            if (from > firstIndex + events.size()) {
                throw new ProblemException(Problem.of(
                        ProblemCode.INVALID_VALUE,
                        "Last-Event-ID",
                        "The stream has had " + (firstIndex + events.size()) + " events; send the id of one of them."));
            }
            if (from < firstIndex) {
                throw new ProblemException(Problem.of(
                        ProblemCode.EVENTS_GONE,
                        "Last-Event-ID",
                        "The events before number " + firstIndex + " are no longer kept."));
            }
            sentIndex = from;
            unsentBytes = events.stream()
                    .skip(from - firstIndex)
                    .mapToLong(event -> event.length)
                    .sum();
            hasReader = true;
            readerCount++;
            changed.signalAll();
            return new Reader(readerCount);
        } finally {
            lock.unlock();
        }
    }

    /** Who reads the stream. */
    final class Reader implements AutoCloseable {
        private final long number;

        private Reader(long number) {
            this.number = number;
        }

        /**
         * The next events, at least one; waits for them. Those of the call before count as sent.
         *
         * @return empty after the last one
         * @throws CloseConnectionException if this reader was closed, or another one has taken over
         */
        Optional<byte[]> next() throws InterruptedException {
            lock.lock();
            try {
                while (isCurrent() && !isEnded && sentIndex == firstIndex + events.size()) {
                    changed.await();
                }
                if (!isCurrent()) {
                    throw new CloseConnectionException("the stream is read elsewhere, or was dropped");
                }
                if (sentIndex == firstIndex + events.size()) {
                    return Optional.empty();
                }
                byte[] next = take();
                forget();
                changed.signalAll();
                return Optional.of(next);
            } finally {
                lock.unlock();
            }
        }

        /** Whether all was sent before, and nothing more comes. */
        boolean isAtEnd() {
            lock.lock();
            try {
                return isEnded && sentIndex == firstIndex + events.size();
            } finally {
                lock.unlock();
            }
        }

        /** Call only when holding lock. */
        private boolean isCurrent() {
            return hasReader && number == readerCount && !isClosed;
        }

        /** Call only when holding lock. */
        private byte[] take() {
            var unsent = new byte[(int) (firstIndex + events.size() - sentIndex)][];
            var last = events.descendingIterator();
            for (int i = unsent.length - 1; i >= 0; i--) {
                unsent[i] = last.next();
            }
            var taken = new ByteArrayOutputStream();
            for (int i = 0; i < unsent.length && taken.size() < WRITE_BYTES_MAX; i++) {
                taken.writeBytes(unsent[i]);
                unsentBytes -= unsent[i].length;
                sentIndex++;
            }
            return taken.toByteArray();
        }

        /** Notes that this reader is gone. */
        @Override
        public void close() {
            lock.lock();
            try {
                if (number == readerCount && hasReader) {
                    hasReader = false;
                    leftNanos = System.nanoTime();
                    changed.signalAll();
                }
            } finally {
                lock.unlock();
            }
        }
    }
}
