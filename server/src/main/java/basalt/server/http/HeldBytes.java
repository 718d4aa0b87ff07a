package basalt.server.http;

import io.helidon.http.DirectHandler;
import io.helidon.http.RequestException;
import io.helidon.http.Status;
import java.util.concurrent.atomic.AtomicLong;

/**
 * A budget of memory for large bodies on their way in or out, which clients may make as slow as they like. One body
 * alone is always let through. Safe for use by any number of threads.
 */
final class HeldBytes {
    private final long most;
    private final AtomicLong held = new AtomicLong();

    HeldBytes(long most) {
        this.most = most;
    }

    /**
     * Counts further bytes of a body, to be released later.
     *
     * @param ownBytes of the same body, counted before
     * @throws RequestException with 503 if others hold too many; nothing is counted then
     */
    void hold(long bytes, long ownBytes) {
        long all = held.addAndGet(bytes);
        if (all > most && all > ownBytes + bytes) {
            held.addAndGet(-bytes);
            throw RequestException.builder()
                    .type(DirectHandler.EventType.OTHER)
                    .status(Status.SERVICE_UNAVAILABLE_503)
                    .setKeepAlive(false)
                    .message("too many large bodies at once")
                    .build();
        }
    }

    void release(long bytes) {
        held.addAndGet(-bytes);
    }
}
