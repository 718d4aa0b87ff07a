package basalt.server.http;

import basalt.engine.EngineException;
import basalt.server.api.Problem;
import basalt.server.api.ProblemCode;
import basalt.server.api.ProblemException;
import io.helidon.http.DirectHandler;
import io.helidon.http.HeaderNames;
import io.helidon.http.HeaderValues;
import io.helidon.http.Method;
import io.helidon.http.ServerResponseHeaders;
import io.helidon.http.Status;
import io.helidon.webserver.http.DirectHandlers;
import io.helidon.webserver.http.Handler;
import io.helidon.webserver.http.ServerRequest;
import io.helidon.webserver.http.ServerResponse;
import java.util.Optional;
import java.util.OptionalLong;
import org.jspecify.annotations.Nullable;

/** Turns failures into answers in OpenAI's form, those that Helidon finds in the protocol among them. */
final class ProblemResponses {
    private static final System.Logger LOG = System.getLogger(ProblemResponses.class.getName());

    private ProblemResponses() {}

    /**
     * A handler whose failures are answers. Helidon's own way to this takes the end of a connection, which a filter
     * asks for once an answer is sent, for a second failure.
     */
    static Handler answering(Handler handler) {
        return (request, response) -> {
            try {
                handler.handle(request, response);
            } catch (ProblemException e) {
                send(request, response, e.problem());
            } catch (EngineException e) {
                send(request, response, problem(e));
            }
        };
    }

    /** What a client is told of a failure, and the operator of one that only they can mend. */
    static Problem problem(EngineException failure) {
        if (failure instanceof EngineException.ArchiveFailure) {
            LOG.log(
                    System.Logger.Level.ERROR,
                    "event=sessions_failed reason=\"{0}\"",
                    String.valueOf(failure.getMessage()));
        }
        return Problem.of(failure);
    }

    /** Sends a problem as an answer. */
    static void send(ServerRequest request, ServerResponse response, Problem problem) {
        TracingFilter.span(request).failed(problem.code().code());
        response.status(Status.create(problem.code().status()));
        response.header(HeaderNames.CONTENT_TYPE, "application/json");
        problem.retryAfterSeconds()
                .ifPresent(seconds -> response.header(HeaderNames.RETRY_AFTER, Long.toString(seconds)));
        if (problem.code() == ProblemCode.INVALID_API_KEY) {
            response.header(HeaderNames.WWW_AUTHENTICATE, "Bearer");
        }
        Routes.send(request, response, problem.json());
    }

    /** Of requests that no handler sees, and of failures that none expects. */
    static DirectHandlers directHandlers() {
        var builder = DirectHandlers.builder();
        for (DirectHandler.EventType type : DirectHandler.EventType.values()) {
            builder.addHandler(type, new Direct());
        }
        return builder.build();
    }

    private static final class Direct implements DirectHandler {
        // Helidon's words.
        private static final String UNSUPPORTED_ENCODING =
                "Content-Encoding header present when content encoding is disabled";
        private static final String HEADERS_TOO_LARGE = "Header size exceeded";
        private static final String SEE_LOG = "Bad request, see server log for more information";

        @Override
        public TransportResponse handle(
                TransportRequest request,
                EventType type,
                Status status,
                ServerResponseHeaders headers,
                Throwable thrown,
                System.@Nullable Logger logger) {
            String id = requestId(request, headers);
            if (status.code() == Status.INTERNAL_SERVER_ERROR_500.code()) {
                Throwable cause = thrown.getCause() == null ? thrown : thrown.getCause();
                LOG.log(
                        System.Logger.Level.ERROR,
                        "event=failure id=" + id + " route=" + Routes.label(request.path()),
                        cause);
            }
            return response(problem(status, thrown.getMessage()), id, request, headers);
        }

