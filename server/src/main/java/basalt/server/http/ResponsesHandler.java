package basalt.server.http;

import basalt.engine.EngineException;
import basalt.engine.Generation;
import basalt.engine.GenerationRequest;
import basalt.engine.session.Patience;
import basalt.engine.session.SessionStore;
import basalt.engine.session.TurnRequest;
import basalt.server.api.CompletionRequest;
import basalt.server.api.JsonBuffer;
import basalt.server.api.Problem;
import basalt.server.api.ProblemCode;
import basalt.server.api.ProblemException;
import basalt.server.api.RequestTime;
import basalt.server.api.ResponseRequest;
import basalt.server.api.ResponseWriter;
import basalt.server.api.StoredResponse;
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
import java.util.Set;
import java.util.concurrent.ThreadLocalRandom;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.function.Supplier;
import java.util.random.RandomGenerator;

/**
 * {@code /v1/responses}. A stored response is a session that has one turn more than that of the response which it
 * follows, with the answer's JSON as its note; {@code resp_X} is kept by the session {@code sess_X}.
 */
final class ResponsesHandler {
    static final String PATH = "/v1/responses/{id}";
    private static final System.Logger LOG = System.getLogger(ResponsesHandler.class.getName());
    private static final HeaderName DEADLINE = HeaderNames.create(CompletionRequest.DEADLINE_HEADER);
    private static final String ITEMS = "/input_items";
    private static final String CANCEL = "/cancel";
    private static final int ITEMS_DEFAULT = 20;
    private static final String PREVIOUS = "previous_response_id";
    private static final String PREFIX = "resp_";
    private static final String SESSION_PREFIX = "sess_";

    private final Gate gate;
    private final Answers answers;
    private final BackgroundResponses background;
    private final Tenants tenants;
    private final RequestBody bodies;
    private final Duration life;

    /** @param life how long a response is stored without use */
    ResponsesHandler(
            Gate gate,
            Answers answers,
            BackgroundResponses background,
            Tenants tenants,
            RequestBody bodies,
            Duration life) {
        this.gate = gate;
        this.answers = answers;
        this.background = background;
        this.tenants = tenants;
        this.bodies = bodies;
        this.life = life;
    }

    void addTo(HttpRouting.Builder routing) {
        Routes.add(routing, Method.POST, "/v1/responses", this::create);
        Routes.add(routing, PATH, Map.of(Method.GET, this::get, Method.DELETE, this::delete));
        Routes.add(routing, PATH + ITEMS, Map.of(Method.GET, this::items));
        Routes.add(routing, PATH + CANCEL, Map.of(Method.POST, this::cancel));
    }

    /** The path of a response with its id left out, so that metrics have few labels. */
    static String label(String path) {
        return path.endsWith(ITEMS) ? PATH + ITEMS : path.endsWith(CANCEL) ? PATH + CANCEL : PATH;
    }

    /** Whether a request to this path makes room for others, so that it is never too much. */
    static boolean isCancel(String path) {
        return path.startsWith("/v1/responses/") && path.endsWith(CANCEL);
    }

    private static String session(String response) {
        return response.startsWith(PREFIX) ? SESSION_PREFIX + response.substring(PREFIX.length()) : "";
    }

    private static ProblemException notFound(String id, Optional<String> param) {
        String message = "There is no response " + id + ", or it was not stored, or its session has gone on since.";
        return new ProblemException(param.map(name -> Problem.of(ProblemCode.RESPONSE_NOT_FOUND, name, message))
                .orElseGet(() -> Problem.of(ProblemCode.RESPONSE_NOT_FOUND, message)));
    }

    private static StoredResponse stored(SessionStore store, String tenant, String id, Optional<String> param) {
        try {
            var stored = store.note(tenant, session(id)).map(StoredResponse::of).orElseThrow(() -> notFound(id, param));
            boolean isAbandoned = stored.making().isPresent()
                    && store.peers().isPresent()
                    && !store.peers().get().isThere(stored.making().get().server());
            return isAbandoned ? stored.abandoned() : stored;
        } catch (EngineException.SessionNotFound e) {
            throw notFound(id, param);
        }
    }

    private void create(ServerRequest request, ServerResponse response) {
        Serving serving = gate.require();
        byte[] body = bodies.json(request);
        var time = new RequestTime(request.headers().first(DEADLINE));
        RandomGenerator seeds = () -> ThreadLocalRandom.current().nextLong();
        var asked = bodies.reading(body, time, () -> ResponseRequest.read(body, serving.model(), seeds, time));
        GenerationRequest generation = bodies.reading(body, time, asked::generation); // fails before anything is made
        var answer = new Making(serving, tenants.of(request), asked, generation);
        var delivery = Answers.Delivery.of(
                asked.completion().isStreamed(), asked.completion().isResumable());
        TracingFilter.span(request)
                .asked(new RequestSpan.Asked(
                        "chat",
                        1,
                        generation.maxTokens(),
                        generation.sampling(),
                        asked.completion().isStreamed()));
        ResponseWriter writer = answer.writer();
        var order = new Answers.Order(answer.tenant, writer, delivery, answer::end);
        if (asked.isBackground()) {
            Supplier<List<Generation>> submission = () -> {
                answer.keepBegun(writer);
                Generation begun = answer.submit();
                answer.isKept.set(true); // as begun, should its end not be kept
                return List.of(begun);
            };
            Routes.sendJson(request, response, background.begin(order, writer, submission, request));
        } else {
            answers.send(order, () -> List.of(answer.submit()), request, response);
        }
    }

