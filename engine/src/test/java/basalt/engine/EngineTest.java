package basalt.engine;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import basalt.engine.backend.Backend;
import basalt.engine.backend.RowSampling;
import basalt.engine.backend.fake.FakeBackend;
import basalt.engine.backend.fake.FakeLanguage;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.Callable;
import java.util.concurrent.Executors;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

@Timeout(240)
class EngineTest {
    private static final int VOCAB_SIZE = 1_000;
    private static final FakeBackend.Options OPTIONS = FakeBackend.Options.DEFAULT.withVocabSize(VOCAB_SIZE);

    @Test
    void streamsTheTokensOfTheModel() throws InterruptedException {
        try (var engine = start(EngineConfig.DEFAULT, new FakeBackend(OPTIONS))) {
            int[] prompt = {1, 2, 3};

            var generation = engine.submit(GenerationRequest.of(prompt, 20));
            var tokens = tokens(generation);

            assertArrayEquals(greedy(prompt, 20), tokens);
            assertEquals(new Usage(3, 20, 0, 0), generation.usage());
            assertTrue(
                    generation.timing().firstTokenNanos() >= generation.timing().admittedNanos());
            assertTrue(
                    generation.timing().finishedNanos() >= generation.timing().firstTokenNanos());
        }
    }

    @Test
    void manyRequestsAtOnceAreEachAsIfAlone() throws Exception {
        try (var engine = start(EngineConfig.DEFAULT, new FakeBackend(OPTIONS));
                var executor = Executors.newVirtualThreadPerTaskExecutor()) {
            var tasks = new ArrayList<Callable<int[]>>();
            for (int i = 0; i < 200; i++) {
                int[] prompt = new int[1 + i * 7 % 300];
                prompt[0] = i;
                tasks.add(() -> tokens(engine.submit(GenerationRequest.of(prompt, 300))));
            }

            var answers = executor.invokeAll(tasks);

            for (int i = 0; i < tasks.size(); i++) {
                int[] prompt = new int[1 + i * 7 % 300];
                prompt[0] = i;
                assertArrayEquals(greedy(prompt, 300), answers.get(i).get());
            }
            engine.drain(Duration.ofSeconds(60));
            assertEquals(0, engine.stats().busySlotCount());
            assertEquals(200 * 300, engine.stats().sampledTokenCount());
        }
    }

    @Test
    void closedGenerationEndsAsCancelled() throws InterruptedException {
        try (var engine = start(EngineConfig.DEFAULT, new FakeBackend(OPTIONS))) {
            var generation = engine.submit(GenerationRequest.of(new int[] {1}, Integer.MAX_VALUE));
            generation.next();

            generation.close();

            assertEquals(FinishReason.CANCELLED, last(generation).reason());
        }
    }

    @Test
    void refusesWhatTheModelCannotServe() {
        try (var engine = start(EngineConfig.DEFAULT, new FakeBackend(OPTIONS))) {
            var outside = GenerationRequest.of(new int[] {VOCAB_SIZE}, 1);

            var e = assertThrows(EngineException.InvalidRequest.class, () -> engine.submit(outside));

            assertEquals("prompt", e.param());
        }
    }

    @Test
    void refusesAllOfASubmissionThatExceedsTheQueue() {
        var config = new EngineConfig(32, 128, 50, 2, 1_000, Duration.ofSeconds(30));
        var slow = OPTIONS.withSlots(1, 1).withTimes(1_000_000, 0);
        try (var engine = start(config, new FakeBackend(slow))) {
            var request = GenerationRequest.of(new int[] {1}, Integer.MAX_VALUE);

            var e = assertThrows(
                    EngineException.QueueFull.class, () -> engine.submit(List.of(request, request, request, request)));

            assertTrue(e.retryAfterMillis() > 0);
            assertEquals(3, engine.submit(List.of(request, request, request)).size());
            assertThrows(EngineException.QueueFull.class, () -> engine.submit(request));
        }
    }

