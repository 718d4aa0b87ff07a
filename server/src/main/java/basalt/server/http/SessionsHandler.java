package basalt.server.http;

import basalt.engine.EngineException;
import basalt.engine.FinishReason;
import basalt.engine.Generation;
import basalt.engine.GenerationRequest;
import basalt.engine.TokenEvent;
import basalt.engine.session.Patience;
import basalt.engine.session.SessionStore;
import basalt.engine.session.TurnRequest;
import basalt.server.api.Problem;
import basalt.server.api.ProblemCode;
import basalt.server.api.ProblemException;
import basalt.server.api.RequestTime;
import basalt.server.api.SessionRequest;
import basalt.server.api.SessionWriter;
import io.helidon.http.HeaderNames;
import io.helidon.http.Method;
import io.helidon.webserver.CloseConnectionException;
import io.helidon.webserver.http.HttpRouting;
import io.helidon.webserver.http.ServerRequest;
import io.helidon.webserver.http.ServerResponse;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.function.Supplier;

/** {@code /v1/sessions} and what is below it. */
final class SessionsHandler {
    private static final System.Logger LOG = System.getLogger(SessionsHandler.class.getName());
    private static final int LIST_DEFAULT = 100;
    private static final int LIST_MAX = 1_000;

    private final Gate gate;
    private final Connections connections;
    private final Tenants tenants;
    private final RequestBody bodies;

    SessionsHandler(Gate gate, Connections connections, Tenants tenants, RequestBody bodies) {
        this.bodies = bodies;
        this.gate = gate;
        this.connections = connections;
        this.tenants = tenants;
    }

    void addTo(HttpRouting.Builder routing) {
        Routes.add(routing, "/v1/sessions", Map.of(Method.POST, this::create, Method.GET, this::list));
        Routes.add(routing, "/v1/sessions/{id}", Map.of(Method.GET, this::get, Method.DELETE, this::delete));
        Routes.add(routing, "/v1/sessions/{id}/fork", Map.of(Method.POST, this::fork));
        Routes.add(routing, "/v1/sessions/{id}/rewind", Map.of(Method.POST, this::rewind));
        Routes.add(routing, "/v1/sessions/{id}/state", Map.of(Method.GET, this::download, Method.PUT, this::upload));
    }

    /** The path of a session with its id left out, so that metrics have few labels. */
    static String label(String path) {
        String rest = path.substring("/v1/sessions/".length());
        int slash = rest.indexOf('/');
        String end = slash < 0 ? "" : rest.substring(slash);
        return List.of("", "/fork", "/rewind", "/state").contains(end) ? "/v1/sessions/{id}" + end : "other";
    }

    private static String id(ServerRequest request) {
        return request.path().pathParameters().get("id");
    }

    private SessionStore store() {
        return gate.require().sessions();
    }

    private SessionRequest body(ServerRequest request, SessionRequest.Use use) {
        byte[] body = bodies.json(request);
        var time = RequestTime.withoutDeadline();
        var model = gate.require().model().during(time);
        return bodies.reading(body, time, () -> SessionRequest.read(body, use, model));
    }

    private void create(ServerRequest request, ServerResponse response) {
        var body = body(request, SessionRequest.Use.CREATE);
        String tenant = tenants.of(request);
        SessionStore store = store();
        String id;
        if (body.from().isPresent()) {
            String from = body.from().get();
            id = naming("from", () -> forks(tenant, from, 1, body.life())).getFirst();
        } else {
            id = store.create(tenant, body.life());
            if (body.prompt().isPresent() && body.prompt().get().length > 0) {
                begin(tenant, id, body.prompt().get());
            }
        }
        Routes.sendJson(request, response, SessionWriter.one(store.summary(tenant, id)));
    }

