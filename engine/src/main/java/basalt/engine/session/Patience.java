package basalt.engine.session;

import java.time.Duration;

/** How long somebody waits for the end of a session's turn. Any thread may end it, as when there is nobody any more. */
public final class Patience {
    private final long startNanos = System.nanoTime();
    private final long nanos;
    private volatile boolean isOver;
    private volatile Runnable wake = () -> {};

    /** Patience for so long from now on. */
    public Patience(Duration bound) {
        nanos = bound.toNanos();
    }

    /** Time since it began. */
    Duration waited() {
        return Duration.ofNanos(System.nanoTime() - startNanos);
    }

    /** Nobody waits any more. */
    public void end() {
        isOver = true;
        wake.run();
    }

    boolean isOver() {
        return isOver;
    }

    long nanos() {
        return nanos;
    }

    /** What wakes the waiting thread, so that it asks {@link #isOver}. */
    void onEnd(Runnable action) {
        wake = action;
    }
}