    private StoredResponse answered(String tenant, String id) {
        if (background.find(tenant, id).isPresent()) {
            throw new ProblemException(Problem.of(
                    ProblemCode.SESSION_BUSY,
                    PREVIOUS,
                    "The response " + id + " is still being made; follow it when it has ended."));
        }
        StoredResponse stored = stored(gate.require().sessions(), tenant, id, Optional.of(PREVIOUS));
        if (!stored.isAnswered()) {
            throw new ProblemException(Problem.of(
                    ProblemCode.INVALID_VALUE,
                    PREVIOUS,
                    "The response " + id + " has no answer that can be followed."));
        }
        return stored;
    }

    /** One response in the making. */
    private final class Making {
        private final Serving serving;
        private final String tenant;
        private final ResponseRequest asked;
        private final GenerationRequest generation; // as if there were no past
        private final Optional<String> known; // instructions of the response before
        private final Optional<String> session; // its own, if it has one
        private final AtomicBoolean isKept = new AtomicBoolean();

        Making(Serving serving, String tenant, ResponseRequest asked, GenerationRequest generation) {
            this.serving = serving;
            this.tenant = tenant;
            this.asked = asked;
            this.generation = generation;
            known = asked.previous().flatMap(id -> answered(tenant, id).instructions());
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
                var prefixes = bodies.reading(asked.time(), () -> asked.cache(generation.prompt()))
                        .of(serving.prefixes(), tenant);
                if (session.isEmpty()) {
                    return serving.engine()
                            .submit(List.of(asked.hurried(generation)), prefixes)
                            .getFirst();
                }
                var continuation = bodies.reading(asked.time(), () -> asked.continuation(known));
                var turn = new TurnRequest(
                        generation.prompt(),
                        continuation.tokens(),
                        asked.hurried(generation),
                        Optional.of(prefixes),
                        continuation.cuts(),
                        true);
                return store().turn(tenant, session.get(), turn, new Patience(Duration.ZERO));
            } catch (EngineException.InvalidRequest e) {
                throw new ProblemException(Problem.of(e, asked.completion()));
            } catch (InterruptedException e) {
                throw new CloseConnectionException("the server closes", e);
            }
        }

        /**
         * What is found of it until it has ended: that it failed, as it is asked for only if this server has ended
         * before; by other servers of the same sessions that it is being made, as long as this server is there.
         */
        void keepBegun(ResponseWriter writer) {
            byte[] abandoned = writer.abandoned();
            byte[] note = store().peers()
                    .map(peers -> StoredResponse.bytes(
                            writer.begun(), new StoredResponse.Making(peers.name(), abandoned), writer.id(), asked))
                    .orElseGet(() -> StoredResponse.bytes(abandoned, writer.id(), asked));
            store().noteUntilNext(tenant, session.orElseThrow(), note);
        }

        private void keep(byte[] json) {
            if (session.isPresent() && asked.isStored()) {
                try {
                    String id = PREFIX + session.get().substring(SESSION_PREFIX.length());
                    store().note(tenant, session.get(), StoredResponse.bytes(json, id, asked));
                    isKept.set(true);
                } catch (EngineException e) {
                    throw new ProblemException(ProblemResponses.problem(e));
                }
            }
        }

        /** Drops the session of a response that nobody may follow. */
        void end() {
            if (session.isPresent() && !isKept.get()) {
                try {
                    store().delete(tenant, session.get());
                } catch (EngineException.SessionNotFound e) {
                    LOG.log(System.Logger.Level.DEBUG, "event=response_dropped session={0}", session.get());
                } catch (EngineException e) {
                    LOG.log(System.Logger.Level.WARNING, "event=response_not_dropped session=" + session.get(), e);
                }
            }
        }
    }

    private StoredResponse stored(ServerRequest request) {
        String id = request.path().pathParameters().get("id");
        return stored(gate.require().sessions(), tenants.of(request), id, Optional.empty());
    }

    private void get(ServerRequest request, ServerResponse response) {
        if (request.query().first("stream").orElse("").equals("true")) {
            throw unsupported(
                    "stream",
                    "A stored response is not streamed again; leave stream out, or make it with \"resumable\": true and"
                            + " read /v1/streams.");
        }
        Optional<byte[]> begun = background.find(
                tenants.of(request), request.path().pathParameters().get("id"));
        Routes.sendJson(request, response, begun.orElseGet(() -> stored(request).response()));
    }

    private static ProblemException unsupported(String param, String message) {
        return new ProblemException(Problem.of(ProblemCode.UNSUPPORTED_PARAMETER, param, message));
    }

    private void items(ServerRequest request, ServerResponse response) {
        StoredResponse stored = stored(request);
        String order = request.query().first("order").orElse("desc");
        if (!Set.of("asc", "desc").contains(order)) {
            throw new ProblemException(Problem.of(ProblemCode.INVALID_VALUE, "order", "order is asc or desc."));
        }
        int limit = Routes.limit(request, ITEMS_DEFAULT, StoredResponse.PAGE_MAX);
        String after = request.query().first("after").orElse("");
        Routes.sendJson(request, response, stored.page(order.equals("asc"), after, limit));
    }

    /** As it ended; what has ended before is not changed. */
    private void cancel(ServerRequest request, ServerResponse response) {
        background.cancel(tenants.of(request), request.path().pathParameters().get("id"));
        StoredResponse stored = stored(request);
        if (!stored.isBackground()) {
            throw new ProblemException(Problem.of(
                    ProblemCode.INVALID_REQUEST,
                    "Only a response with \"background\": true can be cancelled. To end another one that runs, close"
                            + " its connection, or DELETE its stream."));
        }
        Routes.sendJson(request, response, stored.response());
    }

    private void delete(ServerRequest request, ServerResponse response) {
        String id = request.path().pathParameters().get("id");
        String tenant = tenants.of(request);
        background.cancel(tenant, id);
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
