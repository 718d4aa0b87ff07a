package basalt.engine;

import basalt.engine.backend.Backend;
import basalt.engine.model.ModelConfig;
import basalt.engine.schedule.Front;
import basalt.engine.state.PrefixUse;
import basalt.engine.state.SessionState;
import basalt.engine.state.StateLayout;
import basalt.engine.state.StatePool;
import basalt.engine.text.ByteSpelling;
import basalt.engine.text.TokenBytes;
import basalt.engine.text.Tokenizer;
import java.time.Duration;
import java.util.Arrays;
import java.util.List;
import java.util.Optional;

/**
 * Runs generations of one model on one or more devices. Safe for use by any number of threads.
 *
 * <pre>{@code
 * try (var checkpoint = Checkpoint.open(directory)) {
 *     var model = checkpoint.config();
 *     var tokenizer = Tokenizers.open(directory, model).orElseThrow();
 *     var backend = CpuBackend.open(model, checkpoint.weights(), 4, 4, 128, 2);
 *     try (var engine = Engine.start(model, Optional.of(tokenizer), List.of(backend), EngineConfig.DEFAULT);
 *             var generation = engine.submit(GenerationRequest.of(tokenizer.encode("Once upon a time"), 20))) {
 *         for (var event = generation.next(); event.isPresent(); event = generation.next()) {
 *             switch (event.get()) {
 *                 case TokenEvent.Sampled sampled -> bytes.writeBytes(tokenizer.bytes(sampled.token()));
 *                 case TokenEvent.Scored scored -> {}
 *                 case TokenEvent.Finished finished -> reason = finished.reason();
 *             }
 *         }
 *     }
 * }
 * }</pre>
 *
 * <p>The CPU backend needs the virtual machine's option {@code --add-modules jdk.incubator.vector} where the engine is
 * on the class path.
 *
 * <p>Each device has an engine thread, which nothing blocks; a request goes to the device with the most room. When a
 * device fails, the requests that it runs fail with {@link EngineException.DeviceFailure}; those that wait for it go to
 * the other devices, which go on.
 *
 * <p>For metrics: {@link #stats} has counters and gauges; {@link Generation#timing} has the moments from which the
 * reader of a generation computes time in queue and to the first token; times between tokens are the reader's own
 * between {@link TokenEvent.Sampled} events. None of it costs the engine thread anything.
 */
public final class Engine implements AutoCloseable {
    private final ModelConfig model;
    private final Optional<Tokenizer> tokenizer;
    private final EngineConfig config;
    private final Front front;
    private final Optional<ByteSpelling> spelling;

    private Engine(
            ModelConfig model,
            Optional<Tokenizer> tokenizer,
            Optional<ByteSpelling> spelling,
            EngineConfig config,
            Front front) {
        this.model = model;
        this.tokenizer = tokenizer;
        this.spelling = spelling;
        this.config = config;
        this.front = front;
    }

    /**
     * Starts the engine threads. The engine owns the backends from now on: each belongs to its thread, which closes it.
     *
     * @param tokenizer needed for stop strings only
     * @param backends one for each device, with the same model
     */
    public static Engine start(
            ModelConfig model, Optional<Tokenizer> tokenizer, List<Backend> backends, EngineConfig config) {
        Checks.argument(!backends.isEmpty(), "backends.size", backends.size());
        var bytes = tokenizer.map(t -> new TokenBytes(t, model.vocabSize()));
        var pools = backends.stream().map(StatePool::new).toList();
        var front = new Front(model, bytes, config, pools, System::nanoTime);
        front.start();
        var spelling = tokenizer.flatMap(t -> bytes.map(b -> new ByteSpelling(t, b, model.vocabSize())));
        return new Engine(model, tokenizer, spelling, config, front);
    }

    /**
     * Starts a request.
     *
     * @throws EngineException.InvalidRequest if this model or capacity can never serve it
     * @throws EngineException.QueueFull if no slot is free and the queue is full
     * @throws EngineException.EngineStopped if the engine is draining, closed or without devices
     */
    public Generation submit(GenerationRequest request) {
        return submit(List.of(request)).getFirst();
    }

