package basalt.server.http;

import basalt.server.api.JsonBuffer;
import basalt.server.api.Problem;
import basalt.server.api.ProblemCode;
import basalt.server.api.ProblemException;
import io.helidon.http.HeaderName;
import io.helidon.http.HeaderNames;
import io.helidon.http.Method;
import io.helidon.webserver.http.HttpRouting;
import io.helidon.webserver.http.ServerRequest;
import io.helidon.webserver.http.ServerResponse;
import java.util.Map;

/**
 * {@code /v1/streams/ID}: goes on with a stream whose connection was lost. Open while the server drains, as the streams
 * that run are.
 */
final class StreamsHandler {
    static final String PATH = "/v1/streams/{id}";
    private static final HeaderName LAST_EVENT = HeaderNames.create("Last-Event-ID");
    private static final String AFTER = "after";

    private final ReplayStreams streams;
    private final Answers answers;
    private final Tenants tenants;

    StreamsHandler(ReplayStreams streams, Answers answers, Tenants tenants) {
        this.streams = streams;
        this.answers = answers;
        this.tenants = tenants;
    }

    void addTo(HttpRouting.Builder routing) {
        Routes.addExactly(routing, PATH, Map.of(Method.GET, this::read, Method.DELETE, this::drop));
    }

    private ReplayStream stream(ServerRequest request) {
        return streams.require(
                tenants.of(request), request.path().pathParameters().get("id"));
    }

    private void read(ServerRequest request, ServerResponse response) {
        ReplayStream stream = stream(request);
        String last = request.headers()
                .first(LAST_EVENT)
                .or(() -> request.query().first(AFTER).asOptional())
                .orElse("");
        answers.replay(stream, last.isEmpty() ? 0 : 1 + index(stream, last.strip()), response);
    }

    /** The number behind the stream's id, or alone. */
    private static long index(ReplayStream stream, String event) {
        String number = event.startsWith(stream.id() + ":")
                ? event.substring(stream.id().length() + 1)
                : event;
        if (!number.matches("[0-9]{1,18}")) {
            throw new ProblemException(Problem.of(
                    ProblemCode.INVALID_VALUE,
                    "Last-Event-ID",
                    "Last-Event-ID, or after, is the id of an event of this stream, like " + stream.id() + ":12."));
        }
        return Long.parseLong(number);
    }

    private void drop(ServerRequest request, ServerResponse response) {
        ReplayStream stream = stream(request);
        streams.drop(stream);
        Routes.sendJson(
                request,
                response,
                new JsonBuffer()
                        .raw("{\"id\":")
                        .string(stream.id())
                        .raw(",\"object\":\"stream.deleted\",\"deleted\":true}")
                        .toByteArray());
    }
}
