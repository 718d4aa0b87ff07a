package basalt.server.http;

import basalt.server.api.JsonBuffer;
import basalt.server.api.Problem;
import basalt.server.api.ProblemCode;
import basalt.server.api.ProblemException;
import basalt.server.api.RequestTime;
import basalt.server.api.ServedModel;
import basalt.server.api.TokenRequests;
import basalt.server.observe.Metrics;
import io.helidon.http.HeaderNames;
import io.helidon.http.Method;
import io.helidon.http.Status;
import io.helidon.webserver.http.Handler;
import io.helidon.webserver.http.HttpRouting;
import io.helidon.webserver.http.ServerRequest;
import io.helidon.webserver.http.ServerResponse;
import java.nio.charset.StandardCharsets;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.function.BiFunction;
import java.util.stream.Collectors;

/** Which path is answered by what. */
final class Routes {
    private static final List<String> PATHS = List.of(
            "/v1/completions",
            "/v1/chat/completions",
            "/v1/responses",
            "/v1/sessions",
            "/tokenize",
            "/detokenize",
            "/v1/models",
            "/health",
            "/health/live",
            "/health/ready",
            "/metrics",
            "/openapi.yaml");
    private static final byte[] HEALTHY = {'{', '"', 's', 't', 'a', 't', 'u', 's', '"', ':', '"', 'o', 'k', '"', '}'};

    private final Gate gate;
    private final Metrics metrics;
    private final RequestBody bodies;
    private final byte[] contract;

    Routes(Gate gate, Metrics metrics, RequestBody bodies, byte[] contract) {
        this.bodies = bodies;
        this.gate = gate;
        this.metrics = metrics;
        this.contract = contract;
    }

    /** The path if it is one of ours, so that metrics have few labels. */
    static String label(String path) {
        if (PATHS.contains(path) || Playground.PATHS.contains(path)) {
            return path;
        }
        if (path.startsWith("/v1/sessions/")) {
            return SessionsHandler.label(path);
        }
        if (path.startsWith("/v1/responses/")) {
            return ResponsesHandler.label(path);
        }
        if (path.startsWith("/v1/streams/")) {
            return StreamsHandler.PATH;
        }
        return path.startsWith("/v1/models/") ? "/v1/models/{model}" : "other";
    }

    /** Whether a path uses the model, which needs a key where there are keys. */
    static boolean isGuarded(String path) {
        return path.startsWith("/v1/") || path.equals("/tokenize") || path.equals("/detokenize");
    }

    /** The API and all else. */
    void addAll(HttpRouting.Builder routing, Handler completions, Handler chats) {
        add(routing, Method.POST, "/v1/completions", completions);
        add(routing, Method.POST, "/v1/chat/completions", chats);
        add(routing, Method.POST, "/tokenize", tokens(TokenRequests::tokenize));
        add(routing, Method.POST, "/detokenize", tokens(TokenRequests::detokenize));
        add(routing, Method.GET, "/v1/models", this::models);
        add(routing, Method.GET, "/v1/models/{+model}", this::model);
        add(routing, Method.GET, "/openapi.yaml", this::contract);
        Playground.addTo(routing);
        addOps(routing);
    }

    /** Health and metrics alone. */
    void addOps(HttpRouting.Builder routing) {
        add(routing, Method.GET, "/health", this::ready);
        add(routing, Method.GET, "/health/ready", this::ready);
        add(routing, Method.GET, "/health/live", this::live);
        add(routing, Method.GET, "/metrics", this::metrics);
        var notFound = Problem.of(ProblemCode.NOT_FOUND, "There is no such path.");
        routing.any((request, response) -> ProblemResponses.send(request, response, notFound));
    }

    /** Answers one method of a path, and refuses the others. */
    static void add(HttpRouting.Builder routing, Method method, String path, Handler handler) {
        add(routing, path, Map.of(method, handler));
    }

