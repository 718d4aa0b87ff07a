package basalt.server.http;

import basalt.engine.Generation;
import basalt.engine.session.SessionTurn;
import basalt.server.api.AnswerWriter;
import basalt.server.api.ChoiceOutput;
import basalt.server.api.JsonBuffer;
import basalt.server.api.Problem;
import basalt.server.api.ProblemCode;
import basalt.server.api.ProblemException;
import basalt.server.observe.Metrics;
import basalt.server.observe.RequestSpan;
import io.helidon.http.HeaderName;
import io.helidon.http.HeaderNames;
import io.helidon.http.Status;
import io.helidon.webserver.CloseConnectionException;
import io.helidon.webserver.http.ServerRequest;
import io.helidon.webserver.http.ServerResponse;
import java.util.List;
import java.util.function.Supplier;

/**
 * Reads generations into answers: whole, as a stream, or as one that outlives its connection. Safe for use by any
 * number of threads.
 */
final class Answers {
    private static final System.Logger LOG = System.getLogger(Answers.class.getName());
    private static final Problem SLOW_READER =
            Problem.of(ProblemCode.SLOW_READER, "The answer was not read for too long and is cut here.");

    static final Problem SESSION_DELETED = Problem.of(
            ProblemCode.SESSION_DELETED, "The session was deleted while this turn of it ran, so the answer ends here.");

    static final Problem TOO_LATE = Problem.of(
            ProblemCode.DEADLINE_EXCEEDED,
            "The deadline passed before the first token; give it more time, or send it when the server is less busy.");
    private static final HeaderName STREAM_ID = HeaderNames.create("X-Stream-Id");

    private final Gate gate;
    private final Connections connections;
    private final Clock clock;
    private final ReplayStreams streams;
    private final Metrics metrics;

    Answers(Gate gate, Connections connections, Clock clock, ReplayStreams streams, Metrics metrics) {
        this.gate = gate;
        this.connections = connections;
        this.clock = clock;
        this.streams = streams;
        this.metrics = metrics;
    }

    /** How an answer reaches its client. */
    enum Delivery {
        /** At once, when it is known. */
        WHOLE,
        /** As it grows; a client that goes ends it. */
        STREAM,
        /** As it grows; a client that goes may come back. */
        RESUMABLE;

        static Delivery of(boolean isStreamed, boolean isResumable) {
            return isResumable ? RESUMABLE : isStreamed ? STREAM : WHOLE;
        }
    }

    /**
     * What is asked for, by whom, and how it is answered.
     *
     * @param end done once the answer has ended, well or not
     */
    record Order(String tenant, AnswerWriter writer, Delivery delivery, Runnable end) {}

    /**
     * Answers a request, on its connection's thread.
     *
     * @param submission hands the request to the engine
     */
    void send(Order order, Supplier<List<Generation>> submission, ServerRequest request, ServerResponse response) {
        if (order.delivery() == Delivery.RESUMABLE) {
            replay(begin(order, submission, request), 0, response);
            return;
        }
        try {
            sendBound(order, submission, request, response);
        } finally {
            order.end().run();
        }
    }

    /** Lets a stream be written by a thread of its own. */
    private ReplayStream begin(Order order, Supplier<List<Generation>> submission, ServerRequest request) {
        ReplayStream stream = null;
        boolean isBegun = false;
        try {
            ReplayStream opened = streams.open(order.tenant());
            stream = opened;
            List<Generation> generations = submission.get();
            Runnable leave = KeyLease.of(request).keep(); // it counts as open until it ends, with or without a reader
            Thread.ofVirtual().name(opened.id()).start(() -> write(opened, order, generations, leave));
            isBegun = true;
            return opened;
        } finally {
            if (!isBegun) {
                if (stream != null) {
                    streams.drop(stream);
                }
                order.end().run();
            }
        }
    }

    private void sendBound(
            Order order, Supplier<List<Generation>> submission, ServerRequest request, ServerResponse response) {
        Inbound inbound = connections.currentInbound();
        List<Generation> generations = submission.get();
        try (var readers = new GenerationReaders(
                generations,
                order.writer(),
                metrics,
                TracingFilter.span(request),
                () -> cancellation(inbound, generations))) {
            inbound.watch(() -> generations.forEach(Generation::close));
            if (order.delivery() == Delivery.STREAM) {
                stream(readers, order.writer(), response);
            } else {
                send(readers, order.writer(), response);
            }
        }
    }

    /** Why a generation was cancelled that nobody here cancelled. */
    private RuntimeException cancellation(Inbound inbound, List<Generation> generations) {
        return inbound.isGone() ? new CloseConnectionException("the client has gone") : cancellation(generations);
    }

    private ProblemException cancellation(List<Generation> generations) {
        if (generations.stream().anyMatch(Answers::isSessionDeleted)) {
            return new ProblemException(SESSION_DELETED);
        }
        return new ProblemException(gate.isClosed() ? Problem.stopping() : SLOW_READER);
    }