    /** Starts several requests, all or none; see {@link #submit(GenerationRequest)}. */
    public List<Generation> submit(List<GenerationRequest> requests) {
        check(requests);
        return front.submit(requests);
    }

    /**
     * As {@link #submit(List)}, but a prompt that begins like another of the scope is not read again from its start.
     */
    public List<Generation> submit(List<GenerationRequest> requests, PrefixUse prefixes) {
        check(requests);
        return front.submit(requests, prefixes);
    }

    private void check(List<GenerationRequest> requests) {
        for (var request : requests) {
            RequestCheck.check(request, model, tokenizer.isPresent(), front.slotCountMax());
        }
    }

    /**
     * Starts a turn that goes on from a state and leaves one behind. The state stays as it is, whatever becomes of the
     * turn.
     *
     * @param start the state with the turn's own prompt appended
     * @param request one choice; its prompt is what is pending in {@code start}, and is not scored
     * @param keepsStopToken whether a stop id that ends the turn is part of the history, as after a chat's answer
     * @throws EngineException.InvalidRequest if this model or capacity can never serve it
     * @throws EngineException.QueueFull if no slot is free and the queue is full
     * @throws EngineException.EngineStopped if the engine is draining, closed or without devices
     */
    public Turn resume(SessionState start, GenerationRequest request, boolean keepsStopToken) {
        Checks.argument(Arrays.equals(request.prompt(), start.pending()), "prompt", "not what is pending");
        return resume(start, request, keepsStopToken, Optional.empty());
    }

    /**
     * As {@link #resume(SessionState, GenerationRequest, boolean)}, but the state is kept at breakpoints for others
     * that begin so.
     *
     * @param request its prompt is all tokens of {@code start}
     */
    public Turn resume(SessionState start, GenerationRequest request, boolean keepsStopToken, PrefixUse prefixes) {
        Checks.argument(request.prompt().length == start.tokenCount(), "prompt.length", request.prompt().length);
        return resume(start, request, keepsStopToken, Optional.of(prefixes));
    }

    private Turn resume(
            SessionState start, GenerationRequest request, boolean keepsStopToken, Optional<PrefixUse> prefixes) {
        Checks.argument(request.choiceCount() == 1, "choiceCount", request.choiceCount());
        Checks.argument(!request.scoresPrompt(), "scoresPrompt", "true");
        start.saved()
                .ifPresent(saved ->
                        Checks.argument(saved.layout().hasShapesOf(front.layout()), "start", "another model's"));
        RequestCheck.check(request, model, tokenizer.isPresent(), front.slotCountMax());
        RequestCheck.checkPositions(start.tokenCount(), model);
        return front.resume(start, request, keepsStopToken, spelling, prefixes);
    }

    /**
     * Starts the first turn of a sequence, as {@link #resume} from the empty state, but a prompt that begins like
     * another of the scope is not read again from its start.
     */
    public Turn begin(GenerationRequest request, boolean keepsStopToken, PrefixUse prefixes) {
        Checks.argument(request.choiceCount() == 1, "choiceCount", request.choiceCount());
        Checks.argument(!request.scoresPrompt(), "scoresPrompt", "true");
        check(List.of(request));
        var start = SessionState.EMPTY.append(request.prompt());
        return front.resume(start, request, keepsStopToken, spelling, Optional.of(prefixes));
    }

    /** Order and shapes of this engine's states. */
    public StateLayout layout() {
        return front.layout();
    }

    /** A momentary reading of all devices together. */
    public EngineStats stats() {
        return front.stats();
    }

    /** The model served. */
    public ModelConfig model() {
        return model;
    }

    /** Its tokenizer. */
    public Optional<Tokenizer> tokenizer() {
        return tokenizer;
    }

    /** Its bounds. */
    public EngineConfig config() {
        return config;
    }

    /**
     * Refuses new requests from now on, waits for those that wait or run, for at most this long, then cancels what is
     * left. Returns when nothing runs.
     */
    public void drain(Duration bound) {
        front.drain(bound);
    }

    /** Ends at once: what still runs fails with {@link EngineException.EngineStopped}. */
    @Override
    public void close() {
        front.close();
    }
}
