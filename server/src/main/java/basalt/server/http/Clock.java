package basalt.server.http;

import io.helidon.webserver.CloseConnectionException;
import java.time.Duration;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;

/**
 * What must happen although nothing happens: comments in silent streams, the end of writes that a client does not read,
 * and of streams that nobody comes back to. One thread, which never writes itself.
 */
final class Clock implements AutoCloseable {
    private static final System.Logger LOG = System.getLogger(Clock.class.getName());
    private static final Duration TICK_MAX = Duration.ofMillis(250);
    private static final int TICKS_PER_TIMEOUT = 4;

    private final Connections connections;
    private final HttpConfig.Timeouts timeouts;
    private final ReplayStreams replays;
    private final Set<EventStream> streams = ConcurrentHashMap.newKeySet();
    private final Duration tick;
    private final Thread thread;

    Clock(Connections connections, HttpConfig.Timeouts timeouts, ReplayStreams replays) {
        this.connections = connections;
        this.replays = replays;
        this.timeouts = timeouts;
        long shortest = Math.min(
                timeouts.write().toNanos(), timeouts.keepAliveInterval().toNanos());
        tick = Duration.ofNanos(Math.min(TICK_MAX.toNanos(), shortest / TICKS_PER_TIMEOUT));
        thread = Thread.ofPlatform().daemon().name("http-clock").start(this::run);
    }

    void add(EventStream stream) {
        streams.add(stream);
    }

    void remove(EventStream stream) {
        streams.remove(stream);
    }

    private void run() {
        try {
            while (true) {
                Thread.sleep(tick);
                tick();
            }
        } catch (InterruptedException e) {
            // Closed.
        }
    }

    private void tick() {
        attempt("stuck_writes", () -> connections.interruptStuckWrites(timeouts.write()));
        attempt("replays", replays::expire);
        long interval = timeouts.keepAliveInterval().toNanos();
        for (EventStream stream : streams) {
            if (stream.silentNanos() > interval) {
                attempt("keep_alive", () -> Thread.startVirtualThread(() -> keepAlive(stream)));
            }
        }
    }

    /** What fails once may go well at the next tick, and the others must go on. */
    private static void attempt(String what, Runnable action) {
        try {
            action.run();
        } catch (RuntimeException | OutOfMemoryError e) {
            LOG.log(System.Logger.Level.ERROR, "event=clock_failed action=" + what, e);
        }
    }

    private static void keepAlive(EventStream stream) {
        try {
            stream.keepAlive();
        } catch (CloseConnectionException e) {
            // The client has gone, which the connection's own thread finds out by itself.
        }
    }

    @Override
    public void close() {
        thread.interrupt();
    }
}
