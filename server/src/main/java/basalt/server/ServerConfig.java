package basalt.server;

import basalt.engine.EngineConfig;
import basalt.server.http.HttpConfig;
import basalt.server.hub.HubException;
import basalt.server.hub.HubSettings;
import java.io.IOException;
import java.net.URI;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.regex.Pattern;

/**
 * All configuration, read once at start. {@link #KEYS} is the table of keys.
 *
 * @param model where the checkpoint comes from
 * @param modelName the name clients use
 * @param http how to listen
 * @param engine bounds of the engine
 * @param compute what computes
 * @param lifecycle starting and stopping
 * @param sessions how sessions are kept
 * @param logs how to log
 * @param otlpEndpoint where spans go; none are made without it
 */
record ServerConfig(
        ModelSource model,
        String modelName,
        HttpConfig http,
        EngineConfig engine,
        Compute compute,
        Lifecycle lifecycle,
        Sessions sessions,
        Logs logs,
        Optional<URI> otlpEndpoint) {

    /**
     * What computes.
     *
     * @param backend which one
     * @param slotCount states held at once by each device; 0 chooses
     * @param threadCount CPU workers; 0 takes all cores
     * @param stateBytesMax memory of all states of a device; 0 takes what is free
     * @param cuda of GPUs alone
     * @param steps how large a step may be
     * @param fakeStepTime how long a step of the fake backend takes
     */
    record Compute(
            BackendKind backend,
            int slotCount,
            int threadCount,
            long stateBytesMax,
            Cuda cuda,
            Steps steps,
            Duration fakeStepTime) {}

    /**
     * What GPUs are told.
     *
     * @param deviceCount GPUs used, from the first
     * @param isDeterministic whether the bits of an answer depend on nothing else that runs, on a GPU too
     */
    record Cuda(int deviceCount, boolean isDeterministic) {}

    /** Which backend computes. */
    enum BackendKind {
        /** CUDA where there is a device, else the CPU. */
        AUTO,
        /** The Vector API. */
        CPU,
        /** An NVIDIA GPU, or no start. */
        CUDA,
        /** No model: random text in a fixed time, to measure all around it. Never chosen unless asked for. */
        FAKE
    }

    /**
     * Starting and stopping.
     *
     * @param warmUp how long the engine runs before the first request is served
     * @param drainDelay how long requests are still accepted after readiness turned false
     * @param drainTimeout how long running requests may take after that
     * @param stepTimeout a step that takes longer fails liveness
     */
    record Lifecycle(Duration warmUp, Duration drainDelay, Duration drainTimeout, Duration stepTimeout) {}

    /** How to log. */
    record Logs(LogLevel level, LogFormat format) {}

    /** What is logged: this level and above. */
    enum LogLevel {
        /** One line a request. */
        DEBUG,
        /** Start, stop, drain, configuration. */
        INFO,
        /** What an operator should look at. */
        WARNING,
        /** Failures. */
        ERROR
    }

    /** The form of a log line. */
    enum LogFormat {
        /** {@code key=value}. */
        TEXT,
        /** One JSON object a line. */
        JSON
    }

    /**
     * How sessions are kept.
     *
     * @param directory where they outlive the process; none keeps them in memory only
     * @param countMax sessions at most
     * @param memoryBytesMax of states in memory
     * @param diskBytesMax of states in the directory
     * @param secret that seals states which leave the server; empty makes one
     * @param takesUnsealed whether states are taken that nobody has sealed
     * @param prefixBytesMax of states that have read the beginnings of prompts; 0 keeps none
     */
    record Sessions(
            Optional<Path> directory,
            int countMax,
            long memoryBytesMax,
            long diskBytesMax,
            String secret,
            boolean takesUnsealed,
            long prefixBytesMax) {}

    private static final Pattern ORIGIN = Pattern.compile("https?://[A-Za-z0-9.\\[\\]:-]+");
    private static final Duration ZERO = Duration.ZERO;
    private static final Duration HOUR = Duration.ofHours(1);

    static final ConfigKey<String> MODEL = ConfigKey.text(
            "model",
            "",
            "DIR, OWNER/NAME[@REVISION]",
            "directory of the checkpoint, or a model to download once; models/based-10m of this folder if not set");
    static final ConfigKey<String> MODEL_NAME =
            ConfigKey.text("model-name", "", "NAME", "name that clients use; the model's if not set");
    static final ConfigKey<String> HUB_ENDPOINT = ConfigKey.text(
            "hub-endpoint", "", "URL", "where models are downloaded from; HF_ENDPOINT or huggingface.co if not set");
    static final ConfigKey<String> HUB_CACHE = ConfigKey.text(
            "hub-cache", "", "DIR", "where downloaded models are kept; as HF_HUB_CACHE and HF_HOME say if not set");
    static final ConfigKey<Boolean> HUB_OFFLINE =
            ConfigKey.off("hub-offline", "nothing is downloaded, as HF_HUB_OFFLINE says too");
    static final ConfigKey<String> HOST = ConfigKey.text("host", "127.0.0.1", "ADDRESS", "address to listen on");
    static final ConfigKey<Long> PORT =
            ConfigKey.whole("port", 8080, 0, 65_535, "port to listen on; 0 takes a free one");
    static final ConfigKey<Long> OPS_PORT = ConfigKey.whole(
            "ops-port", -1, -1, 65_535, "second port for health and metrics alone; -1 is off, 0 takes a free one");
    static final ConfigKey<BackendKind> BACKEND = ConfigKey.choice("backend", BackendKind.AUTO, "what computes");
    static final ConfigKey<Long> SLOTS =
            ConfigKey.whole("slots", 0, 0, 1_000_000, "sequences held at once; 0 chooses by memory, 32 on a CPU");
    static final ConfigKey<Long> THREADS = ConfigKey.whole("threads", 0, 0, 1_024, "CPU workers; 0 takes all cores");
    static final ConfigKey<Long> STATE_BYTES_MAX = ConfigKey.size(
            "state-bytes-max", "0B", 0, 1L << 50, "memory of all states together; 0B takes what is free");
    static final ConfigKey<Long> DEVICES = ConfigKey.whole("devices", 1, 1, 64, "GPUs to use, from the first");
    static final ConfigKey<Boolean> DETERMINISTIC = ConfigKey.off(
            "deterministic",
            "answers on a GPU do not depend on what else runs, at a cost in speed; on a CPU they never do");
    static final ConfigKey<Duration> FAKE_STEP_TIME = ConfigKey.time(
            "fake-step-time",
            "20ms",
            ZERO,
            Duration.ofSeconds(10),
            "time of a step of the fake backend, which answers with random text");
    static final ConfigKey<Long> BATCH_MAX = ConfigKey.whole(
            "batch-max", 0, 0, 16_384, "sequences that one step advances at most; 0 takes 32, on a GPU 512");
    static final ConfigKey<Long> CHUNK_TOKENS_MAX = ConfigKey.whole(
            "chunk-tokens-max", 0, 0, 65_536, "prompt tokens that one step reads at most; 0 takes 128, on a GPU 512");
    static final ConfigKey<Duration> STEP_TARGET = ConfigKey.time(
            "step-target",
            "50ms",
            Duration.ofMillis(1),
            Duration.ofSeconds(10),
            "length of a step that prompts may cause");
    static final ConfigKey<Long> QUEUE_REQUESTS_MAX =
            ConfigKey.whole("queue-requests-max", 256, 1, 1_000_000, "requests that may wait for a slot");
    static final ConfigKey<Long> QUEUE_TOKENS_MAX = ConfigKey.whole(
            "queue-tokens-max", 16_000_000, 1, 10_000_000_000L, "prompt tokens that may wait for a slot");
    static final ConfigKey<Duration> SLOW_READER_TIMEOUT = ConfigKey.time(
            "slow-reader-timeout", "30s", ZERO, HOUR, "how long a client that does not read keeps its slot");
    static final ConfigKey<Long> BODY_BYTES_MAX =
            ConfigKey.size("body-bytes-max", "16MiB", 1 << 10, 1 << 30, "size of a request's body at most");
    static final ConfigKey<Long> CONNECTIONS_MAX = ConfigKey.whole(
            "connections-max", 0, 0, 1_000_000, "open connections at most; 0 takes what file descriptors allow");
    static final ConfigKey<Duration> HEAD_TIMEOUT = ConfigKey.time(
            "head-timeout", "10s", Duration.ofMillis(100), HOUR, "time for a request's headers to arrive");
    static final ConfigKey<Duration> BODY_TIMEOUT =
            ConfigKey.time("body-timeout", "60s", Duration.ofMillis(100), HOUR, "time for a request's body to arrive");
    static final ConfigKey<Duration> IDLE_TIMEOUT = ConfigKey.time(
            "idle-timeout", "60s", Duration.ofMillis(100), HOUR, "how long a connection without a request stays open");
    static final ConfigKey<Duration> WRITE_TIMEOUT = ConfigKey.time(
            "write-timeout",
            "30s",
            Duration.ofMillis(100),
            HOUR,
            "how long one write waits for a client that does not read");
    static final ConfigKey<Duration> KEEP_ALIVE_INTERVAL = ConfigKey.time(
            "keep-alive-interval",
            "10s",
            Duration.ofMillis(100),
            HOUR,
            "pause after which a silent stream gets a comment");
    static final ConfigKey<String> API_KEYS = ConfigKey.text(
            "api-keys", "", "KEY,KEY", "keys of which every request under /v1 must carry one; none asks for none");
    static final ConfigKey<String> API_KEYS_FILE =
            ConfigKey.text("api-keys-file", "", "FILE", "file of further API keys, one a line");
    static final ConfigKey<Long> KEY_REQUESTS_MAX = ConfigKey.whole(
            "key-requests-max", 0, 0, 1_000_000, "requests that one API key may have open at once; 0 is no limit");
    static final ConfigKey<Long> KEY_RATE_MAX = ConfigKey.whole(
            "key-rate-max", 0, 0, 1_000_000, "requests that one API key may send in a minute; 0 is no limit");
    static final ConfigKey<String> CORS_ORIGINS = ConfigKey.text(
            "cors-origins", "", "ORIGIN,ORIGIN", "origins whose pages may use the API from a browser; * is all");
    static final ConfigKey<String> TLS_CERTIFICATE = ConfigKey.text(
            "tls-certificate", "", "FILE", "certificate chain in PEM; with tls-key, the API is served over TLS");
    static final ConfigKey<String> TLS_KEY =
            ConfigKey.text("tls-key", "", "FILE", "key of the certificate in PEM (PKCS #8)");
    static final ConfigKey<Duration> WARM_UP = ConfigKey.time(
            "warm-up", "1s", ZERO, Duration.ofMinutes(1), "how long the engine runs before the first request");
    static final ConfigKey<Duration> DRAIN_DELAY = ConfigKey.time(
            "drain-delay", "0s", ZERO, HOUR, "how long requests are accepted after SIGTERM, while readiness is false");
    static final ConfigKey<Duration> DRAIN_TIMEOUT =
            ConfigKey.time("drain-timeout", "30s", ZERO, HOUR, "how long running requests may take after that");
    static final ConfigKey<Duration> STEP_TIMEOUT = ConfigKey.time(
            "step-timeout", "60s", Duration.ofMillis(100), HOUR, "length of a step beyond which liveness fails");
    static final ConfigKey<String> SESSIONS_DIR =
            ConfigKey.text("sessions-dir", "", "DIR", "where sessions outlive the process; in memory only if not set");
    static final ConfigKey<Long> SESSIONS_MAX =
            ConfigKey.whole("sessions-max", 100_000, 1, 10_000_000, "sessions kept at most");
    static final ConfigKey<Long> SESSIONS_MEMORY_MAX =
            ConfigKey.size("sessions-memory-max", "256MiB", 0, 1L << 50, "memory of the states of sessions that rest");
    static final ConfigKey<Long> SESSIONS_DISK_MAX = ConfigKey.size(
            "sessions-disk-max",
            "16GiB",
            0,
            1L << 50,
            "size of the states in sessions-dir; a session without one is read again from its tokens");
    static final ConfigKey<String> STATE_SECRET = ConfigKey.text(
            "state-secret", "", "TEXT", "seals states for download; servers that exchange them share it");
    static final ConfigKey<Boolean> UNSEALED_STATES =
            ConfigKey.off("unsealed-states", "states may be uploaded that no server with this secret gave out");
    static final ConfigKey<Long> PREFIX_CACHE_MAX = ConfigKey.size(
            "prefix-cache-max",
            "64MiB",
            0,
            1L << 50,
            "memory of states that have read beginnings of prompts; 0B is off");
    static final ConfigKey<LogLevel> LOG_LEVEL = ConfigKey.choice("log-level", LogLevel.INFO, "what is logged");
    static final ConfigKey<LogFormat> LOG_FORMAT = ConfigKey.choice("log-format", LogFormat.TEXT, "form of a log line");

    static final ConfigKey<String> OTLP_ENDPOINT = ConfigKey.text(
            "otlp-endpoint", "", "URL", "where OpenTelemetry spans go, such as http://localhost:4318/v1/traces");

    /** All keys, in the order in which they are explained. */
    static final List<ConfigKey<?>> KEYS = List.of(
            MODEL,
            MODEL_NAME,
            HUB_ENDPOINT,
            HUB_CACHE,
            HUB_OFFLINE,
            HOST,
            PORT,
            OPS_PORT,
            BACKEND,
            SLOTS,
            THREADS,
            STATE_BYTES_MAX,
            DEVICES,
            DETERMINISTIC,
            FAKE_STEP_TIME,
            BATCH_MAX,
            CHUNK_TOKENS_MAX,
            STEP_TARGET,
            QUEUE_REQUESTS_MAX,
            QUEUE_TOKENS_MAX,
            SLOW_READER_TIMEOUT,
            BODY_BYTES_MAX,
            CONNECTIONS_MAX,
            HEAD_TIMEOUT,
            BODY_TIMEOUT,
            IDLE_TIMEOUT,
            WRITE_TIMEOUT,
            KEEP_ALIVE_INTERVAL,
            API_KEYS,
            API_KEYS_FILE,
            KEY_REQUESTS_MAX,
            KEY_RATE_MAX,
            CORS_ORIGINS,
            TLS_CERTIFICATE,
            TLS_KEY,
            WARM_UP,
            DRAIN_DELAY,
            DRAIN_TIMEOUT,
            STEP_TIMEOUT,
            SESSIONS_DIR,
            SESSIONS_MAX,
            SESSIONS_MEMORY_MAX,
            SESSIONS_DISK_MAX,
            STATE_SECRET,
            UNSEALED_STATES,
            PREFIX_CACHE_MAX,
            LOG_LEVEL,
            LOG_FORMAT,
            OTLP_ENDPOINT);

    /**
     * Reads flags, the environment and the file that either names by {@code config}; the first of them that sets a key
     * wins.
     *
     * @param home folder of the default model
     * @throws StartException naming the key that is wrong
     */
    static ServerConfig load(List<String> args, Map<String, String> environment, Path home) {
        var sources = new ConfigSources(KEYS, args, environment);
        HubSettings hub = hub(sources, environment);
        ModelSource model = sources.get(MODEL).isEmpty()
                ? new ModelSource.Local(home.resolve("models").resolve("based-10m"))
                : ModelSource.of(sources.get(MODEL), hub);
        String modelName = sources.get(MODEL_NAME).isEmpty() ? model.name() : sources.get(MODEL_NAME);
        return new ServerConfig(
                model,
                modelName,
                http(sources),
                engine(sources),
                compute(sources),
                lifecycle(sources),
                sessions(sources),
                logs(sources),
                otlpEndpoint(sources));
    }

    private static HubSettings hub(ConfigSources sources, Map<String, String> environment) {
        try {
            return HubSettings.of(
                    environment, sources.get(HUB_ENDPOINT), sources.get(HUB_CACHE), sources.get(HUB_OFFLINE));
        } catch (HubException e) {
            throw new StartException(String.valueOf(e.getMessage()), e);
        }
    }

    private static HttpConfig http(ConfigSources sources) {
        int opsPort = Math.toIntExact(sources.get(OPS_PORT));
        return new HttpConfig(
                sources.get(HOST),
                Math.toIntExact(sources.get(PORT)),
                opsPort < 0 ? OptionalInt.empty() : OptionalInt.of(opsPort),
                new HttpConfig.Limits(sources.get(BODY_BYTES_MAX), Math.toIntExact(sources.get(CONNECTIONS_MAX))),
                new HttpConfig.Timeouts(
                        sources.get(HEAD_TIMEOUT),
                        sources.get(BODY_TIMEOUT),
                        sources.get(IDLE_TIMEOUT),
                        sources.get(WRITE_TIMEOUT),
                        sources.get(KEEP_ALIVE_INTERVAL)),
                access(sources));
    }

    private static HttpConfig.Access access(ConfigSources sources) {
        return new HttpConfig.Access(
                apiKeys(sources),
                Math.toIntExact(sources.get(KEY_REQUESTS_MAX)),
                Math.toIntExact(sources.get(KEY_RATE_MAX)),
                corsOrigins(sources),
                tls(sources));
    }

    private static List<String> corsOrigins(ConfigSources sources) {
        var origins = new ArrayList<String>();
        for (String origin : sources.get(CORS_ORIGINS).split(",", -1)) {
            if (!origin.isBlank()) {
                origins.add(origin.strip());
            }
        }
        for (String origin : origins) {
            if (!origin.equals("*") && !ORIGIN.matcher(origin).matches()) {
                throw new StartException(sources.origin(CORS_ORIGINS) + " = \"" + origin
                        + "\": must be * or like https://example.org, without a path");
            }
        }
        return origins;
    }

    private static Optional<HttpConfig.TlsPaths> tls(ConfigSources sources) {
        String certificate = sources.get(TLS_CERTIFICATE);
        String key = sources.get(TLS_KEY);
        if (certificate.isEmpty() != key.isEmpty()) {
            ConfigKey<String> missing = key.isEmpty() ? TLS_KEY : TLS_CERTIFICATE;
            throw new StartException(missing.flag() + " is missing: TLS needs a certificate and its key");
        }
        return key.isEmpty()
                ? Optional.empty()
                : Optional.of(new HttpConfig.TlsPaths(Path.of(certificate), Path.of(key)));
    }

    private static Steps steps(ConfigSources sources) {
        return new Steps(Math.toIntExact(sources.get(BATCH_MAX)), Math.toIntExact(sources.get(CHUNK_TOKENS_MAX)));
    }

    /** With the largest step of any backend: the engine takes no larger ones than the backend that is opened. */
    private static EngineConfig engine(ConfigSources sources) {
        Steps steps = steps(sources).or(Steps.CUDA);
        return new EngineConfig(
                steps.rowsMax(),
                steps.chunkTokensMax(),
                sources.get(STEP_TARGET).toMillis(),
                Math.toIntExact(sources.get(QUEUE_REQUESTS_MAX)),
                sources.get(QUEUE_TOKENS_MAX),
                sources.get(SLOW_READER_TIMEOUT));
    }

    private static Compute compute(ConfigSources sources) {
        return new Compute(
                sources.get(BACKEND),
                Math.toIntExact(sources.get(SLOTS)),
                Math.toIntExact(sources.get(THREADS)),
                sources.get(STATE_BYTES_MAX),
                new Cuda(Math.toIntExact(sources.get(DEVICES)), sources.get(DETERMINISTIC)),
                steps(sources),
                sources.get(FAKE_STEP_TIME));
    }

    private static Lifecycle lifecycle(ConfigSources sources) {
        return new Lifecycle(
                sources.get(WARM_UP), sources.get(DRAIN_DELAY), sources.get(DRAIN_TIMEOUT), sources.get(STEP_TIMEOUT));
    }

    private static Sessions sessions(ConfigSources sources) {
        String directory = sources.get(SESSIONS_DIR);
        return new Sessions(
                directory.isEmpty() ? Optional.empty() : Optional.of(Path.of(directory)),
                Math.toIntExact(sources.get(SESSIONS_MAX)),
                sources.get(SESSIONS_MEMORY_MAX),
                sources.get(SESSIONS_DISK_MAX),
                sources.get(STATE_SECRET),
                sources.get(UNSEALED_STATES),
                sources.get(PREFIX_CACHE_MAX));
    }

    private static Optional<URI> otlpEndpoint(ConfigSources sources) {
        String text = sources.get(OTLP_ENDPOINT);
        if (!text.isEmpty() && !text.matches("https?://[^\\s/]+/\\S*")) {
            throw new StartException(
                    sources.origin(OTLP_ENDPOINT) + " = \"" + text + "\": must be like http://host:4318/v1/traces");
        }
        return text.isEmpty() ? Optional.empty() : Optional.of(URI.create(text));
    }

    private static Logs logs(ConfigSources sources) {
        return new Logs(sources.get(LOG_LEVEL), sources.get(LOG_FORMAT));
    }

    private static List<String> apiKeys(ConfigSources sources) {
        var keys = new ArrayList<String>();
        for (String key : sources.get(API_KEYS).split(",", -1)) {
            if (!key.isBlank()) {
                keys.add(key.strip());
            }
        }
        String file = sources.get(API_KEYS_FILE);
        if (!file.isEmpty()) {
            try {
                Files.readAllLines(Path.of(file)).stream()
                        .map(String::strip)
                        .filter(line -> !line.isEmpty() && !line.startsWith("#"))
                        .forEach(keys::add);
            } catch (IOException e) {
                throw new StartException(sources.origin(API_KEYS_FILE) + " = \"" + file + "\": cannot be read", e);
            }
            if (keys.isEmpty()) {
                throw new StartException(sources.origin(API_KEYS_FILE) + " = \"" + file + "\": holds no key");
            }
        }
        return keys;
    }

    /** The table of keys for {@code --help}. */
    static String help() {
        var text = new StringBuilder();
        text.append("  --config FILE\n      YAML or .properties file of keys; flags and BASALT_<KEY> are stronger\n");
        for (ConfigKey<?> key : KEYS) {
            text.append("  ")
                    .append(key.flag())
                    .append(' ')
                    .append(key.kind().bounds())
                    .append(key.defaultText().isEmpty() ? "" : " [" + key.defaultText() + "]")
                    .append("\n      ")
                    .append(key.meaning())
                    .append('\n');
        }
        return text.toString();
    }
}
