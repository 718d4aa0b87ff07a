package basalt.server.http;

import basalt.server.api.CompletionRequest;
import basalt.server.observe.Metrics;
import basalt.server.observe.Tracing;
import com.sun.management.UnixOperatingSystemMXBean;
import io.helidon.common.socket.SocketOptions;
import io.helidon.common.tls.Tls;
import io.helidon.webserver.ErrorHandling;
import io.helidon.webserver.ListenerConfig;
import io.helidon.webserver.WebServer;
import io.helidon.webserver.http.HttpRouting;
import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.lang.management.ManagementFactory;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.StandardSocketOptions;
import java.net.UnknownHostException;
import java.nio.channels.ServerSocketChannel;
import java.time.Duration;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.function.BooleanSupplier;

/** Listens, from the moment it is started; what the {@link Gate} does not let through yet is refused. */
public final class HttpServer implements AutoCloseable {
    private static final String OPS = "ops";
    /** File descriptors left for the model, logs and the JVM. */
    private static final long RESERVED_DESCRIPTORS = 128;

    private static final int CONNECTIONS_DEFAULT = 10_000;
    private static final int OPS_CONNECTIONS_MAX = 64;
    /** Small, so that a client that does not read is noticed before much is buffered for it. */
    private static final int SEND_BUFFER_BYTES = 64 * 1024;
    /** Helidon's clock for idle connections; ours is shorter and knows what a connection does. */
    private static final Duration IDLE_BACKSTOP = Duration.ofHours(2);

    /** No state is larger; how large one may be is known when the model is. Handlers bound other bodies themselves. */
    private static final long STATE_BYTES_MAX = 1L << 30;

    private static final Duration POLL = Duration.ofMillis(5);
    private static final Duration STOP_GRACE = Duration.ofMillis(500);

    private final HttpConfig config;
    private final WebServer server;
    private final BooleanSupplier isBusy; // whether some answer is not at its end
    private final Clock clock;
    private final ReplayStreams streams;
    private final BackgroundResponses background;
    private final Optional<TlsFiles> tls;

    private HttpServer(
            HttpConfig config,
            WebServer server,
            BooleanSupplier isBusy,
            Clock clock,
            ReplayStreams streams,
            BackgroundResponses background,
            Optional<TlsFiles> tls) {
        this.config = config;
        this.server = server;
        this.isBusy = isBusy;
        this.clock = clock;
        this.streams = streams;
        this.background = background;
        this.tls = tls;
    }

    /** Why the files of TLS cannot be used, if so. */
    public static Optional<String> tlsFailure(HttpConfig config) {
        return config.access().tls().flatMap(TlsFiles::failure);
    }

    /** Why the addresses cannot be bound and what to do, if so; {@link #start} takes a second to find out. */
    public static Optional<String> bindFailure(HttpConfig config) {
        return bindFailure(config.host(), config.port(), "--port")
                .or(() -> config.opsPort().isPresent()
                        ? bindFailure(config.host(), config.opsPort().getAsInt(), "--ops-port")
                        : Optional.empty());
    }

    /**
     * Binds and listens.
     *
     * @throws UncheckedIOException if an address cannot be bound
     */
    public static HttpServer start(HttpConfig config, Gate gate, Metrics metrics, Tracing tracing) {
        var connections = new Connections(config);
        var streams =
                new ReplayStreams(config.resume(), config.access().apiKeys().size() > 1);
        metrics.bindHttp(connections::count, streams::count);
        var clock = new Clock(connections, config.timeouts(), streams);
        var answers = new Answers(gate, connections, clock, streams, metrics);
        var filter = new RequestFilter(connections, metrics);
        var tenants = new Tenants(!config.access().apiKeys().isEmpty());
        var bodies = new RequestBody(config.limits(), connections);
        var routes = new Routes(gate, metrics, bodies, contract());

        var routing = HttpRouting.builder()
                .addFilter(filter)
                .addFilter(new PathFilter())
                .addFilter(new TracingFilter(tracing))
                .addFilter(new CorsFilter(config.access().corsOrigins()))
                .addFilter(new ApiKeyFilter(config.access()));
        new SessionsHandler(gate, connections, tenants, bodies).addTo(routing);
        var background = new BackgroundResponses(answers);
        new ResponsesHandler(gate, answers, background, tenants, bodies, config.responseLife()).addTo(routing);
        new StreamsHandler(streams, answers, tenants).addTo(routing);
        routes.addAll(
                routing,
                new CompletionsHandler(CompletionRequest.Form.TEXT, gate, answers, connections, tenants, bodies),
                new CompletionsHandler(CompletionRequest.Form.CHAT, gate, answers, connections, tenants, bodies));
        var builder = WebServer.builder().shutdownHook(false);
        listen(builder, config, config.port(), connectionsMax(config), connections);
        builder.routing(routing);
        Optional<TlsFiles> tls = config.access().tls().map(HttpServer::tls);
        tls.ifPresent(
                files -> builder.tls(Tls.builder().sslContext(files.context()).build()));
        if (config.opsPort().isPresent()) {
            var opsRouting = HttpRouting.builder().addFilter(filter).addFilter(new PathFilter());
            routes.addOps(opsRouting);
            var ops = ListenerConfig.builder();
            listen(ops, config, config.opsPort().getAsInt(), OPS_CONNECTIONS_MAX, connections);
            builder.putSocket(OPS, ops.routing(opsRouting).name(OPS).build());
        }
        WebServer server = builder.build().start();
        if (!server.isRunning()) {
            clock.close();
            throw new UncheckedIOException(new IOException("the address cannot be bound"));
        }
        return new HttpServer(
                config,
                server,
                () -> connections.isAnyBusy() || streams.isAnyWritten() || background.isAnyRunning(),
                clock,
                streams,
                background,
                tls);
    }

