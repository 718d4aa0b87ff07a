package basalt.server;

import basalt.engine.EngineStats;
import basalt.engine.session.SessionStore;
import basalt.engine.state.PrefixCache;
import basalt.server.http.Gate;
import basalt.server.http.HttpServer;
import basalt.server.http.Serving;
import basalt.server.observe.Metrics;
import basalt.server.observe.Tracing;
import java.net.InetAddress;
import java.net.UnknownHostException;
import java.time.Duration;
import java.util.OptionalInt;
import java.util.concurrent.ExecutionException;

/** The server and all its wiring, by constructors. */
final class Application implements AutoCloseable {
    private static final System.Logger LOG = System.getLogger(Application.class.getName());
    /** Time for the last bytes of finished answers to leave. */
    private static final Duration FLUSH_TIME = Duration.ofSeconds(2);

    private final ServerConfig config;
    private final LoadedModel model;
    private final SessionStore sessions;
    private final Metrics metrics;
    private final Tracing tracing;
    private final Gate gate;
    private final HttpServer http;

    private Application(
            ServerConfig config,
            LoadedModel model,
            SessionStore sessions,
            Metrics metrics,
            Tracing tracing,
            Gate gate,
            HttpServer http) {
        this.config = config;
        this.model = model;
        this.sessions = sessions;
        this.metrics = metrics;
        this.tracing = tracing;
        this.gate = gate;
        this.http = http;
    }

    /**
     * Starts everything; returns when requests are served.
     *
     * @throws StartException if something cannot be had
     */
    static Application start(ServerConfig config, LoadedModel.Loader loader) throws InterruptedException {
        requireFree(config);
        warnIfOpen(config);
        var metrics = new Metrics(config.modelName());
        Tracing tracing = config.otlpEndpoint()
                .map(endpoint -> Tracing.to(endpoint, config.modelName()))
                .orElseGet(Tracing::off);
        var gate = new Gate(config.lifecycle().stepTimeout());
        // Beside the loading: each keeps a core busy for a second.
        StartTask<HttpServer> listening =
                StartTask.start("http-start", () -> HttpServer.start(config.http(), gate, metrics, tracing));

        LoadedModel model = load(config, loader, listening);
        SessionStore sessions = SessionSetup.open(config.sessions(), model);
        PrefixCache prefixes = SessionSetup.prefixes(config.sessions(), model);
        var serving =
                Serving.of(model.engine(), sessions, SessionSetup.seal(config.sessions()), prefixes, model.served());
        WarmUp.run(serving, config.lifecycle().warmUp(), model.warmed());
        EngineStats baseline = model.engine().stats();
        metrics.bindEngine(model.engine()::stats, baseline);
        if (sessions.peers().isPresent()) {
            metrics.bindSessionStore(sessions.peers().get()::health);
        }
        metrics.bindSessions(sessions::stats);
        metrics.bindPrefixes(prefixes::stats);
        HttpServer http = result(listening);
        gate.open(serving);
        var application = new Application(config, model, sessions, metrics, tracing, gate, http);
        application.logStart(baseline);
        return application;
    }

    private static LoadedModel load(ServerConfig config, LoadedModel.Loader loader, StartTask<HttpServer> listening)
            throws InterruptedException {
        boolean isLoaded = false;
        try {
            LoadedModel model = loader.load(config);
            isLoaded = true;
            return model;
        } finally {
            if (!isLoaded) {
                // The failure need not wait for what is still being started.
                Thread.ofPlatform().daemon().name("http-stop").start(() -> stop(listening));
            }
        }
    }

    private static void stop(StartTask<HttpServer> listening) {
        try {
            result(listening).close();
        } catch (StartException | InterruptedException | OutOfMemoryError e) { // the start's own failure tells more
            LOG.log(System.Logger.Level.DEBUG, "event=stop_failed reason=\"{0}\"", e.getMessage());
        }
    }

    private static void requireFree(ServerConfig config) {
        HttpServer.tlsFailure(config.http()).ifPresent(reason -> {
            throw new StartException("TLS: " + reason + "; --tls-certificate takes a file of certificates and --tls-key"
                    + " the key of the first, both in PEM");
        });
        HttpServer.bindFailure(config.http()).ifPresent(reason -> {
            throw new StartException(reason);
        });
    }

    private static void warnIfOpen(ServerConfig config) {
        boolean isLoopback;
        try {
            isLoopback = InetAddress.getByName(config.http().host()).isLoopbackAddress();
        } catch (UnknownHostException e) {
            isLoopback = false;
        }
        if (!isLoopback && config.http().access().apiKeys().isEmpty()) {
            LOG.log(
                    System.Logger.Level.WARNING,
                    "event=open_to_all host={0} message=\"ANYONE WHO REACHES THIS ADDRESS CAN USE THE MODEL:"
                            + " set api-keys or api-keys-file, or listen on 127.0.0.1\"",
                    config.http().host());
        }
    }

    private static HttpServer result(StartTask<HttpServer> listening) throws InterruptedException {
        try {
            return listening.get();
        } catch (ExecutionException e) {
            throw new StartException("cannot listen: " + e.getCause(), e);
        }
    }

    private void logStart(EngineStats stats) {
        LOG.log(
                System.Logger.Level.INFO,
                "event=start model={0} parameters={1} slots={2} state_bytes={3} tokenizer={4} port={5}",
                config.modelName(),
                Long.toString(model.served().parameterCount()),
                Integer.toString(stats.slotCount()),
                Long.toString(stats.stateBytesPerSlot()),
                Boolean.toString(model.served().tokenizer().isPresent()),
                Integer.toString(port()));
    }

    /** The port that is bound. */
    int port() {
        return http.port();
    }

    /** The second port, if one was asked for. */
    OptionalInt opsPort() {
        return http.opsPort();
    }

    /** {@code http://HOST:PORT}, or {@code https}. */
    String url() {
        String host = config.http().host();
        String scheme = config.http().access().tls().isPresent() ? "https://" : "http://";
        return scheme + (host.contains(":") ? "[" + host + "]" : host) + ":" + port();
    }

    /** The model that is served. */
    LoadedModel model() {
        return model;
    }

    /** What is measured. */
    Metrics metrics() {
        return metrics;
    }

    /**
     * Stops without cutting an answer short, as far as the configuration gives it time: readiness turns false, then
     * requests are refused, then what runs is waited for.
     */
    void drain() throws InterruptedException {
        ServerConfig.Lifecycle lifecycle = config.lifecycle();
        LOG.log(System.Logger.Level.INFO, "event=drain running={0}", runningCount());
        gate.beginClosing();
        Thread.sleep(lifecycle.drainDelay());
        gate.close();
        long endNanos = System.nanoTime() + lifecycle.drainTimeout().toNanos();
        model.engine().drain(lifecycle.drainTimeout());
        // What is generated has yet to be written; it has what is left of the time, and a little in any case.
        var left = Duration.ofNanos(Math.max(0, endNanos - System.nanoTime()));
        http.awaitAnswers(left.plus(FLUSH_TIME));
        LOG.log(System.Logger.Level.INFO, "event=stop running={0}", runningCount());
    }

    private String runningCount() {
        EngineStats stats = model.engine().stats();
        return Integer.toString(stats.runningRequestCount() + stats.waitingRequestCount());
    }

    /** Stops at once. */
    @Override
    public void close() {
        gate.close();
        http.close();
        sessions.close();
        model.close();
        metrics.close();
        tracing.close();
    }
}
