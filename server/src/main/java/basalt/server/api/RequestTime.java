package basalt.server.api;

import java.time.Duration;
import java.util.Optional;
import java.util.concurrent.CancellationException;

/**
 * The time that a request has, from when its body is read: until its deadline, if it has one, or until nobody waits for
 * its answer. Confined to the request's thread, but for {@link #end}.
 */
public final class RequestTime {
    private final long startNanos = System.nanoTime();
    private Optional<Duration> limit;
    private volatile boolean isEnded;
    private volatile Runnable wake = () -> {};

    /**
     * Begins now.
     *
     * @param header the value of {@link CompletionRequest#DEADLINE_HEADER}
     * @throws ProblemException if it is no number of seconds
     */
    public RequestTime(Optional<String> header) {
        limit = header.map(Deadline::parse);
    }

    /** Of a request that can have no deadline. */
    public static RequestTime withoutDeadline() {
        return new RequestTime(Optional.empty());
    }

    /** The deadline of the body; the header's counts if it is shorter. */
    void limit(Duration ofBody) {
        limit = limit.filter(time -> time.compareTo(ofBody) <= 0).or(() -> Optional.of(ofBody));
    }

    /** What is left, if there is a deadline. */
    public Optional<Duration> left() {
        return limit.map(time -> Duration.ofNanos(leftNanos(time)));
    }

    /** What is left, without a deadline very much. */
    public long leftNanos() {
        return limit.map(this::leftNanos).orElse(Long.MAX_VALUE);
    }

    private long leftNanos(Duration time) {
        return Math.max(0, time.toNanos() - (System.nanoTime() - startNanos));
    }

    /** Nobody waits any more. */
    public void end() {
        isEnded = true;
        wake.run();
    }

    /** Whether nobody waits any more. */
    public boolean isEnded() {
        return isEnded;
    }

    /** What {@link #end} does, at once if it was called already. */
    public void onEnd(Runnable action) {
        wake = action;
        if (isEnded) {
            action.run();
        }
    }

    /** Throws if there is no time left. */
    public void check() {
        if (isEnded || leftNanos() == 0) {
            throw new CancellationException("the request's time is over");
        }
    }
}
