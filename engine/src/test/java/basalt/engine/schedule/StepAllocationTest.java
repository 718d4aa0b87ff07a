package basalt.engine.schedule;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import basalt.engine.EngineConfig;
import basalt.engine.Generation;
import basalt.engine.GenerationRequest;
import basalt.engine.SamplingParams;
import basalt.engine.backend.fake.FakeBackend;
import basalt.engine.state.StatePool;
import basalt.engine.text.TokenBytes;
import com.sun.management.ThreadMXBean;
import java.lang.management.ManagementFactory;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.Executors;
import java.util.concurrent.locks.LockSupport;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

class StepAllocationTest {
    private static final int WARM_STEPS = 20_000;
    private static final int STEPS = 20_000;
    /** Code that is compiled anew may take what it had on the stack to the heap; what each step allocates is in all. */
    private static final int WINDOWS = 10;

    /** So few that long prompts last, however long the engine goes on while this test is not run. */
    private static final int CHUNK_TOKENS = 8;

    @Test
    @Timeout(240)
    void engineThreadAllocatesNothingPerStep() throws Exception {
        var config = new EngineConfig(32, CHUNK_TOKENS, 50, 100, 100_000_000, Duration.ofHours(1));
        var pool = new StatePool(new FakeBackend(SteppedEngine.OPTIONS));
        var bytes = new TokenBytes(new LetterTokenizer(SteppedEngine.VOCAB_SIZE), SteppedEngine.VOCAB_SIZE);
        var model = FakeBackend.modelConfig(SteppedEngine.VOCAB_SIZE, 0, SteppedEngine.END_OF_SEQUENCE);
        try (var readers = Executors.newVirtualThreadPerTaskExecutor();
                var front = new Front(model, Optional.of(bytes), config, List.of(pool), System::nanoTime)) {
            front.start();
            var generations = front.submit(requests());
            for (var generation : generations.subList(1, generations.size())) {
                var _ = readers.submit(() -> readAll(generation));
            }
            awaitSteps(front, WARM_STEPS);
            long thread = engineThread();
            var threads = (ThreadMXBean) ManagementFactory.getThreadMXBean();

            assertTrue(threads.getThreadAllocatedBytes(thread) > 0, "allocation is not measured");
            long least = Long.MAX_VALUE;
            for (int i = 0; i < WINDOWS && least > 0; i++) {
                long before = threads.getThreadAllocatedBytes(thread);
                awaitSteps(front, front.stats().stepCount() + STEPS);
                least = Math.min(least, threads.getThreadAllocatedBytes(thread) - before);
            }

            assertEquals(generations.size(), front.stats().runningRequestCount());
            assertEquals(0, least);
            generations.forEach(Generation::close);
        }
    }

    /** All kinds of work that goes on for long: the first has no reader, so its row is paused. */
    private static List<GenerationRequest> requests() {
        var requests = new ArrayList<GenerationRequest>();
        for (int i = 0; i < 8; i++) {
            requests.add(Requests.endless(i, 10, Integer.MAX_VALUE));
        }
        requests.add(Requests.endless(1, 20_000_000, 1));
        requests.add(Requests.scoring(Requests.prompt(1, 5_000_000), 1, 1, 3));
        requests.add(Requests.sampled(Requests.prompt(3, 20), Integer.MAX_VALUE, 3, 1));
        requests.add(new GenerationRequest(
                new int[] {1},
                Integer.MAX_VALUE,
                SamplingParams.DEFAULT,
                1,
                1,
                List.of("abcabcabcabcabcabcabcabcabcabcabcabc", "cbacbacbacbacbacbacbacbacbacbacba"),
                new int[0],
                true,
                0,
                5,
                false,
                0,
                Optional.empty()));
        return requests;
    }

    private static long readAll(Generation generation) throws InterruptedException {
        long count = 0;
        while (generation.next().isPresent()) {
            count++;
        }
        return count;
    }

    private static long engineThread() {
        return Thread.getAllStackTraces().keySet().stream()
                .filter(thread -> thread.getName().equals("basalt-engine-0"))
                .mapToLong(Thread::threadId)
                .findFirst()
                .orElseThrow();
    }

    private static void awaitSteps(Front front, long count) {
        while (front.stats().stepCount() < count && front.stats().isAlive()) {
            LockSupport.parkNanos(1_000_000);
        }
    }
}
