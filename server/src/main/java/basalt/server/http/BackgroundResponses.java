package basalt.server.http;

import basalt.engine.Generation;
import basalt.server.api.ResponseWriter;
import io.helidon.webserver.CloseConnectionException;
import io.helidon.webserver.http.ServerRequest;
import java.time.Duration;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.function.Supplier;
import org.jspecify.annotations.Nullable;

/**
 * The responses that are made without their clients, each by a thread of its own. Their number is bounded by what the
 * engine takes. Safe for use by any number of threads.
 */
final class BackgroundResponses implements AutoCloseable {
    private static final System.Logger LOG = System.getLogger(BackgroundResponses.class.getName());
    private static final Duration END = Duration.ofSeconds(5);

    private final Answers answers;
    private final ConcurrentHashMap<String, Running> running = new ConcurrentHashMap<>();

    BackgroundResponses(Answers answers) {
        this.answers = answers;
    }

    @SuppressWarnings("ArrayRecordComponent") // never compared
    private record Running(
            String tenant, ResponseWriter writer, byte[] begun, List<Generation> generations, CountDownLatch end) {}

    /**
     * Lets a response be made.
     *
     * @param submission hands the request to the engine
     * @return the response as it is now
     */
    byte[] begin(
            Answers.Order order, ResponseWriter writer, Supplier<List<Generation>> submission, ServerRequest request) {
        byte[] begun = writer.begun();
        boolean isBegun = false;
        try {
            var response = new Running(order.tenant(), writer, begun, submission.get(), new CountDownLatch(1));
            running.put(writer.id(), response);
            Runnable leave = KeyLease.of(request).keep(); // it counts as open until it ends
            Thread.ofVirtual().name(writer.id()).start(() -> make(order, response, leave));
            isBegun = true;
            return begun;
        } finally {
            if (!isBegun) {
                order.end().run();
            }
        }
    }

    private void make(Answers.Order order, Running response, Runnable leave) {
        try {
            answers.collect(order, response.generations());
        } finally {
            running.remove(response.writer().id());
            response.end().countDown();
            leave.run();
        }
    }

    private @Nullable Running running(String tenant, String id) {
        var response = running.get(id);
        return response != null && response.tenant().equals(tenant) ? response : null;
    }

    /** A tenant's response that has not ended, as it was when it began. */
    Optional<byte[]> find(String tenant, String id) {
        return Optional.ofNullable(running(tenant, id)).map(Running::begun);
    }

    /** Ends a tenant's response and waits for that; does nothing if it has ended. */
    void cancel(String tenant, String id) {
        var response = running(tenant, id);
        if (response != null) {
            response.writer().cancel();
            response.generations().forEach(Generation::close);
            try {
                response.end().await();
            } catch (InterruptedException e) {
                throw new CloseConnectionException("the server closes", e);
            }
        }
    }

    /** Ends all of them, so that they say so where they are stored. Call once no request is let in any more. */
    @Override
    public void close() {
        var left = List.copyOf(running.values());
        left.forEach(response -> response.generations().forEach(Generation::close));
        long endNanos = System.nanoTime() + END.toNanos();
        try {
            for (var response : left) {
                if (!response.end().await(endNanos - System.nanoTime(), TimeUnit.NANOSECONDS)) {
                    LOG.log(
                            System.Logger.Level.WARNING,
                            "event=response_not_ended id={0}",
                            response.writer().id());
                }
            }
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
    }

    /** Whether any has not ended. */
    boolean isAnyRunning() {
        return !running.isEmpty();
    }
}
