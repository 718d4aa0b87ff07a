package basalt.server.http;

import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Optional;
import java.util.OptionalInt;

/**
 * How to listen.
 *
 * @param host address or name to bind
 * @param port 0 takes any free one
 * @param opsPort a second port for health and metrics alone
 * @param limits bounds of what clients may send and hold
 * @param timeouts bounds of how long
 * @param access who may use it, and how much
 * @param resume bounds of streams that outlive their connections
 * @param responseLife how long a response is stored without use
 */
public record HttpConfig(
        String host,
        int port,
        OptionalInt opsPort,
        Limits limits,
        Timeouts timeouts,
        Access access,
        Resume resume,
        Duration responseLife) {

    /**
     * Who may use it, and how much.
     *
     * @param apiKeys of which a request under {@code /v1} must carry one; none asks for none
     * @param keyRequestsMax open at once of one key, 0 for no limit; without keys all requests have the same one
     * @param keyRateMax requests a minute of one key, 0 for no limit
     * @param corsOrigins whose pages may use the API; {@code *} is all
     * @param tls the certificate to show, on the port of the API; none listens in the clear
     */
    public record Access(
            List<String> apiKeys,
            int keyRequestsMax,
            int keyRateMax,
            List<String> corsOrigins,
            Optional<TlsPaths> tls) {
        /** To anyone, without limits, in the clear. */
        public static final Access OPEN = new Access(List.of(), 0, 0, List.of(), Optional.empty());

        /** Copies the lists. */
        public Access {
            apiKeys = List.copyOf(apiKeys);
            corsOrigins = List.copyOf(corsOrigins);
        }
    }

    /** PEM files of a certificate chain and of its key. */
    public record TlsPaths(Path certificate, Path key) {}

    /**
     * Bounds of what clients may send and hold.
     *
     * @param bodyBytesMax of a request
     * @param bodiesBytesMax of all bodies that are being read; one alone may be larger
     * @param connectionsMax open at once; 0 is what the process's file descriptors allow
     */
    public record Limits(long bodyBytesMax, long bodiesBytesMax, int connectionsMax) {}

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

    /**
     * Bounds of streams that outlive their connections.
     *
     * @param window how long one is kept without a reader
     * @param bufferBytesMax of events that one keeps
     * @param countMax of them
     */
    public record Resume(Duration window, long bufferBytesMax, int countMax) {}
}
