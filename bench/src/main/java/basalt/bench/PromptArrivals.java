package basalt.bench;

import basalt.bench.Completion.Outcome;
import java.net.URI;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.LongAdder;
import java.util.concurrent.locks.Condition;
import java.util.concurrent.locks.ReentrantLock;

/**
 * Prompts that arrive at a fixed rate beside the streams that are measured, whatever became of those before. Runs on a
 * thread of its own until it is closed.
 */
final class PromptArrivals implements AutoCloseable {
    private final URI server;
    private final PromptSet prompts;
    private final long periodNanos;
    private final long startNanos = System.nanoTime();
    private final ExecutorService requests = Executors.newVirtualThreadPerTaskExecutor();

    private final ReentrantLock lock = new ReentrantLock(); // guards what follows
    private final Condition closing = lock.newCondition();
    private final Samples firstTokens = new Samples();
    private int sentCount;
    private int completeCount;
    private boolean isClosed;

    /**
     * Begins at once.
     *
     * @param perSecond more than 0
     */
    PromptArrivals(URI server, PromptSet prompts, int perSecond) {
        this.server = server;
        this.prompts = prompts;
        periodNanos = TimeUnit.SECONDS.toNanos(1) / perSecond;
        Thread.ofVirtual().name("arrivals").start(this::send);
    }

    private void send() {
        lock.lock();
        try {
            while (!isClosed) {
                int request = sentCount++;
                requests.execute(() -> run(request));
                long left = startNanos + sentCount * periodNanos - System.nanoTime();
                while (left > 0 && !isClosed) {
                    left = closing.awaitNanos(left);
                }
            }
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        } finally {
            lock.unlock();
        }
    }

    private void run(int request) {
        var result = new Completion(new LongAdder()).run(server, prompts.body(request % prompts.count()), 0);
        lock.lock();
        try {
            if (result.outcome() == Outcome.COMPLETE) {
                completeCount++;
                firstTokens.add(result.firstTokenNanos());
            }
        } finally {
            lock.unlock();
        }
    }

    /** What came of those that have ended. */
    Report report() {
        lock.lock();
        try {
            return new Report(sentCount, completeCount, LoadReport.Quantiles.of(firstTokens));
        } finally {
            lock.unlock();
        }
    }

    /**
     * Counts of prompts.
     *
     * @param firstTokenMillis of the complete ones
     */
    record Report(int sentCount, int completeCount, LoadReport.Quantiles firstTokenMillis) {}

    /** Sends no more, and waits for what is under way. */
    @Override
    public void close() {
        lock.lock();
        try {
            isClosed = true;
            closing.signalAll();
        } finally {
            lock.unlock();
        }
        requests.close();
    }
}
