package basalt.engine.schedule;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import basalt.engine.EngineConfig;
import basalt.engine.EngineException;
import basalt.engine.FinishReason;
import basalt.engine.backend.fake.FakeBackend;
import basalt.engine.state.StatePool;
import basalt.engine.text.TokenBytes;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.Random;
import java.util.concurrent.Callable;
import java.util.concurrent.Executors;
import java.util.concurrent.locks.LockSupport;
import java.util.stream.LongStream;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** Engine, waker and readers on threads of their own. Seeded, but for the threads; {@code -Dseed=N} replays one. */
@Timeout(240)
class ThreadsPropertyTest {
    private static final int CLIENTS = 300;
    private static final long RETRY_NANOS = 100_000;

    static LongStream seeds() {
        String seed = System.getProperty("seed");
        return seed == null ? LongStream.range(0, 4) : LongStream.of(Long.parseLong(seed));
    }

    @ParameterizedTest(name = "seed {0}")
    @MethodSource("seeds")
    void everyReaderGetsItsTokensAndEverySlotComesBack(long seed) throws Exception {
        var random = new Random(seed);
        int slots = 2 + random.nextInt(6);
        var pool = StatePool.poisoning(new FakeBackend(SteppedEngine.OPTIONS.withSlots(slots, 1 + random.nextInt(8))));
        var bytes = new TokenBytes(new LetterTokenizer(SteppedEngine.VOCAB_SIZE), SteppedEngine.VOCAB_SIZE);
        var model = FakeBackend.modelConfig(SteppedEngine.VOCAB_SIZE, 0, SteppedEngine.END_OF_SEQUENCE);
        var config = new EngineConfig(8, 64, 50, 20, 1_000_000, Duration.ofMinutes(1));
        try (var readers = Executors.newVirtualThreadPerTaskExecutor();
                var front = new Front(model, Optional.of(bytes), config, List.of(pool), System::nanoTime)) {
            front.start();
            var clients = new ArrayList<Callable<Boolean>>();
            for (int i = 0; i < CLIENTS; i++) {
                var own = new Random(random.nextLong());
                clients.add(() -> runClient(front, own, slots));
            }

            for (var done : readers.invokeAll(clients)) {
                assertTrue(done.get());
            }

            front.drain(Duration.ofSeconds(60));
            assertEquals(0, front.stats().busySlotCount());
            assertEquals(0, front.stats().waitingTokenCount());
            assertTrue(front.stats().isAlive());
        }
    }

    /** Sends one request, reads it to its end or goes away on the way, and checks what it has read. */
    private static boolean runClient(Front front, Random random, int slots) throws InterruptedException {
        var request = Requests.random(random, slots);
        int events = random.nextInt(4) == 0 ? random.nextInt(100) : Integer.MAX_VALUE;
        Optional<Answer> submitted = Optional.empty();
        while (submitted.isEmpty()) {
            try {
                submitted = Optional.of(
                        new Answer(request, front.submit(List.of(request)).getFirst()));
            } catch (EngineException.QueueFull e) {
                LockSupport.parkNanos(RETRY_NANOS);
            }
        }
        var answer = submitted.get();
        boolean isOpen = true;
        for (int i = 0; isOpen; i++) {
            if (i == events) {
                answer.generation().close();
            }
            isOpen = answer.readNext();
        }
        for (int choice = 0; choice < request.choiceCount(); choice++) {
            if (answer.finished(choice).reason() == FinishReason.CANCELLED) {
                assertTrue(events < Integer.MAX_VALUE, "cancelled without being asked to");
                Expected.of(request, choice).assertStartsWith(answer);
            } else {
                Expected.of(request, choice).assertEqualTo(answer);
            }
        }
        return true;
    }
}
