package basalt.server.http;

import basalt.engine.EngineException;
import basalt.server.api.Problem;
import basalt.server.api.ProblemCode;
import basalt.server.api.ProblemException;
import io.helidon.http.DirectHandler;
import io.helidon.http.HeaderNames;
import io.helidon.http.HeaderValues;
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
                send(request, response, Problem.of(e));
            }
        };
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
        response.send(problem.json());
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
        @Override
        public TransportResponse handle(
                TransportRequest request,
                EventType type,
                Status status,
                ServerResponseHeaders headers,
                Throwable thrown,
                System.@Nullable Logger logger) {
            if (status.code() == Status.INTERNAL_SERVER_ERROR_500.code()) {
                Throwable cause = thrown.getCause() == null ? thrown : thrown.getCause();
                LOG.log(System.Logger.Level.ERROR, "event=failure path=" + request.path(), cause);
            }
            return response(problem(status, thrown.getMessage()), request, headers);
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
            return response(problem(isUnexpected ? Status.BAD_REQUEST_400 : status, message), request, headers);
        }

        private static TransportResponse response(
                Problem problem, TransportRequest request, ServerResponseHeaders headers) {
            var response = TransportResponse.builder()
                    .status(Status.create(problem.code().status()))
                    .headers(headers)
                    .header(HeaderNames.CONTENT_TYPE, "application/json")
                    .header(RequestFilter.REQUEST_ID, RequestFilter.requestId(requestedId(request)))
                    // How far the request was read is not sure.
                    .header(HeaderValues.CONNECTION_CLOSE)
                    .keepAlive(false)
                    .entity(problem.json());
            problem.retryAfterSeconds()
                    .ifPresent(seconds -> response.header(HeaderNames.RETRY_AFTER, Long.toString(seconds)));
            return response.build();
        }

        private static Optional<String> requestedId(TransportRequest request) {
            var headers = request.headers();
            return headers == null ? Optional.empty() : headers.first(RequestFilter.REQUEST_ID);
        }

        private static Problem problem(Status status, @Nullable String message) {
            String detail = message == null || message.isBlank() ? status.reasonPhrase() : message;
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
                case 501 -> Problem.of(ProblemCode.NOT_IMPLEMENTED, "Only the transfer coding chunked is supported.");
                default ->
                    status.code() < 500
                            ? Problem.of(ProblemCode.BAD_HTTP, "Not a valid HTTP request: " + detail)
                            : Problem.of(ProblemCode.SERVER_ERROR, "The server failed; its log says more.");
            };
        }
    }
}
