package basalt.server;

import basalt.engine.session.Durability;
import basalt.engine.state.PrefixCache;
import basalt.server.ServerConfig.BackendKind;
import basalt.server.ServerConfig.LogFormat;
import basalt.server.ServerConfig.LogLevel;
import java.time.Duration;
import java.util.List;

/** The table of configuration keys: names, defaults, bounds and meanings. {@link ServerConfig} reads them. */
final class ConfigKeys {
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
    static final ConfigKey<BackendKind> BACKEND = ConfigKey.choice(
            "backend", BackendKind.AUTO, "what computes; fake answers with random text, for measurements");
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
            "chunk-tokens-max", 0, 0, 65_536, "prompt tokens that one step reads at most; 0 takes 128, on a GPU 2,048");
    static final ConfigKey<Duration> STEP_TARGET = ConfigKey.time(
            "step-target",
            "0ms",
            ZERO,
            Duration.ofSeconds(10),
            "length of a step that prompts may cause; 0 takes two and a half times a step without, or 3 ms more");
    static final ConfigKey<Long> QUEUE_REQUESTS_MAX =
            ConfigKey.whole("queue-requests-max", 256, 1, 1_000_000, "requests that may wait for a slot");
    static final ConfigKey<Long> QUEUE_TOKENS_MAX = ConfigKey.whole(
            "queue-tokens-max", 16_000_000, 1, 10_000_000_000L, "prompt tokens that may wait for a slot");
    static final ConfigKey<Duration> SLOW_READER_TIMEOUT = ConfigKey.time(
            "slow-reader-timeout", "30s", ZERO, HOUR, "how long a client that does not read keeps its slot");
    static final ConfigKey<Long> BODY_BYTES_MAX = ConfigKey.size(
            "body-bytes-max",
            "16MiB",
            1 << 10,
            1 << 30,
            "size of a request's body at most; the upload of a state has a bound of its own");
    static final ConfigKey<Long> BODIES_BYTES_MAX = ConfigKey.size(
            "bodies-bytes-max",
            "0B",
            0,
            1L << 40,
            "memory of all bodies that are being read, and of states that are being sent, at a time;"
                    + " 0B takes an eighth of the heap");
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
    static final ConfigKey<Duration> RESUME_WINDOW = ConfigKey.time(
            "resume-window",
            "30s",
            Duration.ofMillis(100),
            HOUR,
            "how long a resumable stream is kept while nobody reads it");
    static final ConfigKey<Long> RESUME_BUFFER_MAX = ConfigKey.size(
            "resume-buffer-max", "1MiB", 1 << 12, 1 << 30, "size of the last events that a resumable stream keeps");
    static final ConfigKey<Long> RESUMABLE_STREAMS_MAX =
            ConfigKey.whole("resumable-streams-max", 256, 0, 1_000_000, "resumable streams kept at most");
    static final ConfigKey<Duration> RESPONSES_TTL = ConfigKey.time(
            "responses-ttl",
            "24h",
            Duration.ofSeconds(1),
            Duration.ofDays(366),
            "how long a response of /v1/responses is stored without use");
    static final ConfigKey<String> API_KEYS = ConfigKey.text(
            "api-keys", "", "KEY,KEY", "keys of which every request under /v1 must carry one; none asks for none");
    static final ConfigKey<String> API_KEYS_FILE =
            ConfigKey.text("api-keys-file", "", "FILE", "file of further API keys, one a line");
    static final ConfigKey<Long> KEY_REQUESTS_MAX = ConfigKey.whole(
            "key-requests-max", 0, 0, 1_000_000, "requests that one API key may have open at once; 0 is no limit");
    static final ConfigKey<Long> KEY_RATE_MAX = ConfigKey.whole(
            "key-rate-max", 0, 0, 1_000_000, "requests that one API key may send in a minute; 0 is no limit");
    static final ConfigKey<Long> KEY_SESSIONS_MAX = ConfigKey.whole(
            "key-sessions-max",
            0,
            0,
            10_000_000,
            "sessions and stored responses that one API key may have; 0 is no limit");
    static final ConfigKey<String> CORS_ORIGINS = ConfigKey.text(
            "cors-origins", "", "ORIGIN,ORIGIN", "origins whose pages may use the API from a browser; * is all");
    static final ConfigKey<String> TLS_CERTIFICATE = ConfigKey.text(
            "tls-certificate", "", "FILE", "certificate chain in PEM; with tls-key, the API is served over TLS");
    static final ConfigKey<String> TLS_KEY =
            ConfigKey.text("tls-key", "", "FILE", "key of the certificate in PEM (PKCS #8)");
    static final ConfigKey<Duration> WARM_UP = ConfigKey.time(
            "warm-up",
            "700ms",
            ZERO,
            Duration.ofMinutes(1),
            "how long requests of its own run before those of clients");
    static final ConfigKey<Duration> DRAIN_DELAY = ConfigKey.time(
            "drain-delay", "0s", ZERO, HOUR, "how long requests are accepted after SIGTERM, while readiness is false");
    static final ConfigKey<Duration> DRAIN_TIMEOUT =
            ConfigKey.time("drain-timeout", "30s", ZERO, HOUR, "how long running requests may take after that");
    static final ConfigKey<Duration> STEP_TIMEOUT = ConfigKey.time(
            "step-timeout", "60s", Duration.ofMillis(100), HOUR, "length of a step beyond which liveness fails");
    static final ConfigKey<String> SESSIONS_DIR =
            ConfigKey.text("sessions-dir", "", "DIR", "where sessions outlive the process; in memory only if not set");
    static final ConfigKey<Durability> SESSIONS_FSYNC = ConfigKey.choice(
            "sessions-fsync",
            Durability.SECOND,
            "when turns outlive a power failure: whenever, within a second, or before they are acknowledged");
    static final ConfigKey<Long> SESSIONS_MAX =
            ConfigKey.whole("sessions-max", 100_000, 1, 10_000_000, "sessions kept at most");
    static final ConfigKey<Long> SESSION_SLOTS = ConfigKey.whole(
            "session-slots",
            1_000_000,
            0,
            1_000_000,
            "slots of a device that hold sessions at rest at most, while no request needs them");
    static final ConfigKey<Long> SESSIONS_MEMORY_MAX =
            ConfigKey.size("sessions-memory-max", "256MiB", 0, 1L << 50, "memory of the states of sessions that rest");
    static final ConfigKey<Long> SESSIONS_DISK_MAX = ConfigKey.size(
            "sessions-disk-max",
            "16GiB",
            0,
            1L << 50,
            "size of the states in sessions-dir; a session without one is read again from its tokens");
    static final ConfigKey<String> REDIS_URL = ConfigKey.text(
            "redis-url",
            "",
            "URL",
            "Redis that keeps sessions for several servers, such as redis://localhost:6379,"
                    + " or redis+sentinel://HOST:PORT,HOST:PORT/PRIMARY");
    static final ConfigKey<Duration> REDIS_TIMEOUT = ConfigKey.time(
            "redis-timeout",
            "1s",
            Duration.ofMillis(10),
            Duration.ofMinutes(1),
            "time for a connection to Redis, and for its answer");
    static final ConfigKey<Duration> REDIS_LIFE = ConfigKey.time(
            "redis-life",
            "168h",
            ZERO,
            Duration.ofHours(100_000),
            "how long Redis keeps a session without use that has no life of its own; 0s is for ever");
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
    static final ConfigKey<Long> PREFIX_CACHE_INTERVAL = ConfigKey.whole(
            "prefix-cache-interval",
            PrefixCache.INTERVAL,
            16,
            1_000_000,
            "tokens between two states of one prompt at least, but where the request has a breakpoint");
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
            BODIES_BYTES_MAX,
            CONNECTIONS_MAX,
            HEAD_TIMEOUT,
            BODY_TIMEOUT,
            IDLE_TIMEOUT,
            WRITE_TIMEOUT,
            KEEP_ALIVE_INTERVAL,
            RESUME_WINDOW,
            RESUME_BUFFER_MAX,
            RESUMABLE_STREAMS_MAX,
            RESPONSES_TTL,
            API_KEYS,
            API_KEYS_FILE,
            KEY_REQUESTS_MAX,
            KEY_RATE_MAX,
            KEY_SESSIONS_MAX,
            CORS_ORIGINS,
            TLS_CERTIFICATE,
            TLS_KEY,
            WARM_UP,
            DRAIN_DELAY,
            DRAIN_TIMEOUT,
            STEP_TIMEOUT,
            SESSIONS_DIR,
            SESSIONS_FSYNC,
            SESSIONS_MAX,
            SESSION_SLOTS,
            SESSIONS_MEMORY_MAX,
            SESSIONS_DISK_MAX,
            REDIS_URL,
            REDIS_TIMEOUT,
            REDIS_LIFE,
            STATE_SECRET,
            UNSEALED_STATES,
            PREFIX_CACHE_MAX,
            PREFIX_CACHE_INTERVAL,
            LOG_LEVEL,
            LOG_FORMAT,
            OTLP_ENDPOINT);

    private ConfigKeys() {}

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
