package basalt.server;

import basalt.engine.EngineConfig;
import basalt.engine.session.Durability;
import basalt.server.http.HttpConfig;
import basalt.server.hub.HubException;
import basalt.server.hub.HubSettings;
import basalt.server.redis.RedisConfig;
import basalt.server.redis.RedisUrl;
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
import java.util.function.Supplier;
import java.util.regex.Pattern;

/**
 * All configuration, read once at start. {@link ConfigKeys} is the table of keys.
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

    /** The part of the heap that bodies may take while they are being read. */
    private static final int BODIES_OF_HEAP = 8;

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
     * @param hostBytesMax pinned host memory of all devices together, for states that rest in memory
     */
    record Cuda(int deviceCount, boolean isDeterministic, long hostBytesMax) {}

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

    /** Where sessions are kept. */
    sealed interface SessionPlace {
        /** In the process, with which they end. */
        record Memory() implements SessionPlace {}

        /** In a directory of this server alone. */
        record Directory(Path path, Durability durability) implements SessionPlace {}

        /** In a Redis that servers share. */
        record Redis(RedisConfig config) implements SessionPlace {}
    }

    /**
     * How sessions are kept.
     *
     * @param place where they are kept
     * @param countMax sessions at most
     * @param keyCountMax of one API key, 0 for no limit
     * @param memoryBytesMax of states in memory
     * @param archiveBytesMax of states there
     * @param secret that seals states which leave the server; empty makes one
     * @param takesUnsealed whether states are taken that nobody has sealed
     * @param prefixBytesMax of states that have read the beginnings of prompts; 0 keeps none
     * @param prefixInterval tokens between two of them of one prompt at least
     */
    record Sessions(
            SessionPlace place,
            int countMax,
            int keyCountMax,
            long memoryBytesMax,
            long archiveBytesMax,
            String secret,
            boolean takesUnsealed,
            long prefixBytesMax,
            int prefixInterval) {}

    private static final Pattern ORIGIN = Pattern.compile("https?://[A-Za-z0-9.\\[\\]:-]+");

    /**
     * Reads flags, the environment and the file that either names by {@code config}; the first of them that sets a key
     * wins.
     *
     * @param home folder of the default model
     * @throws StartException naming the key that is wrong
     */
    static ServerConfig load(List<String> args, Map<String, String> environment, Path home) {
        var sources = new ConfigSources(ConfigKeys.KEYS, args, environment);
        Supplier<HubSettings> hub = hub(sources, environment);
        ModelSource model = sources.get(ConfigKeys.MODEL).isEmpty()
                ? new ModelSource.Local(home.resolve("models").resolve("based-10m"))
                : ModelSource.of(sources.get(ConfigKeys.MODEL), hub);
        if (sources.isGiven(ConfigKeys.MODEL_NAME)
                && sources.get(ConfigKeys.MODEL_NAME).isBlank()) {
            throw new StartException(sources.origin(ConfigKeys.MODEL_NAME)
                    + " is empty: give a name, or leave it out to take the model's own");
        }
        String modelName = sources.isGiven(ConfigKeys.MODEL_NAME) ? sources.get(ConfigKeys.MODEL_NAME) : model.name();
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

    /** Keys are read at once; what other tools' variables say, when it matters. */
    private static Supplier<HubSettings> hub(ConfigSources sources, Map<String, String> environment) {
        String endpoint = sources.get(ConfigKeys.HUB_ENDPOINT);
        String cache = sources.get(ConfigKeys.HUB_CACHE);
        boolean isOffline = sources.get(ConfigKeys.HUB_OFFLINE);
        return () -> {
            try {
                return HubSettings.of(environment, endpoint, cache, isOffline);
            } catch (HubException e) {
                throw new StartException(String.valueOf(e.getMessage()), e);
            }
        };
    }

    private static HttpConfig http(ConfigSources sources) {
        int port = Math.toIntExact(sources.get(ConfigKeys.PORT));
        int opsPort = Math.toIntExact(sources.get(ConfigKeys.OPS_PORT));
        if (sources.get(ConfigKeys.HOST).isBlank()) {
            throw new StartException(sources.origin(ConfigKeys.HOST)
                    + " is empty: give an address of this machine, or leave it out to listen on 127.0.0.1");
        }
        if (opsPort > 0 && opsPort == port) {
            throw new StartException(sources.origin(ConfigKeys.OPS_PORT) + " = \"" + opsPort + "\": is "
                    + sources.origin(ConfigKeys.PORT) + " too; choose another, or leave it out to have both on one");
        }
        return new HttpConfig(
                sources.get(ConfigKeys.HOST),
                port,
                opsPort < 0 ? OptionalInt.empty() : OptionalInt.of(opsPort),
                new HttpConfig.Limits(
                        sources.get(ConfigKeys.BODY_BYTES_MAX),
                        bodiesBytesMax(sources.get(ConfigKeys.BODIES_BYTES_MAX)),
                        Math.toIntExact(sources.get(ConfigKeys.CONNECTIONS_MAX))),
                new HttpConfig.Timeouts(
                        sources.get(ConfigKeys.HEAD_TIMEOUT),
                        sources.get(ConfigKeys.BODY_TIMEOUT),
                        sources.get(ConfigKeys.IDLE_TIMEOUT),
                        sources.get(ConfigKeys.WRITE_TIMEOUT),
                        sources.get(ConfigKeys.KEEP_ALIVE_INTERVAL)),
                access(sources),
                new HttpConfig.Resume(
                        sources.get(ConfigKeys.RESUME_WINDOW),
                        sources.get(ConfigKeys.RESUME_BUFFER_MAX),
                        Math.toIntExact(sources.get(ConfigKeys.RESUMABLE_STREAMS_MAX))),
                sources.get(ConfigKeys.RESPONSES_TTL));
    }

    private static long bodiesBytesMax(long asked) {
        return asked > 0 ? asked : Runtime.getRuntime().maxMemory() / BODIES_OF_HEAP;
    }

    private static HttpConfig.Access access(ConfigSources sources) {
        return new HttpConfig.Access(
                apiKeys(sources),
                Math.toIntExact(sources.get(ConfigKeys.KEY_REQUESTS_MAX)),
                Math.toIntExact(sources.get(ConfigKeys.KEY_RATE_MAX)),
                corsOrigins(sources),
                tls(sources));
    }

    private static List<String> corsOrigins(ConfigSources sources) {
        var origins = new ArrayList<String>();
        for (String origin : sources.get(ConfigKeys.CORS_ORIGINS).split(",", -1)) {
            if (!origin.isBlank()) {
                origins.add(origin.strip());
            }
        }
        for (String origin : origins) {
            if (!origin.equals("*") && !ORIGIN.matcher(origin).matches()) {
                throw new StartException(sources.origin(ConfigKeys.CORS_ORIGINS) + " = \"" + origin
                        + "\": must be * or like https://example.org, without a path");
            }
        }
        return origins;
    }

    private static Optional<HttpConfig.TlsPaths> tls(ConfigSources sources) {
        String certificate = sources.get(ConfigKeys.TLS_CERTIFICATE);
        String key = sources.get(ConfigKeys.TLS_KEY);
        if (certificate.isEmpty() != key.isEmpty()) {
            ConfigKey<String> missing = key.isEmpty() ? ConfigKeys.TLS_KEY : ConfigKeys.TLS_CERTIFICATE;
            throw new StartException(missing.flag() + " is missing: TLS needs a certificate and its key");
        }
        return key.isEmpty()
                ? Optional.empty()
                : Optional.of(new HttpConfig.TlsPaths(Path.of(certificate), Path.of(key)));
    }

    private static Steps steps(ConfigSources sources) {
        return new Steps(
                Math.toIntExact(sources.get(ConfigKeys.BATCH_MAX)),
                Math.toIntExact(sources.get(ConfigKeys.CHUNK_TOKENS_MAX)));
    }

    /** With the largest step of any backend: the engine takes no larger ones than the backend that is opened. */
    private static EngineConfig engine(ConfigSources sources) {
        Steps steps = steps(sources).or(Steps.CUDA);
        return new EngineConfig(
                steps.rowsMax(),
                steps.chunkTokensMax(),
                sources.get(ConfigKeys.STEP_TARGET).toMillis(),
                Math.toIntExact(sources.get(ConfigKeys.QUEUE_REQUESTS_MAX)),
                sources.get(ConfigKeys.QUEUE_TOKENS_MAX),
                sources.get(ConfigKeys.SLOW_READER_TIMEOUT),
                Math.toIntExact(sources.get(ConfigKeys.SESSION_SLOTS)));
    }

    private static Compute compute(ConfigSources sources) {
        return new Compute(
                sources.get(ConfigKeys.BACKEND),
                Math.toIntExact(sources.get(ConfigKeys.SLOTS)),
                Math.toIntExact(sources.get(ConfigKeys.THREADS)),
                sources.get(ConfigKeys.STATE_BYTES_MAX),
                new Cuda(
                        Math.toIntExact(sources.get(ConfigKeys.DEVICES)),
                        sources.get(ConfigKeys.DETERMINISTIC),
                        sources.get(ConfigKeys.SESSIONS_MEMORY_MAX) + sources.get(ConfigKeys.PREFIX_CACHE_MAX)),
                steps(sources),
                sources.get(ConfigKeys.FAKE_STEP_TIME));
    }

    private static Lifecycle lifecycle(ConfigSources sources) {
        return new Lifecycle(
                sources.get(ConfigKeys.WARM_UP),
                sources.get(ConfigKeys.DRAIN_DELAY),
                sources.get(ConfigKeys.DRAIN_TIMEOUT),
                sources.get(ConfigKeys.STEP_TIMEOUT));
    }

    private static Sessions sessions(ConfigSources sources) {
        return new Sessions(
                sessionPlace(sources),
                Math.toIntExact(sources.get(ConfigKeys.SESSIONS_MAX)),
                Math.toIntExact(sources.get(ConfigKeys.KEY_SESSIONS_MAX)),
                sources.get(ConfigKeys.SESSIONS_MEMORY_MAX),
                sources.get(ConfigKeys.SESSIONS_DISK_MAX),
                sources.get(ConfigKeys.STATE_SECRET),
                sources.get(ConfigKeys.UNSEALED_STATES),
                sources.get(ConfigKeys.PREFIX_CACHE_MAX),
                Math.toIntExact(sources.get(ConfigKeys.PREFIX_CACHE_INTERVAL)));
    }

    private static SessionPlace sessionPlace(ConfigSources sources) {
        String directory = sources.get(ConfigKeys.SESSIONS_DIR);
        Durability durability = sources.get(ConfigKeys.SESSIONS_FSYNC);
        String redis = sources.get(ConfigKeys.REDIS_URL);
        Duration timeout = sources.get(ConfigKeys.REDIS_TIMEOUT);
        Duration life = sources.get(ConfigKeys.REDIS_LIFE);
        if (redis.isEmpty()) {
            return directory.isEmpty()
                    ? new SessionPlace.Memory()
                    : new SessionPlace.Directory(Path.of(directory), durability);
        }
        if (!directory.isEmpty()) {
            throw new StartException(sources.origin(ConfigKeys.REDIS_URL) + " and "
                    + sources.origin(ConfigKeys.SESSIONS_DIR) + ": sessions are kept at one place; give one of them");
        }
        // It may hold a secret, so the text is never shown.
        RedisUrl url = RedisUrl.parse(redis)
                .orElseThrow(() -> new StartException(sources.origin(ConfigKeys.REDIS_URL) + ": must be like "
                        + RedisUrl.FORMS + "; rediss is for TLS, and user, password and database may be left out"));
        return new SessionPlace.Redis(new RedisConfig(url, timeout, life));
    }

    private static Optional<URI> otlpEndpoint(ConfigSources sources) {
        String text = sources.get(ConfigKeys.OTLP_ENDPOINT);
        if (!text.isEmpty() && !text.matches("https?://[^\\s/]+/\\S*")) {
            throw new StartException(sources.origin(ConfigKeys.OTLP_ENDPOINT) + " = \"" + text
                    + "\": must be like http://host:4318/v1/traces");
        }
        return text.isEmpty() ? Optional.empty() : Optional.of(URI.create(text));
    }

    private static Logs logs(ConfigSources sources) {
        return new Logs(sources.get(ConfigKeys.LOG_LEVEL), sources.get(ConfigKeys.LOG_FORMAT));
    }

    private static List<String> apiKeys(ConfigSources sources) {
        var keys = new ArrayList<String>();
        for (String key : sources.get(ConfigKeys.API_KEYS).split(",", -1)) {
            if (!key.isBlank()) {
                keys.add(key.strip());
            }
        }
        if (keys.isEmpty() && !sources.get(ConfigKeys.API_KEYS).isEmpty()) {
            throw new StartException(sources.origin(ConfigKeys.API_KEYS)
                    + ": holds no key; give KEY,KEY, or leave it out to serve everyone");
        }
        String file = sources.get(ConfigKeys.API_KEYS_FILE);
        if (!file.isEmpty()) {
            try {
                Files.readAllLines(Path.of(file)).stream()
                        .map(String::strip)
                        .filter(line -> !line.isEmpty() && !line.startsWith("#"))
                        .forEach(keys::add);
            } catch (IOException e) {
                throw new StartException(
                        sources.origin(ConfigKeys.API_KEYS_FILE) + " = \"" + file + "\": cannot be read", e);
            }
            if (keys.isEmpty()) {
                throw new StartException(
                        sources.origin(ConfigKeys.API_KEYS_FILE) + " = \"" + file + "\": holds no key");
            }
        }
        return keys;
    }
}