    private static TlsFiles tls(HttpConfig.TlsPaths paths) {
        try {
            return new TlsFiles(paths);
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    private static void listen(
            ListenerConfig.BuilderBase<?, ?> listener,
            HttpConfig config,
            int port,
            int connectionsMax,
            Connections connections) {
        listener.host(config.host())
                .port(port)
                .protocolsDiscoverServices(false)
                .addConnectionSelector(connections.selector())
                .directHandlers(ProblemResponses.directHandlers())
                .errorHandling(ErrorHandling.builder().includeEntity(true).build())
                .maxPayloadSize(Math.max(STATE_BYTES_MAX, config.limits().bodyBytesMax()))
                .maxTcpConnections(connectionsMax)
                .idleConnectionTimeout(IDLE_BACKSTOP)
                .shutdownGracePeriod(STOP_GRACE)
                .writeBufferSize(0)
                .connectionOptions(SocketOptions.builder()
                        .tcpNoDelay(true)
                        .socketSendBufferSize(SEND_BUFFER_BYTES)
                        .build());
    }

    /** Helidon's listener ends for good when it runs out of file descriptors, so that must not come to pass. */
    private static int connectionsMax(HttpConfig config) {
        long allowed = CONNECTIONS_DEFAULT;
        if (ManagementFactory.getOperatingSystemMXBean() instanceof UnixOperatingSystemMXBean unix) {
            long descriptors = unix.getMaxFileDescriptorCount() - RESERVED_DESCRIPTORS - OPS_CONNECTIONS_MAX;
            allowed = Math.max(1, Math.min(Integer.MAX_VALUE, descriptors));
        }
        int wanted = config.limits().connectionsMax();
        return (int) (wanted == 0 ? Math.min(allowed, CONNECTIONS_DEFAULT) : Math.min(allowed, wanted));
    }

    private static Optional<String> bindFailure(String host, int port, String flag) {
        try (var socket = ServerSocketChannel.open()) {
            socket.setOption(StandardSocketOptions.SO_REUSEADDR, true);
            socket.bind(new InetSocketAddress(InetAddress.getByName(host), port));
            return Optional.empty();
        } catch (UnknownHostException e) {
            return Optional.of("host " + host + " is unknown; give --host an address of this machine, or a name that it"
                    + " can look up");
        } catch (IOException e) {
            return Optional.of("port " + port + " on " + host + " cannot be bound: " + e.getMessage()
                    + "; stop what uses it, or choose another with --host and " + flag);
        }
    }

    private static byte[] contract() {
        try (InputStream in = HttpServer.class.getResourceAsStream("/openapi.yaml")) {
            if (in == null) {
                throw new IllegalStateException("openapi.yaml is not in the jar");
            }
            return in.readAllBytes();
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    /** The port that is bound. */
    public int port() {
        return server.port();
    }

    /** The port of health and metrics alone. */
    public OptionalInt opsPort() {
        return config.opsPort().isPresent() ? OptionalInt.of(server.port(OPS)) : OptionalInt.empty();
    }

    /** Waits until every answer that has begun is sent, or kept for a client that comes back, at most so long. */
    public void awaitAnswers(Duration bound) throws InterruptedException {
        long endNanos = System.nanoTime() + bound.toNanos();
        while (isBusy.getAsBoolean() && System.nanoTime() - endNanos < 0) {
            Thread.sleep(POLL);
        }
    }

    /** Stops listening and closes what is open. */
    @Override
    public void close() {
        clock.close();
        streams.close();
        background.close();
        tls.ifPresent(TlsFiles::close);
        server.stop();
    }
}
