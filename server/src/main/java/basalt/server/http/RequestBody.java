package basalt.server.http;

import basalt.server.api.Problem;
import basalt.server.api.ProblemCode;
import basalt.server.api.ProblemException;
import io.helidon.common.buffers.DataReader;
import io.helidon.http.DirectHandler;
import io.helidon.http.HttpMediaType;
import io.helidon.http.RequestException;
import io.helidon.http.Status;
import io.helidon.webserver.CloseConnectionException;
import io.helidon.webserver.http.ServerRequest;
import java.io.IOException;
import java.io.InputStream;
import java.util.Optional;

/** Reads the bodies of requests, up to a bound. */
final class RequestBody {
    private final long bytesMax;

    /** @param bytesMax of a body, unless a caller says otherwise */
    RequestBody(long bytesMax) {
        this.bytesMax = bytesMax;
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
        return octets(request, bytesMax);
    }

    /**
     * The bytes of a body of any type.
     *
     * @param most that are read
     */
    static byte[] octets(ServerRequest request, long most) {
        if (request.headers().contentLength().orElse(0) > most) {
            throw tooLarge();
        }
        return request.content().hasEntity() ? readAll(request.content().inputStream(), most) : new byte[0];
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
    private static byte[] readAll(InputStream in, long most) {
        try {
            byte[] body = in.readNBytes((int) Math.min(Integer.MAX_VALUE, most + 1));
            if (body.length > most) {
                throw tooLarge();
            }
            return body;
        } catch (IOException e) {
            throw new CloseConnectionException("the body did not arrive", e);
        } catch (IllegalArgumentException | DataReader.IncorrectNewLineException e) {
            throw RequestException.builder()
                    .type(DirectHandler.EventType.BAD_REQUEST)
                    .setKeepAlive(false)
                    .message("the chunks of the body cannot be read")
                    .cause(e)
                    .build();
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
