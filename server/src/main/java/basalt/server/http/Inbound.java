package basalt.server.http;

import io.helidon.common.buffers.DataReader;
import io.helidon.http.DirectHandler;
import io.helidon.http.RequestException;
import io.helidon.http.Status;
import io.helidon.webserver.CloseConnectionException;
import java.io.UncheckedIOException;
import java.time.Duration;
import java.util.ArrayDeque;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.Condition;
import java.util.concurrent.locks.ReentrantLock;
import java.util.function.Supplier;
import org.jspecify.annotations.Nullable;

/**
 * What a client sends on one connection. A virtual thread of its own reads ahead from the socket, so that the end of
 * the connection is seen while a request is being answered and nothing is written, and so that reading has time limits,
 * which Helidon lacks. Bounded: with {@value #AHEAD_BYTES_MAX} bytes unread it stops reading.
 *
 * <p>{@link #get} and what tells the phase are called by the connection's thread. A client that closes only its sending
 * side counts as gone.
 */
final class Inbound implements Supplier<byte[]> {
    private static final int AHEAD_BYTES_MAX = 64 * 1024;
    /** Framing of a chunked body can be this many times its content, with chunks of one byte. */
    private static final long FRAMING_FACTOR = 6;

    private static final long HEAD_BYTES_MAX = 64 * 1024;
    /** What is read and thrown away of a refused body, so that the client sees the refusal and not a reset. */
    private static final long LINGER_BYTES_MAX = 16 << 20;

    private static final Duration LINGER = Duration.ofSeconds(1);

    /** Where the connection's thread is. */
    private enum Phase {
        IDLE,
        HEAD,
        BODY,
        ANSWER
    }

    private final DataReader source;
    private final HttpConfig.Timeouts timeouts;
    private final long requestBytesMax;
    private long allowedBytes; // of the request that is being read
    private final ReentrantLock lock = new ReentrantLock();
    private final Condition changed = lock.newCondition();
    private final ArrayDeque<byte[]> ahead = new ArrayDeque<>();
    private int aheadBytes;
    private boolean isPumping;
    private boolean isGone;
    private boolean isClosed;
    private @Nullable Runnable onGone;
    private Phase phase = Phase.IDLE;
    private long deadlineNanos;
    private long requestBytes;

    Inbound(DataReader source, HttpConfig config) {
        this.source = source;
        this.timeouts = config.timeouts();
        this.requestBytesMax = HEAD_BYTES_MAX + FRAMING_FACTOR * config.limits().bodyBytesMax();
        allowedBytes = requestBytesMax;
        enter(Phase.IDLE, timeouts.idle());
    }

    /** The next bytes; waits for them as long as the phase allows. */
    @Override
    public byte[] get() {
        lock.lock();
        try {
            startPump();
            while (ahead.isEmpty()) {
                if (isGone) {
                    throw new CloseConnectionException("the client has closed");
                }
                if (changed.awaitNanos(Math.max(1, deadlineNanos - System.nanoTime())) <= 0
                        && deadlineNanos - System.nanoTime() <= 0) {
                    throw timeout();
                }
            }
            byte[] bytes = ahead.remove();
            aheadBytes -= bytes.length;
            changed.signalAll();
            count(bytes.length);
            return bytes;
        } catch (InterruptedException e) {
            throw new CloseConnectionException("the server closes", e);
        } finally {
            lock.unlock();
        }
    }

    /** Call only when holding lock. */
    private void count(int bytes) {
        if (phase == Phase.IDLE) {
            enter(Phase.HEAD, timeouts.head());
        }
        requestBytes += bytes;
        if (requestBytes > allowedBytes) {
            throw refusal(Status.REQUEST_ENTITY_TOO_LARGE_413, "The request is too large.");
        }
    }

    private RuntimeException timeout() {
        return switch (phase) {
            case IDLE, ANSWER -> new CloseConnectionException("idle for too long");
            case HEAD -> refusal(Status.REQUEST_TIMEOUT_408, "The request's headers took too long to arrive.");
            case BODY -> refusal(Status.REQUEST_TIMEOUT_408, "The request's body took too long to arrive.");
        };
    }

    private static RequestException refusal(Status status, String message) {
        return RequestException.builder()
                .type(DirectHandler.EventType.OTHER)
                .status(status)
                .setKeepAlive(false)
                .message(message)
                .build();
    }