        /** Of failures before a request is routed, all of which are the client's: it does not write HTTP. */
        @Override
        public TransportResponse handle(
                TransportRequest request,
                EventType type,
                Status status,
                ServerResponseHeaders headers,
                @Nullable String message) {
            boolean isUnexpected = type == EventType.INTERNAL_ERROR;
            Problem problem = problem(isUnexpected ? Status.BAD_REQUEST_400 : status, message);
            return response(problem, requestId(request, headers), request, headers);
        }

        private static TransportResponse response(
                Problem problem, String id, TransportRequest request, ServerResponseHeaders headers) {
            boolean isHead = Method.HEAD.text().equals(request.method());
            var response = TransportResponse.builder()
                    .status(Status.create(problem.code().status()))
                    .headers(headers)
                    .header(HeaderNames.CONTENT_TYPE, "application/json")
                    .header(RequestFilter.REQUEST_ID, id)
                    // How far the request was read is not sure.
                    .header(HeaderValues.CONNECTION_CLOSE)
                    .keepAlive(false)
                    .entity(isHead ? new byte[0] : problem.json());
            problem.retryAfterSeconds()
                    .ifPresent(seconds -> response.header(HeaderNames.RETRY_AFTER, Long.toString(seconds)));
            return response.build();
        }

        /** The id that the request has been given, else the client's or a new one. */
        private static String requestId(TransportRequest request, ServerResponseHeaders given) {
            var asked = request.headers();
            return RequestFilter.requestId(given.first(RequestFilter.REQUEST_ID)
                    .or(() -> asked == null ? Optional.empty() : asked.first(RequestFilter.REQUEST_ID)));
        }

        private static Problem problem(Status status, @Nullable String message) {
            String detail = message == null || message.isBlank() ? status.reasonPhrase() : message;
            if (detail.equals(UNSUPPORTED_ENCODING)) {
                return Problem.of(
                        ProblemCode.UNSUPPORTED_MEDIA_TYPE,
                        "The body has a Content-Encoding, which is not supported: send it uncompressed, without that"
                                + " header.");
            }
            if (detail.equals(HEADERS_TOO_LARGE)) {
                return Problem.of(
                        ProblemCode.BAD_HTTP,
                        "The headers are larger than " + Connections.HEADERS_BYTES_MAX
                                + " bytes together: send fewer or shorter ones.");
            }
            if (detail.equals(SEE_LOG)) { // which has nothing of it, and is not the client's to read
                return Problem.of(
                        ProblemCode.BAD_HTTP,
                        "Not a valid HTTP request: it must begin with METHOD /path HTTP/1.1, the path's % followed by"
                                + " two hexadecimal digits.");
            }
            return switch (status.code()) {
                case 404 -> Problem.of(ProblemCode.NOT_FOUND, "There is no such path.");
                case 408 -> Problem.of(ProblemCode.REQUEST_TIMEOUT, detail);
                case 413 ->
                    Problem.of(
                            ProblemCode.BODY_TOO_LARGE, "The body is larger than the server takes (body-bytes-max).");
                case 414 -> Problem.of(ProblemCode.URL_TOO_LONG, "The URL is too long.");
                case 503 ->
                    new Problem(
                            ProblemCode.BODIES_TOO_LARGE,
                            "Other large bodies are being read; send this one again a little later.",
                            Optional.empty(),
                            OptionalLong.of(1));
                case 505 -> Problem.of(ProblemCode.BAD_HTTP, "Only HTTP/1.1 is supported.");
                // Not the 501 of RFC 9112: monitors take 5xx for a failure of the server, and this is the client's.
                case 501 -> Problem.of(ProblemCode.BAD_HTTP, "Only the transfer coding chunked is supported.");
                default ->
                    status.code() < 500
                            ? Problem.of(ProblemCode.BAD_HTTP, "Not a valid HTTP request: " + detail)
                            : Problem.of(ProblemCode.SERVER_ERROR, "The server failed; its log says more.");
            };
        }
    }
}
