package basalt.engine.schedule;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;

import basalt.engine.EngineException;
import basalt.engine.Generation;
import basalt.engine.GenerationRequest;
import basalt.engine.SamplingParams;
import basalt.engine.TokenEvent;
import basalt.engine.Turn;
import basalt.engine.backend.Backend;
import basalt.engine.backend.fake.FakeBackend;
import basalt.engine.state.SessionState;
import basalt.engine.state.StatePool;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Proxy;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** A device that fails in one operation: no client waits for ever, and what has not begun goes to another device. */
@Timeout(value = 60, unit = TimeUnit.SECONDS, threadMode = Timeout.ThreadMode.SEPARATE_THREAD)
class FailingDeviceTest {
    private static final GenerationRequest REQUEST = Requests.endless(1, 3, 5);
    private static final String NOTHING = "";

    private volatile String failing = NOTHING;
    private volatile boolean lacksMemory;

    /** The fake, but for the operation that is told to fail. */
    private Backend failing(FakeBackend fake) {
        return (Backend) Proxy.newProxyInstance(
                Backend.class.getClassLoader(), new Class<?>[] {Backend.class}, (proxy, method, arguments) -> {
                    if (method.getName().equals(failing)) {
                        throw new EngineException.DeviceFailure("told to fail in " + failing);
                    }
                    if (lacksMemory && method.getName().equals("beginSave")) {
                        return CompletableFuture.failedFuture(new OutOfMemoryError("told"));
                    }
                    try {
                        return method.invoke(fake, arguments);
                    } catch (InvocationTargetException e) {
                        throw e.getCause();
                    }
                });
    }

    private static Front front(Backend... backends) {
        return new Front(
                FakeBackend.modelConfig(SteppedEngine.VOCAB_SIZE, 0, SteppedEngine.END_OF_SEQUENCE),
                Optional.empty(),
                SteppedEngine.CONFIG,
                Arrays.stream(backends).map(StatePool::new).toList(),
                System::nanoTime);
    }

    private static List<Integer> tokens(Generation generation) throws InterruptedException {
        var tokens = new ArrayList<Integer>();
        while (!generation.isFinished()) {
            if (generation.next().orElse(null) instanceof TokenEvent.Sampled sampled) {
                tokens.add(sampled.token());
            }
        }
        return tokens;
    }

    private static Turn resume(Front front, SessionState state, GenerationRequest request, int... prompt) {
        var start = state.append(prompt);
        return front.resume(start, request.withPrompt(start.pending()), false, Optional.empty(), Optional.empty());
    }

    private static List<Integer> expected(GenerationRequest request) throws InterruptedException {
        try (var front = front(new FakeBackend(SteppedEngine.OPTIONS))) {
            front.start();
            return tokens(front.submit(List.of(request)).getFirst());
        }
    }

    @ParameterizedTest
    @ValueSource(strings = {"zero", "configure"})
    void anotherDeviceTakesWhatWasGettingItsSlot(String operation) throws Exception {
        try (var front = front(
                failing(new FakeBackend(SteppedEngine.OPTIONS.withSlots(4, 4))),
                new FakeBackend(SteppedEngine.OPTIONS.withSlots(2, 2)))) {
            failing = operation;
            var generation = front.submit(List.of(REQUEST)).getFirst();
            front.start();

            assertEquals(expected(REQUEST), tokens(generation));
        }
    }

    @ParameterizedTest
    @ValueSource(strings = {"zero", "configure", "load"})
    void theLastDeviceFailsWhatWasGettingItsSlot(String operation) throws Exception {
        var backend = failing(new FakeBackend(SteppedEngine.OPTIONS));
        try (var front = front(backend)) {
            front.start();
            var first = resume(front, SessionState.EMPTY, REQUEST, 1, 2, 3);
            tokens(first);
            var state = first.outcome().orElseThrow().state();

            failing = operation;
            var second = resume(front, state, REQUEST, 4);

            assertThrows(EngineException.DeviceFailure.class, () -> tokens(second));
            assertThrows(EngineException.DeviceFailure.class, second::outcome);
            assertEquals(0, front.stats().runningRequestCount());
            assertEquals(0, front.stats().waitingRequestCount());
        }
    }

    @Test
    void turnThatEndsByAStopFailsWithItsSave() throws Exception {
        var tokens = expected(Requests.endless(1, 3, 50));
        int at = 20;
        while (tokens.indexOf(tokens.get(at)) < at) {
            at++;
        }
        var request = new GenerationRequest(
                new int[] {1, 2, 3},
                50,
                SamplingParams.GREEDY,
                0,
                1,
                List.of(),
                new int[] {tokens.get(at)},
                true,
                0,
                -1,
                false,
                0,
                Optional.empty());
        failing = "beginSave";
        try (var front = front(failing(new FakeBackend(SteppedEngine.OPTIONS)))) {
            var turn = resume(front, SessionState.EMPTY, request, 1, 2, 3);
            front.start();
            tokens(turn);

            assertThrows(EngineException.DeviceFailure.class, turn::outcome);
        }
    }

    @Test
    void turnThatWaitsForItsSaveFailsWithIt() throws Exception {
        var fake = new FakeBackend(SteppedEngine.OPTIONS);
        fake.holdSaves(true);
        try (var front = front(failing(fake))) {
            var turn = resume(front, SessionState.EMPTY, REQUEST, 1, 2, 3);
            front.start();
            tokens(turn);

            failing = "beginSave";
            fake.holdSaves(false);

            assertThrows(EngineException.DeviceFailure.class, turn::outcome);
        }
    }

    /** Its tokens say the same as its state, which is read again from them. */
    @Test
    void turnWhoseStateHasNoMemoryKeepsItsTokens() throws Exception {
        try (var front = front(failing(new FakeBackend(SteppedEngine.OPTIONS)))) {
            front.start();
            lacksMemory = true;
            var first = resume(front, SessionState.EMPTY, REQUEST, 1, 2, 3);
            var tokens = tokens(first);
            var copy = first.outcome().orElseThrow();
            assertFalse(copy.state().saved().isPresent());
            assertArrayEquals(tokens.stream().mapToInt(i -> i).toArray(), copy.tokens());

            lacksMemory = false;
            var second = resume(front, copy.state(), REQUEST, 4);

            int[] whole = copy.state().append(new int[] {4}).pending();
            assertEquals(expected(REQUEST.withPrompt(whole)), tokens(second));
        }
    }
}
