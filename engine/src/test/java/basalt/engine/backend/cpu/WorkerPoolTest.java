package basalt.engine.backend.cpu;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertThrows;

import java.util.concurrent.CountDownLatch;
import java.util.concurrent.atomic.AtomicIntegerArray;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class WorkerPoolTest {
    @ParameterizedTest
    @ValueSource(ints = {1, 2, 4})
    void everyTaskIsDoneOnce(int workerCount) {
        var counts = new AtomicIntegerArray(1_000);
        try (var pool = new WorkerPool(workerCount)) {
            for (int phase = 0; phase < 100; phase++) {
                pool.run((task, worker) -> counts.incrementAndGet(task), 10 * (phase + 1));
            }
        }

        for (int task = 0; task < counts.length(); task++) {
            assertEquals(100 - task / 10, counts.get(task), "task " + task);
        }
    }

    /** Fails on a thread that is not the caller's, which does what is left. */
    private static WorkerPool.Job failing(Error failure) {
        var hasFailed = new CountDownLatch(1);
        return (task, worker) -> {
            if (worker > 0) {
                hasFailed.countDown();
                throw failure;
            }
            try {
                hasFailed.await();
            } catch (InterruptedException e) {
                throw new IllegalStateException(e);
            }
        };
    }

    @Test
    void heapThatAnotherThreadFoundFullIsTold() {
        var failure = new OutOfMemoryError("as told");
        try (var pool = new WorkerPool(2)) {
            assertSame(failure, assertThrows(OutOfMemoryError.class, () -> pool.run(failing(failure), 2)));
        }
    }

    @Test
    void failureOfAnotherThreadIsTheCause() {
        var failure = new AssertionError("as told");
        try (var pool = new WorkerPool(2)) {
            assertSame(
                    failure,
                    assertThrows(IllegalStateException.class, () -> pool.run(failing(failure), 2))
                            .getCause());
        }
    }
}