    /** Lets the request have a body of so many bytes. */
    void allow(long bodyBytes) {
        lock.lock();
        try {
            allowedBytes = Math.max(allowedBytes, HEAD_BYTES_MAX + FRAMING_FACTOR * bodyBytes);
        } finally {
            lock.unlock();
        }
    }

    /** The request line is read. */
    void headBegins() {
        lock.lock();
        try {
            if (phase == Phase.IDLE) {
                enter(Phase.HEAD, timeouts.head());
            }
        } finally {
            lock.unlock();
        }
    }

    /** The headers are read. */
    void bodyBegins() {
        lock.lock();
        try {
            enter(Phase.BODY, timeouts.body());
        } finally {
            lock.unlock();
        }
    }

    /** The body is read whole, or there is none. */
    void bodyEnds() {
        lock.lock();
        try {
            enter(Phase.ANSWER, timeouts.idle());
        } finally {
            lock.unlock();
        }
    }

    /** Whether headers are read and the body is not, as far as there is one. */
    boolean isBodyLeft() {
        lock.lock();
        try {
            return phase == Phase.BODY;
        } finally {
            lock.unlock();
        }
    }

    /**
     * The request is read whole; from now on until {@link #requestEnds} the end of the connection is told at once.
     *
     * @param action run by another thread, at most once, or by this one if the client has gone already
     */
    void watch(Runnable action) {
        boolean isLate;
        lock.lock();
        try {
            startPump();
            enter(Phase.ANSWER, timeouts.idle());
            isLate = isGone;
            onGone = isLate ? null : action;
        } finally {
            lock.unlock();
        }
        if (isLate) {
            action.run();
        }
    }

    /** The answer is sent; the connection may bring another request. */
    void requestEnds() {
        lock.lock();
        try {
            onGone = null;
            requestBytes = 0;
            allowedBytes = requestBytesMax;
            enter(Phase.IDLE, timeouts.idle());
        } finally {
            lock.unlock();
        }
    }

    /** Call only when holding lock, or before anyone else can. */
    private void enter(Phase newPhase, Duration limit) {
        phase = newPhase;
        deadlineNanos = System.nanoTime() + limit.toNanos();
    }

    /** Whether a request is between its first byte and the end of its answer. */
    boolean isBusy() {
        lock.lock();
        try {
            return phase != Phase.IDLE;
        } finally {
            lock.unlock();
        }
    }

    /** Whether the client has closed the connection. */
    boolean isGone() {
        lock.lock();
        try {
            return isGone;
        } finally {
            lock.unlock();
        }
    }

    /** Ends reading; a refused body is read to its end first, within bounds. */
    void close() {
        lock.lock();
        try {
            onGone = null;
            long thrownAway = 0;
            long end = System.nanoTime() + LINGER.toNanos();
            while (phase == Phase.BODY && !isGone && thrownAway < LINGER_BYTES_MAX) {
                thrownAway += aheadBytes;
                ahead.clear();
                aheadBytes = 0;
                changed.signalAll();
                if (changed.await(end - System.nanoTime(), TimeUnit.NANOSECONDS)) {
                    continue;
                }
                break;
            }
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        } finally {
            isClosed = true;
            changed.signalAll();
            lock.unlock();
        }
    }

    /** Call only when holding lock. */
    private void startPump() {
        if (!isPumping) {
            isPumping = true;
            Thread.ofVirtual().name("inbound").start(this::pump);
        }
    }

    private void pump() {
        try {
            while (awaitRoom()) {
                source.ensureAvailable();
                put(source.readBytes(source.available()));
            }
        } catch (DataReader.InsufficientDataAvailableException | CloseConnectionException | UncheckedIOException e) {
            // The client has closed, or the connection was closed here; either way nothing more comes.
        } finally {
            end();
        }
    }

    private boolean awaitRoom() {
        lock.lock();
        try {
            while (aheadBytes > AHEAD_BYTES_MAX && !isClosed) {
                changed.awaitUninterruptibly();
            }
            return !isClosed;
        } finally {
            lock.unlock();
        }
    }

    private void put(byte[] bytes) {
        lock.lock();
        try {
            ahead.add(bytes);
            aheadBytes += bytes.length;
            changed.signalAll();
        } finally {
            lock.unlock();
        }
    }

    private void end() {
        Runnable action;
        lock.lock();
        try {
            isGone = true;
            action = onGone;
            onGone = null;
            changed.signalAll();
        } finally {
            lock.unlock();
        }
        if (action != null) {
            action.run();
        }
    }
}
