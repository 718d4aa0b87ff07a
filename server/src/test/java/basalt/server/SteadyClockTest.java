package basalt.server;

import static org.junit.jupiter.api.Assertions.assertEquals;

import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicLong;
import org.junit.jupiter.api.Test;

class SteadyClockTest {
    @Test
    void timeIsThatOfTheStartAndWhatHasPassedSince() {
        var nanos = new AtomicLong(Long.MAX_VALUE - 5);
        var clock = new SteadyClock(1_000, nanos::get);

        nanos.addAndGet(TimeUnit.SECONDS.toNanos(7));

        assertEquals(8_000, clock.millis());
    }
}
