package basalt.engine.backend.cuda;

import basalt.engine.EngineConfig;
import basalt.engine.Generation;
import basalt.engine.GenerationRequest;
import basalt.engine.SamplingParams;
import basalt.engine.TokenEvent;
import basalt.engine.Turn;
import basalt.engine.backend.Backend;
import basalt.engine.model.Checkpoint;
import basalt.engine.model.ElementType;
import basalt.engine.schedule.Front;
import basalt.engine.state.SessionState;
import basalt.engine.state.StatePool;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.function.BiConsumer;

/**
 * Asks for texts, reads them with the bits of their log-probabilities, and reports what they prove.
 *
 * @param type bf16, whose deterministic mode is compared bit for bit, or f32, by its tokens alone
 * @param report takes the name of a rule and its verdict
 */
record GpuTexts(Checkpoint checkpoint, ElementType type, BiConsumer<String, Object> report) {
    /** A token with the bits of its log-probability. */
    record Seen(int token, int logprobBits) {}

    /** A running front of backends whose released slots are poisoned. */
    Front start(EngineConfig config, List<? extends Backend> backends) {
        var front = new Front(
                checkpoint.config(),
                Optional.empty(),
                config,
                backends.stream().map(StatePool::poisoning).toList(),
                System::nanoTime);
        front.start();
        return front;
    }

    /** Tokens of the vocabulary that no text has. */
    int[] prompt(int first, int count) {
        int[] tokens = new int[count];
        for (int i = 0; i < count; i++) {
            tokens[i] = (first + i * 37) % checkpoint.config().vocabSize();
        }
        return tokens;
    }

    /** A request that ends by its length alone. */
    static GenerationRequest request(int[] tokens, int maxTokens, SamplingParams sampling, int logprobCount) {
        return new GenerationRequest(
                tokens,
                maxTokens,
                sampling,
                42,
                1,
                List.of(),
                new int[0],
                true,
                0,
                logprobCount,
                false,
                0,
                Optional.empty());
    }

    /** Reads to the end. */
    List<Seen> read(Generation generation) throws InterruptedException {
        var seen = new ArrayList<Seen>();
        readInto(seen, generation);
        return seen;
    }

    /** Reads to the end, or until the generation fails. */
    void readInto(List<Seen> seen, Generation generation) throws InterruptedException {
        for (var event = generation.next(); event.isPresent(); event = generation.next()) {
            if (event.get() instanceof TokenEvent.Sampled e) {
                seen.add(seen(e));
            }
        }
    }

    Seen seen(TokenEvent.Sampled e) {
        float logprob = e.logprobs().map(TokenEvent.Logprobs::chosen).orElse(0f);
        return new Seen(e.token(), type == ElementType.BF16 ? Float.floatToRawIntBits(logprob) : 0);
    }

    /** The uninterrupted text. */
    List<Seen> whole(Front front, GenerationRequest request) throws InterruptedException {
        try (var generation = front.submit(List.of(request)).getFirst()) {
            return read(generation);
        }
    }

    /** A turn whose prompt is what is pending. */
    static Turn resume(Front front, SessionState start, GenerationRequest request) {
        return front.resume(start, request.withPrompt(start.pending()), false, Optional.empty(), Optional.empty());
    }

    void verdict(String name, boolean isGood, String what) {
        report.accept(name, (isGood ? "ok: " : "FAILED: ") + what);
    }
}
