package basalt.server.redis;

import basalt.engine.EngineException;
import java.net.URI;
import java.time.Duration;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.LongAdder;
import java.util.function.Function;
import org.apache.commons.pool2.impl.GenericObjectPoolConfig;
import redis.clients.jedis.Connection;
import redis.clients.jedis.DefaultJedisClientConfig;
import redis.clients.jedis.HostAndPort;
import redis.clients.jedis.RedisClient;
import redis.clients.jedis.SslOptions;
import redis.clients.jedis.exceptions.JedisConnectionException;
import redis.clients.jedis.exceptions.JedisDataException;
import redis.clients.jedis.exceptions.JedisException;
import redis.clients.jedis.util.JedisURIHelper;

/**
 * The way to a Redis, with a circuit breaker: after two failures in a row calls fail at once, until a thread that asks
 * once a second gets an answer. Safe for use by any number of threads; a call blocks its own.
 */
final class RedisLink implements AutoCloseable {
    private static final System.Logger LOG = System.getLogger(RedisLink.class.getName());
    private static final Duration PROBE_INTERVAL = Duration.ofSeconds(1);
    private static final int FAILURES_MAX = 2;
    private static final int CONNECTIONS_MAX = 32;

    private final RedisClient client;
    private final String name;
    private final AtomicInteger failuresInRow = new AtomicInteger();
    private final LongAdder failures = new LongAdder();
    private final Thread probe;
    private volatile boolean isUp = true;

    /** Connects at the first call. */
    RedisLink(RedisConfig config) {
        URI url = config.url();
        HostAndPort address = JedisURIHelper.getHostAndPort(url);
        name = address.toString(); // no password
        int millis = Math.toIntExact(config.timeout().toMillis());
        var pool = new GenericObjectPoolConfig<Connection>();
        pool.setMaxTotal(CONNECTIONS_MAX);
        pool.setMaxIdle(CONNECTIONS_MAX);
        pool.setMaxWait(config.timeout());
        pool.setJmxEnabled(false);
        var clientConfig = DefaultJedisClientConfig.builder()
                .connectionTimeoutMillis(millis)
                .socketTimeoutMillis(millis)
                .user(JedisURIHelper.getUser(url))
                .password(JedisURIHelper.getPassword(url))
                .database(JedisURIHelper.getDBIndex(url))
                .clientName("basalt");
        if (JedisURIHelper.isRedisSSLScheme(url)) {
            clientConfig.sslOptions(SslOptions.defaults());
        }
        client = RedisClient.builder()
                .hostAndPort(address)
                .clientConfig(clientConfig.build())
                .poolConfig(pool)
                .build();
        probe = Thread.ofVirtual().name("basalt-redis-probe").unstarted(this::probe);
    }

    /**
     * Asks for the first time, and begins to watch. A Redis that cannot be reached may come later.
     *
     * @throws EngineException.ArchiveFailure if it can, but refuses, as for a wrong password
     */
    void start() {
        try {
            client.ping();
            LOG.log(System.Logger.Level.INFO, "event=redis_up redis={0}", name);
        } catch (JedisDataException e) {
            if (isRefusal(e)) {
                client.close();
                throw new EngineException.ArchiveFailure(name + ": " + e.getMessage(), e);
            }
            down(e);
        } catch (JedisException e) {
            down(e);
        }
        probe.start();
    }

    private static boolean isRefusal(JedisDataException e) {
        String message = String.valueOf(e.getMessage());
        return message.startsWith("WRONGPASS")
                || message.startsWith("NOAUTH")
                || message.startsWith("NOPERM")
                || message.startsWith("ERR");
    }

    /**
     * Runs one operation, if need be twice: a connection may have been cut while it rested. So the operation must give
     * the same result if Redis has already done it.
     *
     * @throws EngineException.ArchiveUnavailable if there is no answer
     */
    <T> T call(String operation, Function<RedisClient, T> command) {
        if (!isUp) {
            failures.increment();
            throw new EngineException.ArchiveUnavailable(operation + ": Redis at " + name + " does not answer");
        }
        try {
            T answer = once(command);
            failuresInRow.set(0);
            return answer;
        } catch (JedisException e) {
            failures.increment();
            if (e instanceof JedisConnectionException && failuresInRow.incrementAndGet() >= FAILURES_MAX) {
                down(e);
            }
            throw new EngineException.ArchiveUnavailable(operation + ": Redis at " + name + ": " + e.getMessage(), e);
        }
    }

    private <T> T once(Function<RedisClient, T> command) {
        try {
            return command.apply(client);
        } catch (JedisConnectionException e) {
            client.getPool().clear();
            return command.apply(client);
        }
    }

    private void down(JedisException e) {
        if (isUp) {
            isUp = false;
            LOG.log(
                    System.Logger.Level.WARNING,
                    "event=redis_down redis={0} reason=\"{1}\"",
                    name,
                    e.getCause() == null
                            ? e.getMessage()
                            : e.getMessage() + ": " + e.getCause().getMessage());
        }
    }

    private void probe() {
        try {
            while (true) {
                Thread.sleep(PROBE_INTERVAL);
                try {
                    once(RedisClient::ping);
                    failuresInRow.set(0);
                    if (!isUp) {
                        isUp = true;
                        LOG.log(System.Logger.Level.INFO, "event=redis_up redis={0}", name);
                    }
                } catch (JedisException e) {
                    if (failuresInRow.incrementAndGet() >= FAILURES_MAX) {
                        down(e);
                    }
                }
            }
        } catch (InterruptedException e) {
            LOG.log(System.Logger.Level.DEBUG, "event=redis_left redis={0}", name);
        }
    }

    /** Whether it answered last. */
    boolean isUp() {
        return isUp;
    }

    /** Calls that failed. */
    long failureCount() {
        return failures.sum();
    }

    @Override
    public void close() {
        probe.interrupt();
        try {
            probe.join();
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
        client.close();
    }
}