    @Test
    void failingDeviceFailsItsRequestsAndTheOthersGoOn() throws InterruptedException {
        var failing = new FakeBackend(OPTIONS);
        var sound = new FakeBackend(OPTIONS);
        failing.failAtStep(10);
        try (var engine = start(EngineConfig.DEFAULT, failing, sound)) {
            var request = GenerationRequest.of(new int[] {1}, 500);
            var generations = engine.submit(List.of(request, request));

            assertThrows(EngineException.DeviceFailure.class, () -> tokens(generations.get(0)));

            assertArrayEquals(greedy(new int[] {1}, 500), tokens(generations.get(1)));
            for (int i = 0; i < 4; i++) {
                assertEquals(500, tokens(engine.submit(request)).length);
            }
            assertTrue(engine.stats().isAlive());
        }
    }

    @Test
    void requestsThatWaitForAFailingDeviceGoToAnother() throws InterruptedException {
        var slow = OPTIONS.withSlots(1, 1).withTimes(1_000_000, 0);
        var failing = new FakeBackend(slow);
        failing.failAtStep(30);
        try (var engine = start(EngineConfig.DEFAULT, failing, new FakeBackend(slow))) {
            var request = GenerationRequest.of(new int[] {1}, 60);
            var generations = engine.submit(Collections.nCopies(8, request));

            assertThrows(EngineException.DeviceFailure.class, () -> tokens(generations.get(0)));

            for (var generation : generations.subList(1, 8)) {
                assertArrayEquals(greedy(new int[] {1}, 60), tokens(generation));
            }
            assertEquals(0, engine.stats().waitingRequestCount());
            engine.drain(Duration.ofSeconds(60));
            assertEquals(0, engine.stats().runningRequestCount());
        }
    }

    @Test
    void drainRefusesNewRequestsAndCancelsWhatIsLeft() throws InterruptedException {
        try (var engine = start(EngineConfig.DEFAULT, new FakeBackend(OPTIONS))) {
            var generation = engine.submit(GenerationRequest.of(new int[] {1}, Integer.MAX_VALUE));

            engine.drain(Duration.ZERO);

            assertEquals(FinishReason.CANCELLED, last(generation).reason());
            assertThrows(
                    EngineException.EngineStopped.class, () -> engine.submit(GenerationRequest.of(new int[] {1}, 1)));
        }
    }

    @Test
    void closeFailsWhatStillRunsAndClosesTheDevice() {
        var backend = new FakeBackend(OPTIONS);
        var engine = start(EngineConfig.DEFAULT, backend);
        var generation = engine.submit(GenerationRequest.of(new int[] {1}, Integer.MAX_VALUE));

        engine.close();

        assertThrows(EngineException.EngineStopped.class, () -> last(generation));
        assertTrue(backend.isClosed());
        assertFalse(engine.stats().isAlive());
    }

    private static Engine start(EngineConfig config, Backend... backends) {
        return Engine.start(FakeBackend.modelConfig(VOCAB_SIZE, 0, -1), Optional.empty(), List.of(backends), config);
    }

    private static int[] tokens(Generation generation) throws InterruptedException {
        var tokens = new ArrayList<Integer>();
        for (var event = generation.next(); event.isPresent(); event = generation.next()) {
            if (event.get() instanceof TokenEvent.Sampled sampled) {
                assertEquals(tokens.size(), sampled.index());
                tokens.add(sampled.token());
            }
        }
        return tokens.stream().mapToInt(Integer::intValue).toArray();
    }

    private static TokenEvent.Finished last(Generation generation) throws InterruptedException {
        Optional<TokenEvent> last = Optional.empty();
        for (var event = generation.next(); event.isPresent(); event = generation.next()) {
            last = event;
        }
        return (TokenEvent.Finished) last.orElseThrow();
    }

    private static int[] greedy(int[] prompt, int count) {
        var sampling = new RowSampling(SamplingParams.GREEDY, 0, 0, new int[0], 0, count, -1, new int[0]);
        var tokens = new int[count];
        long history = FakeLanguage.consume(FakeLanguage.EMPTY, prompt);
        for (int i = 0; i < count; i++) {
            tokens[i] = FakeLanguage.next(history, prompt.length + i, sampling, i, VOCAB_SIZE);
            history = FakeLanguage.consume(history, tokens[i]);
        }
        return tokens;
    }
}
