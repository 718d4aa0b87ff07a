package basalt.server.http;

import basalt.engine.Engine;
import basalt.engine.EngineException;
import basalt.engine.Generation;
import basalt.engine.GenerationRequest;
import basalt.engine.session.TurnRequest;
import basalt.server.api.ChoiceOutput;
import basalt.server.api.CompletionRequest;
import basalt.server.api.CompletionWriter;
import basalt.server.api.JsonBuffer;
import basalt.server.api.Problem;
import basalt.server.api.ProblemCode;
import basalt.server.api.ProblemException;
import basalt.server.observe.Metrics;
import basalt.server.observe.RequestSpan;
import io.helidon.http.HeaderName;
import io.helidon.http.HeaderNames;
import io.helidon.webserver.CloseConnectionException;
import io.helidon.webserver.http.Handler;
import io.helidon.webserver.http.ServerRequest;
import io.helidon.webserver.http.ServerResponse;
import java.util.List;
import java.util.concurrent.ThreadLocalRandom;

/** {@code POST /v1/completions} or {@code POST /v1/chat/completions}. Runs on the connection's virtual thread. */
final class CompletionsHandler implements Handler {
    private static final Problem SLOW_READER =
            Problem.of(ProblemCode.SLOW_READER, "The answer was not read for too long and is cut here.");

    private static final Problem TOO_LATE = Problem.of(
            ProblemCode.DEADLINE_EXCEEDED,
            "The deadline passed before the first token; give it more time, or send it when the server is less busy.");
    private static final HeaderName DEADLINE = HeaderNames.create(CompletionRequest.DEADLINE_HEADER);

    private final CompletionRequest.Form form;
    private final Gate gate;
    private final Connections connections;
    private final Clock clock;
    private final Metrics metrics;
    private final Tenants tenants;

    CompletionsHandler(
            CompletionRequest.Form form,
            Gate gate,
            Connections connections,
            Clock clock,
            Metrics metrics,
            Tenants tenants) {
        this.form = form;
        this.gate = gate;
        this.connections = connections;
        this.clock = clock;
        this.metrics = metrics;
        this.tenants = tenants;
    }

    @Override
    public void handle(ServerRequest request, ServerResponse response) {
        Serving serving = gate.require();
        byte[] body = RequestBody.json(request);
        // Seeds need no secrecy.
        var completion = CompletionRequest.read(
                        form,
                        body,
                        serving.model(),
                        () -> ThreadLocalRandom.current().nextLong())
                .withDeadline(request.headers().first(DEADLINE));
        RequestSpan span = TracingFilter.span(request);
        span.asked(asked(completion));
        requireRoom(completion, serving.engine());
        Inbound inbound = connections.currentInbound();
        List<Generation> generations = submit(completion, serving, tenants.of(request));
        var writer = new CompletionWriter(
                RequestFilter.requestId(response),
                System.currentTimeMillis() / 1_000,
                completion,
                serving.model(),
                serving.names());
        try (var readers = new GenerationReaders(generations, writer, metrics, span, () -> cancellation(inbound))) {
            inbound.watch(() -> generations.forEach(Generation::close));
            if (completion.isStreamed()) {
                stream(readers, writer, response);
            } else {
                send(readers, writer, response);
            }
        }
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
                            .submit(
                                    completion.generations(),
                                    serving.prefixes(),
                                    tenant + " " + completion.cacheSalt());
        } catch (EngineException.InvalidRequest e) {
            throw new ProblemException(Problem.of(e, form));
        }
    }

    /** A chat's template writes the token that ends an answer, so it belongs to the history. */
    private static Generation turn(
            CompletionRequest completion, CompletionRequest.SessionUse use, Serving serving, String tenant) {
        GenerationRequest generation = completion.generations().getFirst();
        boolean keepsStopToken = completion.output().form() == CompletionRequest.Form.CHAT;
        var request = new TurnRequest(generation.prompt(), use.prompt(), generation, keepsStopToken);
        try {
            return serving.sessions().turn(tenant, use.id(), request, use.patience());
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

    /** Why a generation was cancelled that nobody here cancelled. */
    private RuntimeException cancellation(Inbound inbound) {
        if (inbound.isGone()) {
            return new CloseConnectionException("the client has gone");
        }
        return new ProblemException(gate.isClosed() ? Problem.stopping() : SLOW_READER);
    }

    private static void send(GenerationReaders readers, CompletionWriter writer, ServerResponse response) {
        readers.read(outputs -> {});
        if (readers.outputs().stream().allMatch(ChoiceOutput::isTooLate)) {
            throw new ProblemException(TOO_LATE);
        }
        response.header(HeaderNames.CONTENT_TYPE, "application/json");
        response.send(writer.whole(readers.outputs(), readers.usage()));
    }

    private void stream(GenerationReaders readers, CompletionWriter writer, ServerResponse response) {
        try (var events = new EventStream(response)) {
            clock.add(events);
            var end = new JsonBuffer();
            try {
                readers.read(outputs -> writeChunks(outputs, writer, events));
                writer.writeEnd(end, readers.usage());
            } catch (ProblemException e) {
                CompletionWriter.writeFailure(end, e.problem());
            } finally {
                clock.remove(events);
            }
            events.write(end);
        }
    }

    private static void writeChunks(List<ChoiceOutput> outputs, CompletionWriter writer, EventStream events) {
        var chunks = new JsonBuffer();
        for (ChoiceOutput output : outputs) {
            if (output.hasNews()) {
                writer.writeChunks(chunks, output);
            }
        }
        if (chunks.length() > 0) {
            events.write(chunks);
        }
    }
}