    /** Reads the prompt, so that the first turn need not. */
    private void begin(String tenant, String id, int[] prompt) {
        var template = GenerationRequest.of(prompt, 0);
        boolean isCommitted = false;
        try (Generation turn = store().turn(
                        tenant, id, new TurnRequest(prompt, prompt, template, false), new Patience(Duration.ZERO))) {
            connections.currentInbound().watch(turn::close);
            while (!turn.isFinished()) {
                isCommitted = turn.next().orElse(null) instanceof TokenEvent.Finished finished
                        && finished.reason() == FinishReason.LENGTH;
            }
            if (!isCommitted) {
                throw cancellation(turn);
            }
        } catch (InterruptedException e) {
            throw new CloseConnectionException("the server closes", e);
        } finally {
            if (!isCommitted) {
                discard(tenant, id);
            }
        }
    }

    /** Drops a session that may have been deleted before. */
    private void discard(String tenant, String id) {
        try {
            store().delete(tenant, id);
        } catch (EngineException.SessionNotFound e) {
            LOG.log(System.Logger.Level.DEBUG, "event=session_dropped session={0}", id);
        }
    }

    /** Why a prompt was not read to its end. */
    private RuntimeException cancellation(Generation turn) {
        if (connections.currentInbound().isGone()) {
            return new CloseConnectionException("the client has gone");
        }
        return new ProblemException(Answers.isSessionDeleted(turn) ? Answers.SESSION_DELETED : Problem.stopping());
    }

    private List<String> forks(String tenant, String id, int count, Duration life) {
        try {
            return store().fork(tenant, id, count, life);
        } catch (InterruptedException e) {
            throw new CloseConnectionException("the server closes", e);
        }
    }

    /** Lets the field that names a session be the one at fault if there is no such session. */
    private static <T> T naming(String param, Supplier<T> use) {
        try {
            return use.get();
        } catch (EngineException.SessionNotFound e) {
            throw new ProblemException(Problem.of(e).named(session -> param));
        }
    }

    private void list(ServerRequest request, ServerResponse response) {
        int limit = Routes.limit(request, LIST_DEFAULT, LIST_MAX);
        String after = request.query().first("after").orElse("");
        var sessions = naming("after", () -> store().list(tenants.of(request), after, limit + 1));
        boolean hasMore = sessions.size() > limit;
        Routes.sendJson(
                request, response, SessionWriter.list(hasMore ? sessions.subList(0, limit) : sessions, hasMore));
    }

    private void get(ServerRequest request, ServerResponse response) {
        Routes.sendJson(request, response, SessionWriter.one(store().summary(tenants.of(request), id(request))));
    }

    private void delete(ServerRequest request, ServerResponse response) {
        store().delete(tenants.of(request), id(request));
        Routes.sendJson(request, response, SessionWriter.deleted(id(request)));
    }

    private void fork(ServerRequest request, ServerResponse response) {
        var body = body(request, SessionRequest.Use.FORK);
        String tenant = tenants.of(request);
        var ids = forks(tenant, id(request), body.count(), body.life());
        var forks = ids.stream().map(id -> store().summary(tenant, id)).toList();
        Routes.sendJson(request, response, SessionWriter.list(forks, false));
    }

    private void rewind(ServerRequest request, ServerResponse response) {
        var body = body(request, SessionRequest.Use.REWIND);
        long tokens = body.tokens()
                .orElseThrow(() -> new ProblemException(Problem.of(
                        ProblemCode.MISSING_PARAMETER, "tokens", "tokens is missing: how many shall be left?")));
        String tenant = tenants.of(request);
        store().rewind(tenant, id(request), tokens);
        Routes.sendJson(request, response, SessionWriter.one(store().summary(tenant, id(request))));
    }

    private void download(ServerRequest request, ServerResponse response) {
        String tenant = tenants.of(request);
        byte[] state = gate.require().seal().seal(tenant, store().exported(tenant, id(request)));
        response.header(HeaderNames.CONTENT_TYPE, "application/octet-stream");
        bodies.whileHeld(state.length, () -> Routes.send(request, response, state));
    }

    private void upload(ServerRequest request, ServerResponse response) {
        String tenant = tenants.of(request);
        long most = store().exportBytesMax() + StateSeal.BYTES;
        connections.currentInbound().allow(most);
        byte[] state = gate.require().seal().open(tenant, bodies.octets(request, most));
        store().importState(tenant, id(request), state);
        Routes.sendJson(request, response, SessionWriter.one(store().summary(tenant, id(request))));
    }
}
