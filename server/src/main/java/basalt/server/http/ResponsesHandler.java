package basalt.server.http;

import basalt.engine.EngineException;
import basalt.engine.Generation;
import basalt.engine.GenerationRequest;
import basalt.engine.session.SessionStore;
import basalt.engine.session.TurnRequest;
import basalt.server.api.CompletionRequest;
import basalt.server.api.JsonBuffer;
import basalt.server.api.Problem;
import basalt.server.api.ProblemCode;
import basalt.server.api.ProblemException;
import basalt.server.api.ResponseRequest;
import basalt.server.api.ResponseWriter;
import basalt.server.observe.RequestSpan;
import io.helidon.http.HeaderName;
import io.helidon.http.HeaderNames;
import io.helidon.http.Method;
import io.helidon.webserver.CloseConnectionException;
import io.helidon.webserver.http.HttpRouting;
import io.helidon.webserver.http.ServerRequest;
import io.helidon.webserver.http.ServerResponse;
import java.time.Duration;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.ThreadLocalRandom;
import java.util.concurrent.atomic.AtomicBoolean;

/**
 * {@code /v1/responses}. A stored response is a session that has one turn more than that of the response which it
 * follows, with the answer's JSON as its note; {@code resp_X} is kept by the session {@code sess_X}.
 */
final class ResponsesHandler {
    static final String PATH = "/v1/responses/{id}";
    private static final System.Logger LOG = System.getLogger(ResponsesHandler.class.getName());
    private static final HeaderName DEADLINE = HeaderNames.create(CompletionRequest.DEADLINE_HEADER);
    private static final String PREFIX = "resp_";
    private static final String SESSION_PREFIX = "sess_";

    private final Gate gate;
    private final Answers answers;
    private final Tenants tenants;
    private final RequestBody bodies;
    private final Duration life;

    /** @param life how long a response is stored without use */
    ResponsesHandler(Gate gate, Answers answers, Tenants tenants, RequestBody bodies, Duration life) {
        this.gate = gate;
        this.answers = answers;
        this.tenants = tenants;
        this.bodies = bodies;
        this.life = life;
    }

    void addTo(HttpRouting.Builder routing) {
        Routes.add(routing, Method.POST, "/v1/responses", this::create);
        Routes.add(routing, PATH, Map.of(Method.GET, this::get, Method.DELETE, this::delete));
    }

    private static String session(String response) {
        return response.startsWith(PREFIX) ? SESSION_PREFIX + response.substring(PREFIX.length()) : "";
    }

    private static ProblemException notFound(String id, Optional<String> param) {
        String message = "There is no response " + id + ", or it was not stored.";
        return new ProblemException(param.map(name -> Problem.of(ProblemCode.RESPONSE_NOT_FOUND, name, message))
                .orElseGet(() -> Problem.of(ProblemCode.RESPONSE_NOT_FOUND, message)));
    }

    private static byte[] stored(SessionStore store, String tenant, String id, Optional<String> param) {
        try {
            return store.note(tenant, session(id)).orElseThrow(() -> notFound(id, param));
        } catch (EngineException.SessionNotFound e) {
            throw notFound(id, param);
        }
    }

    private void create(ServerRequest request, ServerResponse response) {
        Serving serving = gate.require();
        byte[] body = bodies.json(request);
        var asked = ResponseRequest.read(
                        body, serving.model(), () -> ThreadLocalRandom.current().nextLong())
                .withDeadline(request.headers().first(DEADLINE));
        GenerationRequest generation = asked.generation(); // fails before anything is made
        var answer = new Making(serving, tenants.of(request), asked);
        var delivery = Answers.Delivery.of(
                asked.completion().isStreamed(), asked.completion().isResumable());
        TracingFilter.span(request)
                .asked(new RequestSpan.Asked(
                        "chat",
                        1,
                        generation.maxTokens(),
                        generation.sampling(),
                        asked.completion().isStreamed()));
        var order = new Answers.Order(answer.tenant, answer.writer(), delivery, answer::end);
        answers.send(order, () -> List.of(answer.submit()), request, response);
    }

