package basalt.server.http;

import basalt.server.api.Problem;
import basalt.server.api.ProblemCode;
import basalt.server.api.ProblemException;
import java.security.SecureRandom;
import java.util.Comparator;
import java.util.HexFormat;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.locks.ReentrantLock;
import java.util.stream.Collectors;

/** The streams that outlive their connections, each for a while. Safe for use by any number of threads. */
final class ReplayStreams implements AutoCloseable {
    private static final int ID_BYTES = 16;

    private final HttpConfig.Resume bounds;
    private final boolean isShared;
    private final SecureRandom random = new SecureRandom();
    private final ConcurrentHashMap<String, ReplayStream> streams = new ConcurrentHashMap<>();
    private final ReentrantLock opening = new ReentrantLock();

    /** @param isShared whether there are several tenants */
    ReplayStreams(HttpConfig.Resume bounds, boolean isShared) {
        this.bounds = bounds;
        this.isShared = isShared;
    }

    /**
     * A new stream. If there are as many as there may be, one makes room that has ended and that nobody reads, of the
     * tenant that has most, the one left first. Where others have keys too, a tenant may have as many in use as it
     * leaves free: one alone half of all, two a third each.
     *
     * @throws ProblemException if all of them, or all of the tenant's share, are in use
     */
    ReplayStream open(String tenant) {
        opening.lock();
        try {
            requireShare(tenant);
            if (streams.size() >= bounds.countMax()) {
                idlest().ifPresent(this::drop);
            }
            if (streams.size() >= bounds.countMax()) {
                throw full("The server keeps " + bounds.countMax() + " resumable streams and all are in use;"
                        + " leave resumable out, or try later.");
            }
            var bytes = new byte[ID_BYTES];
            random.nextBytes(bytes);
            var stream = new ReplayStream("stream_" + HexFormat.of().formatHex(bytes), tenant, bounds);
            streams.put(stream.id(), stream);
            return stream;
        } finally {
            opening.unlock();
        }
    }

    /** Call only when holding the lock of opening. */
    private void requireShare(String tenant) {
        if (!isShared) {
            return;
        }
        var inUse = streams.values().stream().filter(stream -> !stream.isIdle()).toList();
        long own = inUse.stream().filter(stream -> stream.isOf(tenant)).count();
        if (own > 0 && own >= bounds.countMax() - inUse.size()) {
            throw full("This API key has " + own + " resumable streams in use, its share of the " + bounds.countMax()
                    + " that the server keeps; end or DELETE one, leave resumable out, or try later.");
        }
    }

    private ProblemException full(String message) {
        return new ProblemException(Problem.retryable(
                ProblemCode.STREAMS_FULL, message, bounds.window().toSeconds()));
    }

    /** Of those that have ended and that nobody reads, the one that goes first. */
    private Optional<ReplayStream> idlest() {
        Map<String, Long> counts =
                streams.values().stream().collect(Collectors.groupingBy(ReplayStream::tenant, Collectors.counting()));
        return streams.values().stream()
                .filter(ReplayStream::isIdle)
                .max(Comparator.<ReplayStream>comparingLong(stream -> counts.get(stream.tenant()))
                        .thenComparingLong(ReplayStream::idleNanos));
    }

    /**
     * A tenant's stream.
     *
     * @throws ProblemException if there is none, or it is another's
     */
    ReplayStream require(String tenant, String id) {
        var stream = streams.get(id);
        if (stream == null || !stream.isOf(tenant)) {
            throw new ProblemException(
                    Problem.of(ProblemCode.STREAM_NOT_FOUND, "There is no stream " + id + ", or its time is over."));
        }
        return stream;
    }

    /** Drops a stream, and ends what writes it. */
    void drop(ReplayStream stream) {
        streams.remove(stream.id());
        stream.close();
    }

    /** Drops what nobody has come back to. Called every now and then. */
    void expire() {
        for (var stream : streams.values()) {
            if (stream.isAbandoned(bounds.window())) {
                drop(stream);
            }
        }
    }

    /** Whether any is not at its end. */
    boolean isAnyWritten() {
        return streams.values().stream().anyMatch(stream -> !stream.isEnded());
    }

    int count() {
        return streams.size();
    }

    @Override
    public void close() {
        streams.values().forEach(this::drop);
    }
}
