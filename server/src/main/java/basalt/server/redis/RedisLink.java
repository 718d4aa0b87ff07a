package basalt.server.redis;

import basalt.engine.EngineException;
import java.time.Duration;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.LongAdder;
import java.util.function.Consumer;
import java.util.function.Function;
import org.jspecify.annotations.Nullable;
import redis.clients.jedis.UnifiedJedis;
import redis.clients.jedis.exceptions.JedisConnectionException;
import redis.clients.jedis.exceptions.JedisDataException;
import redis.clients.jedis.exceptions.JedisException;

/**
 * The way to a Redis, with a circuit breaker: after two failures in a row, or a write that a replica refuses, calls
 * fail at once, until a thread that asks once a second gets an answer. It opens the way anew each time, so that it
 * finds the new primary where there are Sentinels. Safe for use by any number of threads; a call blocks its own.
 */
final class RedisLink implements AutoCloseable {
    static final Duration PROBE_INTERVAL = Duration.ofSeconds(1);
    static final Duration CLOSE_TIME_MAX = Duration.ofSeconds(2);
    private static final System.Logger LOG = System.getLogger(RedisLink.class.getName());
    private static final int FAILURES_MAX = 2;

    private final RedisConfig config;
    private final String name;
    private final AtomicInteger failuresInRow = new AtomicInteger();
    private final LongAdder failures = new LongAdder();
    private final Thread probe;
    private volatile @Nullable UnifiedJedis client; // written by the start, then by the probe alone
    private final Consumer<UnifiedJedis> pulse;
    private volatile boolean isUp = true;
    private volatile boolean isClosing;
    private volatile long upNanos = System.nanoTime(); // since when

    /**
     * Connects at {@link #start}.
     *
     * @param pulse done once a second while it answers
     */
    RedisLink(RedisConfig config, Consumer<UnifiedJedis> pulse) {
        this.config = config;
        this.pulse = pulse;
        name = config.url().toString();
        probe = Thread.ofVirtual().name("basalt-redis-probe").unstarted(this::probe);
    }

    /**
     * Asks for the first time, and begins to watch. A Redis that cannot be reached may come later.
     *
     * @throws EngineException.ArchiveFailure if it can, but refuses, as for a wrong password
     */
    void start() {
        try {
            reopen();
            beat();
            LOG.log(System.Logger.Level.INFO, "event=redis_up redis=\"{0}\"", name);
        } catch (JedisException e) {
            if (isRefusal(e)) {
                throw new EngineException.ArchiveFailure(name + ": " + e.getMessage(), e);
            }
            down(e);
        }
        probe.start();
    }

    private void reopen() {
        var next = RedisClients.open(config);
        boolean isAnswered = false;
        try {
            next.ping();
            isAnswered = true;
        } finally {
            if (!isAnswered) {
                next.close();
            }
        }
        var before = client;
        client = next;
        if (before != null) {
            before.close();
        }
    }

    /** A Sentinel that answers, but not for this primary, throws neither of the subclasses. */
    private static boolean isRefusal(JedisException e) {
        String message = String.valueOf(e.getMessage());
        return e instanceof JedisDataException
                ? message.startsWith("WRONGPASS")
                        || message.startsWith("NOAUTH")
                        || message.startsWith("NOPERM")
                        || message.startsWith("ERR")
                : e.getClass() == JedisException.class && message.contains("not monitored");
    }

    /**
     * Runs one operation, if need be twice: a connection may have been cut while it rested. So the operation must give
     * the same result if Redis has already done it.
     *
     * @throws EngineException.ArchiveUnavailable if there is no answer
     */
    <T> T call(String operation, Function<UnifiedJedis, T> command) {
        var now = client;
        if (!isUp || now == null) {
            failures.increment();
            throw new EngineException.ArchiveUnavailable(operation + ": Redis at " + name + " does not answer");
        }
        try {
            T answer = once(now, command);
            failuresInRow.set(0);
            return answer;
        } catch (JedisException e) {
            failures.increment();
            boolean isAway = e instanceof JedisConnectionException && failuresInRow.incrementAndGet() >= FAILURES_MAX;
            if (isAway || isReplica(e)) {
                down(e);
            }
            throw new EngineException.ArchiveUnavailable(operation + ": Redis at " + name + ": " + e.getMessage(), e);
        }
    }

    private static <T> T once(UnifiedJedis client, Function<UnifiedJedis, T> command) {
        try {
            return command.apply(client);
        } catch (JedisConnectionException e) {
            RedisClients.dropIdle(client);
            return command.apply(client);
        }
    }

    /**
     * Whether the primary has become a replica and must be looked for anew, at once: a replica answers all questions
     * well. Before version 7 Redis says so inside of another error.
     */
    private static boolean isReplica(JedisException e) {
        return String.valueOf(e.getMessage()).contains("READONLY");
    }

    private void down(JedisException e) {
        if (isUp) {
            isUp = false;
            LOG.log(
                    System.Logger.Level.WARNING,
                    "event=redis_down redis=\"{0}\" reason=\"{1}\"",
                    name,
                    e.getCause() == null
                            ? e.getMessage()
                            : e.getMessage() + ": " + e.getCause().getMessage());
        }
    }

    private void probe() {
        try {
            while (!isClosing) {
                Thread.sleep(PROBE_INTERVAL);
                try {
                    ask();
                } catch (JedisException e) {
                    // The end of the server interrupts a question too, and a wait for the pool forgets that it was.
                    if (!isClosing && failuresInRow.incrementAndGet() >= FAILURES_MAX) {
                        down(e);
                    }
                } catch (RuntimeException e) {
                    LOG.log(System.Logger.Level.ERROR, "event=redis_probe_failed redis=\"" + name + "\"", e);
                }
            }
        } catch (InterruptedException e) {
            LOG.log(System.Logger.Level.DEBUG, "event=redis_left redis=\"{0}\"", name);
        }
    }

    private void ask() {
        var now = client;
        if (isUp && now != null) {
            once(now, UnifiedJedis::ping);
            failuresInRow.set(0);
        } else {
            reopen();
            failuresInRow.set(0);
            upNanos = System.nanoTime();
            isUp = true;
            LOG.log(System.Logger.Level.INFO, "event=redis_up redis=\"{0}\"", name);
        }
        beat();
    }

    /** What answers is up, whether or not it takes this. */
    private void beat() {
        var now = client;
        if (now != null) {
            try {
                pulse.accept(now);
            } catch (JedisException e) {
                LOG.log(System.Logger.Level.DEBUG, "event=redis_refused redis=\"" + name + "\"", e);
            }
        }
    }

    /** Whether it answered last. */
    boolean isUp() {
        return isUp;
    }

    /** Whether it has answered all that time. */
    boolean isUpFor(Duration time) {
        return isUp && System.nanoTime() - upNanos > time.toNanos();
    }

    /** Calls that failed. */
    long failureCount() {
        return failures.sum();
    }

    @Override
    public void close() {
        isClosing = true;
        probe.interrupt();
        try {
            probe.join(CLOSE_TIME_MAX.toMillis());
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
        var last = client;
        if (last != null) {
            last.close();
        }
    }
}
