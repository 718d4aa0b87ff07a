package basalt.engine.backend.cpu;

import basalt.engine.Checks;
import java.lang.invoke.MethodHandles;
import java.lang.invoke.VarHandle;
import java.util.concurrent.atomic.AtomicIntegerArray;
import java.util.concurrent.locks.LockSupport;
import org.jspecify.annotations.Nullable;

/**
 * Runs the tasks of one phase after another on a fixed set of threads, the caller's among them. Owned by the engine
 * thread, which calls {@link #run}.
 *
 * <p>Tasks are claimed one by one from a single atomic word that holds the phase's number, its task count and the next
 * task, so a worker that the system wakes late cannot take a task of a phase it has not seen. A phase ends when its
 * tasks are done, not when every worker has looked in. Idle workers spin for a moment and then park: on shared cores
 * endless spinning costs more than it saves.
 */
final class WorkerPool implements AutoCloseable {
    /** Work that splits into numbered tasks. */
    interface Job {
        /** Called by each worker that takes part, before its first task of a phase. */
        default void prepare(int worker) {}

        /** Does one task; neither the order of tasks nor who does them may matter. */
        void run(int task, int worker);
    }

    private static final int INDEX_BITS = 20;
    private static final int INDEX_MASK = (1 << INDEX_BITS) - 1;
    /** Looks at the claims before a worker parks; some tens of microseconds. */
    private static final int SPIN_COUNT = 2_000;

    private static final VarHandle CLAIMS;
    private static final VarHandle DONE;

    static {
        try {
            CLAIMS = MethodHandles.lookup().findVarHandle(WorkerPool.class, "claims", long.class);
            DONE = MethodHandles.lookup().findVarHandle(WorkerPool.class, "done", int.class);
        } catch (ReflectiveOperationException e) {
            throw new ExceptionInInitializerError(e);
        }
    }

    private final Thread[] threads;
    private final AtomicIntegerArray isParked; // [threads]: 1 while a thread is about to park or parked

    @SuppressWarnings("UnusedVariable") // By CLAIMS.
    private volatile long claims; // phase number | task count | next task

    @SuppressWarnings("UnusedVariable") // By DONE.
    private volatile int done; // finished tasks of this phase

    private volatile boolean isClosed;
    private volatile @Nullable Throwable failure;
    private Job job = (task, worker) -> {};
    private long phase;

    /** Starts {@code workerCount - 1} threads beside the caller's. */
    WorkerPool(int workerCount) {
        Checks.argument(workerCount > 0, "workerCount", workerCount);
        threads = new Thread[workerCount - 1];
        isParked = new AtomicIntegerArray(threads.length);
        for (int i = 0; i < threads.length; i++) {
            int index = i;
            threads[i] = Thread.ofPlatform()
                    .daemon()
                    .name("basalt-worker-" + (i + 1))
                    .uncaughtExceptionHandler((thread, thrown) -> failure = thrown)
                    .unstarted(() -> work(index));
        }
        for (Thread thread : threads) {
            thread.start();
        }
    }

    /** Threads that take part, the caller's included. */
    int workerCount() {
        return threads.length + 1;
    }

    /**
     * Does all tasks of a job and returns when they are done.
     *
     * @throws IllegalStateException if a task failed on another thread
     * @throws OutOfMemoryError if a task found the heap full there
     */
    void run(Job phaseJob, int taskCount) {
        assert taskCount >= 0 && taskCount <= INDEX_MASK : taskCount;
        if (taskCount == 1 || threads.length == 0) {
            phaseJob.prepare(0);
            for (int task = 0; task < taskCount; task++) {
                phaseJob.run(task, 0);
            }
            return;
        }
        job = phaseJob;
        DONE.set(this, 0);
        phase = (phase + 1) & ((1L << (63 - 2 * INDEX_BITS)) - 1);
        CLAIMS.setVolatile(this, (phase << (2 * INDEX_BITS)) | ((long) taskCount << INDEX_BITS));
        for (int i = 0; i < threads.length; i++) {
            if (isParked.get(i) == 1) {
                LockSupport.unpark(threads[i]);
            }
        }
        claimTasks(0);
        while ((int) DONE.getAcquire(this) < taskCount) {
            if (failure instanceof OutOfMemoryError full) {
                throw full;
            } else if (failure != null) {
                throw new IllegalStateException("a worker failed", failure);
            }
            Thread.onSpinWait();
        }
    }

    private void claimTasks(int worker) {
        long prepared = -1;
        while (true) {
            long claim = (long) CLAIMS.getAndAdd(this, 1L);
            int task = (int) claim & INDEX_MASK;
            if (task >= ((int) (claim >>> INDEX_BITS) & INDEX_MASK)) {
                return;
            }
            // The phase cannot end before this task is done, so the job is this phase's.
            Job claimed = job;
            if (claim >>> (2 * INDEX_BITS) != prepared) {
                prepared = claim >>> (2 * INDEX_BITS);
                claimed.prepare(worker);
            }
            claimed.run(task, worker);
            DONE.getAndAddRelease(this, 1);
        }
    }

    private void work(int index) {
        long seen = 0;
        while (!isClosed) {
            seen = awaitPhase(index, seen);
            claimTasks(index + 1);
        }
    }

    private long awaitPhase(int index, long seen) {
        int spins = 0;
        while (!isClosed) {
            long current = (long) CLAIMS.getAcquire(this) >>> (2 * INDEX_BITS);
            if (current != seen) {
                return current;
            }
            if (spins++ < SPIN_COUNT) {
                Thread.onSpinWait();
                continue;
            }
            isParked.set(index, 1);
            if ((long) CLAIMS.getVolatile(this) >>> (2 * INDEX_BITS) == seen && !isClosed) {
                LockSupport.park(this);
            }
            isParked.set(index, 0);
        }
        return seen;
    }

    /** Ends the threads; {@link #run} must not be called again. */
    @Override
    public void close() {
        isClosed = true;
        for (Thread thread : threads) {
            LockSupport.unpark(thread);
        }
    }
}
