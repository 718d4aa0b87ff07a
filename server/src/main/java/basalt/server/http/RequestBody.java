package basalt.server.http;

import basalt.server.api.Problem;
import basalt.server.api.ProblemCode;
import basalt.server.api.ProblemException;
import io.helidon.common.buffers.DataReader;
import io.helidon.http.DirectHandler;
import io.helidon.http.HttpMediaType;
import io.helidon.http.RequestException;
import io.helidon.webserver.CloseConnectionException;
import io.helidon.webserver.http.ServerRequest;
import java.io.IOException;
import java.io.InputStream;
import java.util.Optional;

/** Reads the bodies of requests. Their size is bounded by the listener. */
final class RequestBody {
    private RequestBody() {}

    /** The bytes of a body that says it is JSON, or says nothing. */
    static byte[] json(ServerRequest request) {
        Optional<HttpMediaType> type;
        try {
            type = request.headers().contentType();
        } catch (IllegalArgumentException e) {
            throw unsupported();
        }
        if (type.isPresent() && !isJson(type.get())) {
            throw unsupported();
        }
        if (!request.content().hasEntity()) {
            return new byte[0];
        }
        return readAll(request.content().inputStream());
    }

    /** The bytes of a body of any type. */
    static byte[] octets(ServerRequest request) {
        return request.content().hasEntity() ? readAll(request.content().inputStream()) : new byte[0];
    }

    /**
     * Never closes the stream: Helidon would go on reading what it takes for the rest of a body that it did not
     * understand.
     */
    private static byte[] readAll(InputStream in) {
        try {
            return in.readAllBytes();
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
