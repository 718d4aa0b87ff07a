package basalt.server.observe;

import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicReference;
import java.util.function.LongSupplier;
import java.util.function.Supplier;
import org.jspecify.annotations.Nullable;

/** A reading that is dear, taken for all metrics of one scrape at once. Safe for use by any number of threads. */
final class Remembered<T> implements Supplier<T> {
    private static final long NANOS = TimeUnit.MILLISECONDS.toNanos(200);

    private final Supplier<T> source;
    private final LongSupplier nanoTime;
    private final AtomicReference<@Nullable Reading<T>> last = new AtomicReference<>();

    private record Reading<T>(T value, long nanos) {}

    Remembered(Supplier<T> source, LongSupplier nanoTime) {
        this.source = source;
        this.nanoTime = nanoTime;
    }

    @Override
    public T get() {
        var reading = last.get();
        long now = nanoTime.getAsLong();
        if (reading == null || now - reading.nanos() > NANOS) {
            reading = new Reading<>(source.get(), now);
            last.set(reading);
        }
        return reading.value();
    }
}