    /** Whether a generation is the turn of a session that was deleted meanwhile. */
    static boolean isSessionDeleted(Generation generation) {
        return generation instanceof SessionTurn turn && turn.isSessionDeleted();
    }

    private static void send(GenerationReaders readers, AnswerWriter writer, ServerResponse response) {
        readers.read(outputs -> {});
        if (readers.outputs().stream().allMatch(ChoiceOutput::isTooLate)) {
            throw new ProblemException(TOO_LATE);
        }
        byte[] whole = writer.whole(readers.outputs(), readers.usage());
        response.header(HeaderNames.CONTENT_TYPE, "application/json");
        response.send(whole);
    }

    private void stream(GenerationReaders readers, AnswerWriter writer, ServerResponse response) {
        try (var events = new EventStream(response)) {
            clock.add(events);
            try {
                write(readers, writer, events);
            } finally {
                clock.remove(events);
            }
        }
    }

    private static void write(GenerationReaders readers, AnswerWriter writer, EventSink events) {
        var begin = new JsonBuffer();
        writer.writeBegin(begin);
        if (begin.length() > 0) {
            events.write(begin);
        }
        var end = new JsonBuffer();
        try {
            readers.read(outputs -> writeChunks(outputs, writer, events));
            writer.writeEnd(end, readers.usage());
        } catch (ProblemException e) {
            end.clear();
            writer.writeFailure(end, e.problem());
        }
        events.write(end);
    }

    /** Several prompts are read by threads of their own, so each call has a buffer of its own. */
    private static void writeChunks(List<ChoiceOutput> outputs, AnswerWriter writer, EventSink events) {
        var chunks = new JsonBuffer();
        for (ChoiceOutput output : outputs) {
            if (output.hasNews()) {
                writer.writeChunks(chunks, output);
            }
        }
        if (chunks.length() > 0) {
            events.write(chunks);
        }
    }

    /**
     * Writes a stream that does not know of connections, on a thread of its own. The request's span ends with the
     * connection, so it does not tell how the stream ends.
     */
    private void write(ReplayStream stream, Order order, List<Generation> generations, Runnable leave) {
        stream.onClose(() -> generations.forEach(Generation::close));
        try (var readers = new GenerationReaders(
                generations, order.writer(), metrics, RequestSpan.none(), () -> cancellation(generations))) {
            write(readers, order.writer(), stream);
        } catch (CloseConnectionException e) {
            LOG.log(System.Logger.Level.DEBUG, "event=stream_cut stream={0}", stream.id());
        } finally {
            order.end().run();
            leave.run();
            stream.end();
        }
    }

    /** Reads generations to their ends for nobody who waits; the order's writer keeps what becomes of them. */
    void collect(Order order, List<Generation> generations) {
        try (var readers = new GenerationReaders(
                generations, order.writer(), metrics, RequestSpan.none(), () -> cancellation(generations))) {
            readers.read(outputs -> writeChunks(outputs, order.writer(), chunks -> {}));
            order.writer().whole(readers.outputs(), readers.usage());
        } catch (ProblemException e) {
            keepFailure(order.writer(), e.problem());
        } catch (CloseConnectionException e) {
            keepFailure(order.writer(), Problem.stopping());
        } finally {
            order.end().run();
        }
    }

    private static void keepFailure(AnswerWriter writer, Problem problem) {
        try {
            writer.writeFailure(new JsonBuffer(), problem);
        } catch (ProblemException e) {
            boolean isDropped = e.problem().code() == ProblemCode.SESSION_NOT_FOUND; // nobody wants to know
            LOG.log(
                    isDropped ? System.Logger.Level.DEBUG : System.Logger.Level.ERROR,
                    "event=answer_lost code={0}",
                    e.problem().code().code());
        }
    }

    /**
     * Sends a stream to whoever reads it now, on the connection's thread.
     *
     * @param from index of the first event to send
     * @throws ProblemException if that is not kept any more, or was never written
     */
    void replay(ReplayStream stream, long from, ServerResponse response) {
        try (var reader = stream.reader(from)) {
            connections.currentInbound().watch(reader::close);
            response.header(STREAM_ID, stream.id());
            if (reader.isAtEnd()) {
                // A browser's EventSource would take an empty stream for a lost one and come back for ever.
                response.status(Status.NO_CONTENT_204);
                response.send();
                return;
            }
            try (var events = new EventStream(response)) {
                clock.add(events);
                try {
                    for (var next = reader.next(); next.isPresent(); next = reader.next()) {
                        events.write(new JsonBuffer().raw(next.get()));
                    }
                } finally {
                    clock.remove(events);
                }
            }
        } catch (InterruptedException e) {
            throw new CloseConnectionException("the server closes", e);
        }
    }
}
