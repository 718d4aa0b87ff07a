package basalt.server.http;

import basalt.engine.Engine;
import basalt.engine.EngineException;
import basalt.engine.Generation;
import basalt.engine.GenerationRequest;
import basalt.engine.session.Patience;
import basalt.engine.session.TurnRequest;
import basalt.server.api.CompletionRequest;
import basalt.server.api.CompletionWriter;
import basalt.server.api.Problem;
import basalt.server.api.ProblemCode;
import basalt.server.api.ProblemException;
import basalt.server.api.RequestTime;
import basalt.server.observe.RequestSpan;
import io.helidon.http.HeaderName;
import io.helidon.http.HeaderNames;
import io.helidon.webserver.CloseConnectionException;
import io.helidon.webserver.http.Handler;
import io.helidon.webserver.http.ServerRequest;
import io.helidon.webserver.http.ServerResponse;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.ThreadLocalRandom;
import java.util.random.RandomGenerator;

/** {@code POST /v1/completions} or {@code POST /v1/chat/completions}. Runs on the connection's virtual thread. */
final class CompletionsHandler implements Handler {
    private static final HeaderName DEADLINE = HeaderNames.create(CompletionRequest.DEADLINE_HEADER);

    private final CompletionRequest.Form form;
    private final Gate gate;
    private final Answers answers;
    private final Connections connections;
    private final Tenants tenants;
    private final RequestBody bodies;

    CompletionsHandler(
            CompletionRequest.Form form,
            Gate gate,
            Answers answers,
            Connections connections,
            Tenants tenants,
            RequestBody bodies) {
        this.form = form;
        this.gate = gate;
        this.answers = answers;
        this.connections = connections;
        this.tenants = tenants;
        this.bodies = bodies;
    }

    @Override
    public void handle(ServerRequest request, ServerResponse response) {
        Serving serving = gate.require();
        byte[] body = bodies.json(request);
        var time = new RequestTime(request.headers().first(DEADLINE));
        // Seeds need no secrecy.
        RandomGenerator seeds = () -> ThreadLocalRandom.current().nextLong();
        var completion =
                bodies.reading(body, time, () -> CompletionRequest.read(form, body, serving.model(), seeds, time));
        TracingFilter.span(request).asked(asked(completion));
        requireRoom(completion, serving.engine());
        String tenant = tenants.of(request);
        var writer = new CompletionWriter(
                RequestFilter.requestId(response),
                System.currentTimeMillis() / 1_000,
                completion,
                serving.model(),
                serving.names());
        var delivery = Answers.Delivery.of(completion.isStreamed(), completion.isResumable());
        var order = new Answers.Order(tenant, writer, delivery, () -> {});
        answers.send(order, () -> submit(completion, serving, tenant), request, response);
    }

    private RequestSpan.Asked asked(CompletionRequest completion) {
        var first = completion.generations().getFirst();
        return new RequestSpan.Asked(
                form == CompletionRequest.Form.CHAT ? "chat" : "text_completion",
                completion.choicesPerPrompt(),
                first.maxTokens(),
                first.sampling(),
                completion.isStreamed());
    }

    private List<Generation> submit(CompletionRequest completion, Serving serving, String tenant) {
        try {
            return completion.session().isPresent()
                    ? List.of(turn(completion, completion.session().get(), serving, tenant))
                    : serving.engine()
                            .submit(completion.generations(), completion.cache().of(serving.prefixes(), tenant));
        } catch (EngineException.InvalidRequest e) {
            throw new ProblemException(Problem.of(e, completion));
        }
    }

    /** A chat's template writes the token that ends an answer, so it belongs to the history. */
    private Generation turn(
            CompletionRequest completion, CompletionRequest.SessionUse use, Serving serving, String tenant) {
        GenerationRequest generation = completion.generations().getFirst();
        boolean keepsStopToken = completion.output().form() == CompletionRequest.Form.CHAT;
        var request = new TurnRequest(
                generation.prompt(),
                use.continuation().tokens(),
                generation,
                Optional.of(completion.cache().of(serving.prefixes(), tenant)),
                use.continuation().cuts(),
                keepsStopToken);
        var patience = new Patience(generation
                .deadline()
                .filter(time -> time.compareTo(use.waitMax()) < 0)
                .orElse(use.waitMax()));
        connections.currentInbound().watch(patience::end);
        try {
            return serving.sessions().turn(tenant, use.id(), request, patience);
        } catch (InterruptedException e) {
            throw new CloseConnectionException("the server closes", e);
        }
    }

    /** Refuses for good what no queue can ever take. */
    private static void requireRoom(CompletionRequest completion, Engine engine) {
        int promptCountMax = engine.stats().slotCount() + engine.config().queueRequestsMax();
        if (completion.generations().size() > promptCountMax) {
            throw new ProblemException(Problem.of(
                    ProblemCode.CAPACITY_EXCEEDED,
                    "prompt",
                    "A request may have " + promptCountMax + " prompts at most; send several."));
        }
    }
}
