package basalt.server.http;

import basalt.server.api.JsonBuffer;
import io.helidon.http.HeaderNames;
import io.helidon.webserver.CloseConnectionException;
import io.helidon.webserver.http.ServerResponse;
import java.io.IOException;
import java.io.OutputStream;
import java.nio.charset.StandardCharsets;
import java.util.concurrent.locks.ReentrantLock;

/** An answer of server-sent events. Safe for use by several threads, whose events do not mix. */
final class EventStream implements EventSink, AutoCloseable {
    private static final byte[] COMMENT = ": keep-alive\n\n".getBytes(StandardCharsets.US_ASCII);

    private final OutputStream out;
    private final ReentrantLock lock = new ReentrantLock();
    private volatile long lastWriteNanos;
    private boolean isClosed;

    /** Sends the headers at once, so that the client knows before the prompt is read. */
    EventStream(ServerResponse response) {
        response.header(HeaderNames.CONTENT_TYPE, "text/event-stream; charset=utf-8");
        response.header(HeaderNames.CACHE_CONTROL, "no-cache, no-transform");
        response.header(HeaderNames.create("X-Accel-Buffering"), "no");
        out = response.outputStream();
        writeComment();
    }

    @Override
    public void write(JsonBuffer events) {
        lock.lock();
        try {
            events.writeTo(out);
            out.flush();
            lastWriteNanos = System.nanoTime();
        } catch (IOException e) {
            throw new CloseConnectionException("the client has gone", e);
        } finally {
            lock.unlock();
        }
    }

    private void writeComment() {
        try {
            out.write(COMMENT);
            out.flush();
            lastWriteNanos = System.nanoTime();
        } catch (IOException e) {
            throw new CloseConnectionException("the client has gone", e);
        }
    }

    /** Nanoseconds since something was sent. */
    long silentNanos() {
        return System.nanoTime() - lastWriteNanos;
    }

    /** Sends a comment, unless something is being sent anyway. */
    void keepAlive() {
        if (lock.tryLock()) {
            try {
                if (!isClosed) {
                    writeComment();
                }
            } finally {
                lock.unlock();
            }
        }
    }

    /** Ends the answer. */
    @Override
    public void close() {
        lock.lock();
        try {
            isClosed = true;
            out.close();
        } catch (IOException e) {
            throw new CloseConnectionException("the client has gone", e);
        } finally {
            lock.unlock();
        }
    }
}
