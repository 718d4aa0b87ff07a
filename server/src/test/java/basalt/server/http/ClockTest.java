package basalt.server.http;

import static org.junit.jupiter.api.Assertions.assertTrue;

import java.time.Duration;
import java.util.List;
import java.util.OptionalInt;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

class ClockTest {
    private static final Duration TICK = Duration.ofMillis(4);
    private static final HttpConfig CONFIG = new HttpConfig(
            "127.0.0.1",
            0,
            OptionalInt.empty(),
            new HttpConfig.Limits(1_000, 1_000, 0),
            new HttpConfig.Timeouts(TICK, TICK, TICK, TICK, TICK),
            HttpConfig.Access.OPEN,
            new HttpConfig.Resume(TICK, 1_000, 8),
            Duration.ofHours(1));

    static List<Runnable> failures() {
        return List.of(
                () -> {
                    throw new IllegalStateException("a test");
                },
                () -> {
                    throw new OutOfMemoryError("a test");
                });
    }

    @ParameterizedTest
    @MethodSource("failures")
    void goesOnWhenAnActionFails(Runnable failure) throws InterruptedException {
        var streams = new ReplayStreams(CONFIG.resume(), false);
        var failed = new CountDownLatch(1);
        var expired = new CountDownLatch(1);
        streams.open("mine").onClose(() -> {
            failed.countDown();
            failure.run();
        });
        var clock = new Clock(new Connections(CONFIG), CONFIG.timeouts(), streams);
        try {
            assertTrue(failed.await(60, TimeUnit.SECONDS));

            streams.open("mine").onClose(expired::countDown);

            assertTrue(expired.await(10, TimeUnit.SECONDS), "its thread has ended");
        } finally {
            clock.close();
        }
    }
}
