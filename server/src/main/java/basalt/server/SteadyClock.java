package basalt.server;

import java.util.concurrent.TimeUnit;
import java.util.function.LongSupplier;

/**
 * The time since 1970 as it was at the start, and what has passed since. A system's clock that is set to another year
 * would end the lives of all sessions at once; this one does not follow it.
 */
final class SteadyClock {
    private final long startMillis;
    private final LongSupplier nanoTime;
    private final long startNanos;

    SteadyClock(long startMillis, LongSupplier nanoTime) {
        this.startMillis = startMillis;
        this.nanoTime = nanoTime;
        startNanos = nanoTime.getAsLong();
    }

    long millis() {
        return startMillis + TimeUnit.NANOSECONDS.toMillis(nanoTime.getAsLong() - startNanos);
    }
}