    /**
     * Answers some methods of a path, and refuses the others. What answers GET answers HEAD too, so it sends with
     * {@link #send}.
     */
    static void add(HttpRouting.Builder routing, String path, Map<Method, Handler> handlers) {
        var answered = new HashMap<>(handlers);
        Optional.ofNullable(handlers.get(Method.GET)).ifPresent(get -> answered.put(Method.HEAD, get));
        addExactly(routing, path, answered);
    }

    /** Answers these methods of a path alone: HEAD tells a length, which a stream has not. */
    static void addExactly(HttpRouting.Builder routing, String path, Map<Method, Handler> handlers) {
        handlers.forEach((method, handler) -> routing.route(method, path, ProblemResponses.answering(handler)));
        String methods = handlers.keySet().stream().map(Method::text).sorted().collect(Collectors.joining(", "));
        var notAllowed = Problem.of(ProblemCode.METHOD_NOT_ALLOWED, "This path is only for " + methods + ".");
        routing.any(path, (request, response) -> {
            response.header(HeaderNames.ALLOW, methods);
            ProblemResponses.send(request, response, notAllowed);
        });
    }

    private Handler tokens(BiFunction<byte[], ServedModel, byte[]> answer) {
        return (request, response) -> {
            ServedModel model = gate.require().model();
            byte[] body = bodies.json(request);
            var time = RequestTime.withoutDeadline();
            sendJson(request, response, bodies.reading(body, time, () -> answer.apply(body, model.during(time))));
        };
    }

    private void models(ServerRequest request, ServerResponse response) {
        sendJson(request, response, gate.require().model().listJson());
    }

    private void model(ServerRequest request, ServerResponse response) {
        var model = gate.require().model();
        model.requireName(request.path().pathParameters().get("model"));
        sendJson(request, response, model.cardJson());
    }

    private void contract(ServerRequest request, ServerResponse response) {
        response.header(HeaderNames.CONTENT_TYPE, "application/yaml");
        send(request, response, contract);
    }

    private void ready(ServerRequest request, ServerResponse response) {
        gate.unready()
                .ifPresentOrElse(
                        problem -> ProblemResponses.send(request, response, problem),
                        () -> sendJson(request, response, readiness()));
    }

    private byte[] readiness() {
        return gate.require()
                .sessions()
                .peers()
                .map(peers -> new JsonBuffer()
                        .raw("{\"status\":\"ok\",\"session_store\":")
                        .string(peers.health().isAvailable() ? "up" : "down")
                        .raw("}")
                        .toByteArray())
                .orElse(HEALTHY);
    }

    private void live(ServerRequest request, ServerResponse response) {
        gate.unalive()
                .ifPresentOrElse(
                        problem -> ProblemResponses.send(request, response, problem),
                        () -> sendJson(request, response, HEALTHY));
    }

    private void metrics(ServerRequest request, ServerResponse response) {
        response.header(HeaderNames.CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8");
        send(request, response, metrics.scrape().getBytes(StandardCharsets.UTF_8));
    }

    /**
     * How many things a list is to have at most.
     *
     * @throws ProblemException if the query asks for none or too many
     */
    static int limit(ServerRequest request, int ifAbsent, int most) {
        String wanted = request.query().first("limit").orElse("");
        int limit = wanted.matches("[0-9]{1,9}") ? Integer.parseInt(wanted) : wanted.isEmpty() ? ifAbsent : 0;
        if (limit < 1 || limit > most) {
            throw new ProblemException(
                    Problem.of(ProblemCode.INVALID_VALUE, "limit", "limit must be 1 to " + most + "."));
        }
        return limit;
    }

    static void sendJson(ServerRequest request, ServerResponse response, byte[] json) {
        response.status(Status.OK_200);
        response.header(HeaderNames.CONTENT_TYPE, "application/json");
        send(request, response, json);
    }

    /** Sends an entity, or only its length where HEAD asks: a client would take it for the next answer. */
    static void send(ServerRequest request, ServerResponse response, byte[] entity) {
        if (request.prologue().method().equals(Method.HEAD)) {
            response.contentLength(entity.length);
            response.send();
        } else {
            response.send(entity);
        }
    }
}
