package basalt.server.redis;

import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import basalt.server.fixture.RedisServer;
import java.io.IOException;
import java.nio.file.Path;
import java.time.Duration;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.function.Consumer;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import redis.clients.jedis.UnifiedJedis;
import redis.clients.jedis.exceptions.JedisException;

/** The thread that watches a Redis, and how it ends. */
class RedisLinkTest {
    private static final Duration TIMEOUT = Duration.ofSeconds(20);

    @TempDir
    private Path folder;

    private RedisServer redis;

    @BeforeEach
    void start() throws IOException {
        assumeTrue(RedisServer.isInstalled(), RedisServer.whyNot());
        redis = RedisServer.start(folder);
    }

    @AfterEach
    void stop() {
        redis.close();
    }

    /** What the thread that watches does once a second. */
    private interface Pulse {
        void beat() throws InterruptedException;
    }

    /** Not the first time, which is that of the start. */
    private RedisLink link(Pulse pulse) {
        var hasStarted = new CountDownLatch(1);
        Consumer<UnifiedJedis> beat = client -> {
            if (hasStarted.getCount() == 0) {
                try {
                    pulse.beat();
                } catch (InterruptedException e) {
                    throw new JedisException("as the pool does it", e);
                }
            }
            hasStarted.countDown();
        };
        return new RedisLink(new RedisConfig(RedisUrl.parse(redis.url()).orElseThrow(), TIMEOUT, TIMEOUT), beat);
    }

    private static void await(CountDownLatch latch) throws InterruptedException {
        assertTrue(latch.await(60, TimeUnit.SECONDS));
    }

    /** Whether it has ended before it gives up waiting for its thread. */
    private static boolean closesAtOnce(RedisLink link) throws InterruptedException {
        long began = System.nanoTime();
        var closing = Thread.ofPlatform().daemon().start(link::close);
        assertTrue(closing.join(Duration.ofSeconds(60)), "it hangs");
        return System.nanoTime() - began < RedisLink.CLOSE_TIME_MAX.toNanos();
    }

    @Test
    void closesThoughTheInterruptIsForgotten() throws InterruptedException {
        var waits = new CountDownLatch(1);
        var never = new CountDownLatch(1);
        var link = link(() -> {
            waits.countDown();
            never.await();
        });
        link.start();
        await(waits);

        assertTrue(closesAtOnce(link));
    }

    @Test
    void closesThoughItsThreadHangs() throws InterruptedException {
        var hangs = new CountDownLatch(1);
        var released = new CountDownLatch(1);
        var link = link(() -> {
            hangs.countDown();
            boolean isOver = false;
            while (!isOver) {
                try {
                    released.await();
                    isOver = true;
                } catch (InterruptedException e) {
                    // As a look-up of a name takes it.
                }
            }
        });
        link.start();
        await(hangs);

        boolean isAtOnce = closesAtOnce(link);

        released.countDown();
        assertFalse(isAtOnce);
    }

    @Test
    void watchesOnAfterAFailureThatNoneExpects() throws InterruptedException {
        var beats = new CountDownLatch(2);
        try (var link = link(() -> {
            beats.countDown();
            throw new IllegalStateException("a test");
        })) {
            link.start();

            await(beats);

            assertTrue(link.isUp());
        }
    }
}