    /** One response in the making. */
    private final class Making {
        private final Serving serving;
        private final String tenant;
        private final ResponseRequest asked;
        private final Optional<String> known; // instructions of the response before
        private final Optional<String> session; // its own, if it has one
        private final AtomicBoolean isKept = new AtomicBoolean();

        Making(Serving serving, String tenant, ResponseRequest asked) {
            this.serving = serving;
            this.tenant = tenant;
            this.asked = asked;
            known = asked.previous()
                    .flatMap(id -> ResponseRequest.instructions(
                            stored(store(), tenant, id, Optional.of("previous_response_id"))));
            session = asked.previous().isPresent() || asked.isStored() ? Optional.of(begin()) : Optional.empty();
        }

        private SessionStore store() {
            return serving.sessions();
        }

        private String begin() {
            try {
                return asked.previous().isPresent()
                        ? store().fork(tenant, session(asked.previous().get()), 1, life)
                                .getFirst()
                        : store().create(tenant, life);
            } catch (InterruptedException e) {
                throw new CloseConnectionException("the server closes", e);
            }
        }

        ResponseWriter writer() {
            String id =
                    session.map(own -> own.substring(SESSION_PREFIX.length())).orElseGet(Making::randomId);
            return new ResponseWriter(
                    asked,
                    PREFIX + id,
                    System.currentTimeMillis() / 1_000,
                    asked.instructions().or(() -> known),
                    serving.names(),
                    this::keep);
        }

        /** Of a response that nobody can ask for, which needs no secrecy. */
        private static String randomId() {
            var random = ThreadLocalRandom.current();
            return HexFormat.of().toHexDigits(random.nextLong())
                    + HexFormat.of().toHexDigits(random.nextLong());
        }

        Generation submit() {
            try {
                if (session.isEmpty()) {
                    var prefixes = asked.cache().of(serving.prefixes(), tenant);
                    return serving.engine()
                            .submit(List.of(asked.generation()), prefixes)
                            .getFirst();
                }
                var turn = new TurnRequest(
                        asked.opening(),
                        asked.continuation(known),
                        asked.generation(),
                        Optional.of(asked.cache().of(serving.prefixes(), tenant)),
                        true);
                return store().turn(tenant, session.get(), turn, Duration.ZERO);
            } catch (EngineException.InvalidRequest e) {
                throw new ProblemException(Problem.of(e, CompletionRequest.Form.CHAT));
            } catch (InterruptedException e) {
                throw new CloseConnectionException("the server closes", e);
            }
        }

        private void keep(byte[] json) {
            if (session.isPresent() && asked.isStored()) {
                try {
                    store().note(tenant, session.get(), json);
                    isKept.set(true);
                } catch (EngineException e) {
                    throw new ProblemException(Problem.of(e));
                }
            }
        }

        /** Drops the session of a response that nobody may follow. */
        void end() {
            if (session.isPresent() && !isKept.get()) {
                try {
                    store().delete(tenant, session.get());
                } catch (EngineException e) {
                    LOG.log(System.Logger.Level.WARNING, "event=response_not_dropped session=" + session.get(), e);
                }
            }
        }
    }

    private void get(ServerRequest request, ServerResponse response) {
        String id = request.path().pathParameters().get("id");
        Routes.sendJson(
                request, response, stored(gate.require().sessions(), tenants.of(request), id, Optional.empty()));
    }

    private void delete(ServerRequest request, ServerResponse response) {
        String id = request.path().pathParameters().get("id");
        String tenant = tenants.of(request);
        SessionStore store = gate.require().sessions();
        stored(store, tenant, id, Optional.empty());
        store.delete(tenant, session(id));
        Routes.sendJson(
                request,
                response,
                new JsonBuffer()
                        .raw("{\"id\":")
                        .string(id)
                        .raw(",\"object\":\"response\",\"deleted\":true}")
                        .toByteArray());
    }
}
