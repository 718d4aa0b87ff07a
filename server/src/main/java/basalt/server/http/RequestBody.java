package basalt.server.http;

import basalt.server.api.Problem;
import basalt.server.api.ProblemCode;
import basalt.server.api.ProblemException;
import basalt.server.api.RequestTime;
import io.helidon.common.buffers.DataReader;
import io.helidon.http.DirectHandler;
import io.helidon.http.HttpMediaType;
import io.helidon.http.RequestException;
import io.helidon.http.Status;
import io.helidon.webserver.CloseConnectionException;
import io.helidon.webserver.http.ServerRequest;
import java.io.IOException;
import java.io.InputStream;
import java.util.Arrays;
import java.util.Optional;
import java.util.concurrent.CancellationException;
import java.util.function.Supplier;

/**
 * Reads the bodies of requests, each up to a bound and all that are being read at a time within a budget of memory: a
 * body may be sent slowly, or have texts that take long to encode, and by many clients. Safe for use by any number of
 * threads.
 */
final class RequestBody {
    /** What a body may hold without being counted; there may be ten thousand of them. */
    private static final int UNCOUNTED_BYTES = 8 * 1_024;

    private final HttpConfig.Limits limits;
    private final Connections connections;
    private final HeldBytes held;

    RequestBody(HttpConfig.Limits limits, Connections connections) {
        this.limits = limits;
        this.connections = connections;
        held = new HeldBytes(limits.bodiesBytesMax());
    }

    /** The bytes of a body that says it is JSON, or says nothing. */
    byte[] json(ServerRequest request) {
        Optional<HttpMediaType> type;
        try {
            type = request.headers().contentType();
        } catch (IllegalArgumentException e) {
            throw unsupported();
        }
        if (type.isPresent() && !isJson(type.get())) {
            throw unsupported();
        }
        return octets(request, limits.bodyBytesMax());
    }

    /**
     * The bytes of a body of any type.
     *
     * @param most that are read
     */
    byte[] octets(ServerRequest request, long most) {
        if (request.headers().contentLength().orElse(0) > most) {
            throw tooLarge();
        }
        byte[] body = request.content().hasEntity() ? readAll(request.content().inputStream(), most) : new byte[0];
        connections.currentInbound().bodyEnds();
        return body;
    }

    /**
     * Reads what a body asks for, which takes seconds if it has long texts: as long as the request has time and its
     * client is there. The body counts as held meanwhile. Called on the connection's thread.
     */
    <T> T reading(byte[] body, RequestTime time, Supplier<T> reading) {
        if (body.length <= UNCOUNTED_BYTES) {
            return reading(time, reading);
        }
        held.hold(body.length, 0);
        try {
            return reading(time, reading);
        } finally {
            held.release(body.length);
        }
    }

    /** The same of a body that is not known any more. */
    <T> T reading(RequestTime time, Supplier<T> reading) {
        connections.currentInbound().watch(time::end);
        try {
            return reading.get();
        } catch (CancellationException e) {
            if (time.leftNanos() == 0) {
                throw new ProblemException(Answers.TOO_LATE);
            }
            throw new CloseConnectionException("the client has gone", e);
        }
    }

    /** Sends an answer of so many bytes, which count as held for as long as its client takes to read it. */
    void whileHeld(long bytes, Runnable send) {
        held.hold(bytes, 0);
        try {
            send.run();
        } finally {
            held.release(bytes);
        }
    }

    private static RequestException tooLarge() {
        return RequestException.builder()
                .type(DirectHandler.EventType.OTHER)
                .status(Status.REQUEST_ENTITY_TOO_LARGE_413)
                .setKeepAlive(false)
                .message("The body is too large.")
                .build();
    }

    /**
     * Never closes the stream: Helidon would go on reading what it takes for the rest of a body that it did not
     * understand.
     */
    private byte[] readAll(InputStream in, long most) {
        long counted = 0;
        try {
            byte[] body = new byte[UNCOUNTED_BYTES];
            int length = 0;
            for (int read = in.read(body, 0, body.length);
                    read >= 0;
                    read = in.read(body, length, body.length - length)) {
                length += read;
                if (length > most) {
                    throw tooLarge();
                }
                if (length == body.length) {
                    held.hold(length, counted);
                    counted += length;
                    body = Arrays.copyOf(body, (int) Math.min(Integer.MAX_VALUE - Long.BYTES, 2L * length));
                }
            }
            return Arrays.copyOf(body, length);
        } catch (IOException e) {
            throw new CloseConnectionException("the body did not arrive", e);
        } catch (IllegalArgumentException | DataReader.IncorrectNewLineException e) {
            throw RequestException.builder()
                    .type(DirectHandler.EventType.BAD_REQUEST)
                    .setKeepAlive(false)
                    .message("the chunks of the body cannot be read")
                    .cause(e)
                    .build();
        } finally {
            held.release(counted);
        }
    }

    private static boolean isJson(HttpMediaType type) {
        return type.mediaType().type().equalsIgnoreCase("application")
                && type.mediaType().subtype().equalsIgnoreCase("json")
                && type.charset().map("utf-8"::equalsIgnoreCase).orElse(true);
    }

    private static ProblemException unsupported() {
        return new ProblemException(Problem.of(
                ProblemCode.UNSUPPORTED_MEDIA_TYPE,
                "The body must be JSON: send it with the header Content-Type: application/json."));
    }
}
