package basalt.server.http;

import io.helidon.common.buffers.BufferData;
import io.helidon.http.Headers;
import io.helidon.http.HttpPrologue;
import io.helidon.webserver.ConnectionContext;
import io.helidon.webserver.http1.Http1Config;
import io.helidon.webserver.http1.Http1ConnectionListener;
import io.helidon.webserver.http1.Http1ConnectionSelector;
import io.helidon.webserver.spi.ServerConnection;
import io.helidon.webserver.spi.ServerConnectionSelector;
import java.time.Duration;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;

/**
 * The open connections of all listeners. Helidon gives each a thread for its whole life, which is how a handler finds
 * its own. Safe for use by any number of threads.
 */
final class Connections {
    private static final int REQUEST_LINE_BYTES_MAX = 4_096;
    static final int HEADERS_BYTES_MAX = 16_384;

    private final HttpConfig config;
    private final Map<Thread, GuardedConnection> byThread = new ConcurrentHashMap<>();

    Connections(HttpConfig config) {
        this.config = config;
    }

    void add(Thread thread, GuardedConnection connection) {
        byThread.put(thread, connection);
    }

    void remove(Thread thread) {
        byThread.remove(thread);
    }

    int count() {
        return byThread.size();
    }

    /** Whether a request is anywhere between its first byte and the end of its answer. */
    boolean isAnyBusy() {
        return byThread.values().stream()
                .anyMatch(connection -> connection.inbound().isBusy());
    }

    /** The connection whose thread calls. */
    Inbound currentInbound() {
        GuardedConnection connection = byThread.get(Thread.currentThread());
        if (connection == null) {
            throw new IllegalStateException("not on the thread of a connection");
        }
        return connection.inbound();
    }

    /** Closes connections whose clients do not read. Called every now and then. */
    void interruptStuckWrites(Duration writeTimeout) {
        long beforeNanos = System.nanoTime() - writeTimeout.toNanos();
        for (GuardedConnection connection : byThread.values()) {
            connection.interruptStuckWrite(beforeNanos);
        }
    }

    /** For a listener: makes the connections of this registry. */
    ServerConnectionSelector selector() {
        var http1 = Http1ConnectionSelector.builder()
                .config(Http1Config.builder()
                        .maxPrologueLength(REQUEST_LINE_BYTES_MAX)
                        .maxHeadersSize(HEADERS_BYTES_MAX)
                        .sendKeepAliveHeader(false)
                        .addReceiveListener(new Phases())
                        .build())
                .build();
        return new GuardedSelector(http1);
    }

    private final class GuardedSelector implements ServerConnectionSelector {
        private final Http1ConnectionSelector delegate;

        GuardedSelector(Http1ConnectionSelector delegate) {
            this.delegate = delegate;
        }

        @Override
        public int bytesToIdentifyConnection() {
            return delegate.bytesToIdentifyConnection();
        }

        @Override
        public Support supports(BufferData data) {
            return delegate.supports(data);
        }

        @Override
        public Set<String> supportedApplicationProtocols() {
            return delegate.supportedApplicationProtocols();
        }

        @Override
        public ServerConnection connection(ConnectionContext context) {
            return new GuardedConnection(context, Connections.this, config, delegate::connection);
        }
    }

    /** Tells the connection how far its request is read. */
    private static final class Phases implements Http1ConnectionListener {
        @Override
        public void prologue(ConnectionContext context, HttpPrologue prologue) {
            GuardedConnection.of(context).inbound().headBegins();
        }

        @Override
        public void headers(ConnectionContext context, Headers headers) {
            GuardedConnection.of(context).inbound().bodyBegins();
        }
    }
}
