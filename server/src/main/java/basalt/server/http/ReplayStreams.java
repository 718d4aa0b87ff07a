package basalt.server.http;

import basalt.server.api.Problem;
import basalt.server.api.ProblemCode;
import basalt.server.api.ProblemException;
import java.security.SecureRandom;
import java.util.HexFormat;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.locks.ReentrantLock;

/** The streams that outlive their connections, each for a while. Safe for use by any number of threads. */
final class ReplayStreams implements AutoCloseable {
    private static final int ID_BYTES = 16;

    private final HttpConfig.Resume bounds;
    private final SecureRandom random = new SecureRandom();
    private final ConcurrentHashMap<String, ReplayStream> streams = new ConcurrentHashMap<>();
    private final ReentrantLock opening = new ReentrantLock();

    ReplayStreams(HttpConfig.Resume bounds) {
        this.bounds = bounds;
    }

    /**
     * A new stream. If there are as many as there may be, one that has ended and that nobody reads makes room.
     *
     * @throws ProblemException if all of them are in use
     */
    ReplayStream open(String tenant) {
        opening.lock();
        try {
            if (streams.size() >= bounds.countMax()) {
                streams.values().stream().filter(ReplayStream::isIdle).findAny().ifPresent(this::drop);
            }
            if (streams.size() >= bounds.countMax()) {
                throw new ProblemException(Problem.retryable(
                        ProblemCode.STREAMS_FULL,
                        "The server keeps " + bounds.countMax()
                                + " resumable streams and all are in use; leave resumable out, or try later.",
                        bounds.window().toSeconds()));
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
