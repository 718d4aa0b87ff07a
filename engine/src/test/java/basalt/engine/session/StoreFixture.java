package basalt.engine.session;

import static org.junit.jupiter.api.Assertions.assertEquals;

import basalt.engine.Engine;
import basalt.engine.EngineConfig;
import basalt.engine.FinishReason;
import basalt.engine.GenerationRequest;
import basalt.engine.SamplingParams;
import basalt.engine.TokenEvent;
import basalt.engine.backend.RowSampling;
import basalt.engine.backend.fake.FakeBackend;
import basalt.engine.backend.fake.FakeLanguage;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Optional;

/** An engine on a fake device, and what it must answer. */
final class StoreFixture {
    static final int VOCAB_SIZE = 60;
    static final String OWNER = "owner";
    static final String FINGERPRINT = "model";

    private StoreFixture() {}

    static Engine engine(long stepNanos) {
        var options = FakeBackend.Options.DEFAULT
                .withVocabSize(VOCAB_SIZE)
                .withSlots(4, 4)
                .withTimes(stepNanos, 0);
        var config = new EngineConfig(4, 32, 50, 100, 1_000_000, Duration.ofSeconds(30));
        return Engine.start(
                FakeBackend.modelConfig(VOCAB_SIZE, 0, -1),
                Optional.empty(),
                List.of(new FakeBackend(options)),
                config);
    }

    static SessionConfig config(long memoryBytesMax, long archiveBytesMax, int replayTokensMax) {
        return new SessionConfig(FINGERPRINT, 1_000, memoryBytesMax, archiveBytesMax, replayTokensMax);
    }

    static TurnRequest request(int[] prompt, int maxTokens, long seed) {
        var template = new GenerationRequest(
                new int[] {0},
                maxTokens,
                SamplingParams.DEFAULT,
                seed,
                1,
                List.of(),
                new int[0],
                true,
                0,
                -1,
                false,
                0,
                Optional.empty());
        return new TurnRequest(prompt, prompt, template, false);
    }

    static TurnRequest withDeadline(TurnRequest request, Duration deadline) {
        return new TurnRequest(
                request.opening(),
                request.prompt(),
                request.template().withDeadline(deadline),
                request.keepsStopToken());
    }

    /** Runs a turn to its end. */
    static int[] answer(SessionStore store, String id, int[] prompt, int maxTokens, long seed)
            throws InterruptedException {
        try (var turn = store.turn(OWNER, id, request(prompt, maxTokens, seed), new Patience(Duration.ZERO))) {
            return read(turn);
        }
    }

    static int[] read(SessionTurn turn) throws InterruptedException {
        int[] tokens = {};
        for (var event = turn.next(); event.isPresent(); event = turn.next()) {
            switch (event.get()) {
                case TokenEvent.Scored e -> throw new AssertionError(e);
                case TokenEvent.Sampled e -> tokens = concat(tokens, e.token());
                case TokenEvent.Finished e -> {
                    if (e.reason() != FinishReason.LENGTH) {
                        throw new AssertionError(e);
                    }
                }
            }
        }
        return tokens;
    }

    /** Why a turn of one choice ends. */
    static FinishReason end(SessionTurn turn) throws InterruptedException {
        var reasons = new ArrayList<FinishReason>();
        for (var event = turn.next(); event.isPresent(); event = turn.next()) {
            if (event.get() instanceof TokenEvent.Finished finished) {
                reasons.add(finished.reason());
            }
        }
        assertEquals(1, reasons.size());
        return reasons.getFirst();
    }

    /** What follows a history. */
    static int[] expected(int[] history, int count, long seed) {
        var sampling = new RowSampling(SamplingParams.DEFAULT, seed, 0, new int[0], 0, 0, -1, new int[0]);
        long hash = FakeLanguage.consume(FakeLanguage.EMPTY, history);
        var tokens = new int[count];
        for (int i = 0; i < count; i++) {
            tokens[i] = FakeLanguage.next(hash, (long) history.length + i, sampling, i, VOCAB_SIZE);
            hash = FakeLanguage.consume(hash, tokens[i]);
        }
        return tokens;
    }

    static int[] concat(int[] first, int... second) {
        int[] all = Arrays.copyOf(first, first.length + second.length);
        System.arraycopy(second, 0, all, first.length, second.length);
        return all;
    }
}
