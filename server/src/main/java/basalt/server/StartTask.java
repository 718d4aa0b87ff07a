package basalt.server;

import java.util.Optional;
import java.util.concurrent.ExecutionException;
import java.util.function.Supplier;

/**
 * Work of the start on a thread of its own.
 *
 * <p>It is over when its thread is. A {@link java.util.concurrent.FutureTask} whose thread finds the heap full while it
 * stores the failure stays unfinished, and what waits for it hangs: seen in starts with too small a heap.
 */
final class StartTask<T> {
    private final Thread thread;
    // Written by the thread and read after its end.
    private Optional<T> result = Optional.empty();
    private Optional<Throwable> failure = Optional.empty();

    private StartTask(String name, Supplier<T> work) {
        thread = Thread.ofPlatform()
                .daemon()
                .name(name)
                .uncaughtExceptionHandler((_, thrown) -> failure = Optional.of(thrown))
                .unstarted(() -> result = Optional.of(work.get()));
    }

    /**
     * Starts it.
     *
     * @param work what to do, which returns no null
     */
    static <T> StartTask<T> start(String name, Supplier<T> work) {
        var task = new StartTask<>(name, work);
        task.thread.start();
        return task;
    }

    boolean isDone() {
        return !thread.isAlive();
    }

    /**
     * Waits for the result.
     *
     * @throws ExecutionException if the work failed, with what it threw as the cause
     * @throws OutOfMemoryError if the work ended of a full heap
     */
    T get() throws ExecutionException, InterruptedException {
        thread.join();
        if (result.isPresent()) {
            return result.get();
        }
        Throwable cause = failure.orElseGet(OutOfMemoryError::new);
        if (cause instanceof OutOfMemoryError full) {
            throw full;
        }
        throw new ExecutionException(cause);
    }
}
