package basalt.server.http;

import java.time.Duration;
import java.util.List;
import java.util.OptionalInt;

/**
 * How to listen.
 *
 * @param host address or name to bind
 * @param port 0 takes any free one
 * @param opsPort a second port for health and metrics alone
 * @param limits bounds of what clients may send and hold
 * @param timeouts bounds of how long
 * @param apiKeys keys of which a request under {@code /v1} must carry one; none asks for none
 */
public record HttpConfig(
        String host, int port, OptionalInt opsPort, Limits limits, Timeouts timeouts, List<String> apiKeys) {

    /** Copies the list. */
    public HttpConfig {
        apiKeys = List.copyOf(apiKeys);
    }

    /**
     * Bounds of what clients may send and hold.
     *
     * @param bodyBytesMax of a request
     * @param connectionsMax open at once; 0 is what the process's file descriptors allow
     */
    public record Limits(long bodyBytesMax, int connectionsMax) {}

    /**
     * Bounds of how long.
     *
     * @param head from the first byte of a request to the end of its headers
     * @param body from there to the end of the body
     * @param idle between two requests
     * @param write how long one write may wait for a client that does not read
     * @param keepAliveInterval of comments in a stream that has nothing to say
     */
    public record Timeouts(Duration head, Duration body, Duration idle, Duration write, Duration keepAliveInterval) {}
}
