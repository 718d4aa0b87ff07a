package basalt.engine.session;

import basalt.engine.EngineException;
import java.util.concurrent.atomic.AtomicLong;

/** A count of bytes that are kept, within a bound. Safe for use by any number of threads. */
final class BoundedBytes {
    private final long max;
    private final String what;
    private final String advice;
    private final AtomicLong count = new AtomicLong();

    /**
     * Counts none yet.
     *
     * @param what takes the bytes, and which room they take
     * @param advice for whoever needs more
     */
    BoundedBytes(long max, String what, String advice) {
        this.max = max;
        this.what = what;
        this.advice = advice;
    }

    /**
     * Counts bytes that are about to be kept.
     *
     * @throws EngineException.SessionsFull if they would go beyond the bound; then they are not counted
     */
    void hold(long more) {
        if (count.addAndGet(more) > max && more > 0) {
            count.addAndGet(-more);
            throw new EngineException.SessionsFull(what + ", " + max + " bytes; " + advice);
        }
    }

    /** Counts bytes that are kept already, or with a minus sign are kept no more. */
    void add(long change) {
        count.addAndGet(change);
    }
}
