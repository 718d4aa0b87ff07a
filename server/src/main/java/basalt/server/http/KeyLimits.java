package basalt.server.http;

import basalt.server.api.Problem;
import basalt.server.api.ProblemCode;
import basalt.server.api.ProblemException;
import java.util.Arrays;
import java.util.Locale;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.ReentrantLock;
import java.util.function.LongSupplier;

/**
 * What each API key may ask for: requests open at once, and requests a minute. The latter is a bucket that holds a
 * minute's worth and fills evenly. Safe for use by any number of threads.
 */
final class KeyLimits {
    private static final double NANOS_PER_MINUTE = TimeUnit.MINUTES.toNanos(1);
    private static final long OPEN_RETRY_SECONDS = 1;

    private final int openMax; // 0 for no limit
    private final int ratePerMinute; // 0 for no limit
    private final LongSupplier nanoTime;
    private final ReentrantLock lock = new ReentrantLock(); // guards what follows
    private final int[] openCounts; // of each key
    private final double[] allowances; // of each key, requests
    private final long[] filledNanos; // of each key

    /**
     * Nothing is open and every bucket full.
     *
     * @param keyCount keys; the one of nobody counts too
     * @param nanoTime the clock
     */
    KeyLimits(int keyCount, HttpConfig.Access access, LongSupplier nanoTime) {
        this.openMax = access.keyRequestsMax();
        this.ratePerMinute = access.keyRateMax();
        this.nanoTime = nanoTime;
        openCounts = new int[keyCount];
        allowances = new double[keyCount];
        filledNanos = new long[keyCount];
        Arrays.fill(allowances, ratePerMinute);
        Arrays.fill(filledNanos, nanoTime.getAsLong());
    }

    /**
     * Takes a request in; {@link #leave} must follow.
     *
     * @throws ProblemException if it exceeds a limit, which it names
     */
    void enter(int key) {
        lock.lock();
        try {
            if (openMax > 0 && openCounts[key] >= openMax) {
                String message = "This API key has " + openMax + " requests open and may not have more"
                        + " (key-requests-max); wait for one to end.";
                throw new ProblemException(
                        Problem.retryable(ProblemCode.KEY_CONCURRENCY_EXCEEDED, message, OPEN_RETRY_SECONDS));
            }
            takeAllowance(key);
            openCounts[key]++;
        } finally {
            lock.unlock();
        }
    }

    /** Call only when holding lock. */
    private void takeAllowance(int key) {
        if (ratePerMinute == 0) {
            return;
        }
        long now = nanoTime.getAsLong();
        double filled = (now - filledNanos[key]) / NANOS_PER_MINUTE * ratePerMinute;
        allowances[key] = Math.min(ratePerMinute, allowances[key] + filled);
        filledNanos[key] = now;
        if (allowances[key] < 1) {
            double seconds = (1 - allowances[key]) * 60 / ratePerMinute;
            String message = String.format(
                    Locale.ROOT,
                    "This API key may send %d requests a minute (key-rate-max); the next one in %.1f s.",
                    ratePerMinute,
                    seconds);
            throw new ProblemException(
                    Problem.retryable(ProblemCode.KEY_RATE_EXCEEDED, message, (long) Math.ceil(seconds)));
        }
        allowances[key]--;
    }

    /** A request that was taken in has ended. */
    void leave(int key) {
        lock.lock();
        try {
            assert openCounts[key] > 0 : key;
            openCounts[key]--;
        } finally {
            lock.unlock();
        }
    }
}
