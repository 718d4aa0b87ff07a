package basalt.engine;

import java.util.Optional;

/**
 * A running request. Read by one thread, best a virtual one; {@link #close} may be called by any.
 */
public interface Generation extends AutoCloseable {
    /**
     * Waits for the next event. Events of one choice come in order; choices interleave. After the last choice's
     * {@link TokenEvent.Finished} it returns empty.
     *
     * @throws InterruptedException if the waiting thread is interrupted; the generation goes on
     * @throws EngineException if the engine failed this request
     */
    Optional<TokenEvent> next() throws InterruptedException;

    /** As {@link #next}, but returns empty at once if nothing has arrived; {@link #isFinished} tells the two apart. */
    Optional<TokenEvent> poll();

    /** Whether every choice's last event has been read. */
    boolean isFinished();

    /** Tokens so far; final once {@link #isFinished}. */
    Usage usage();

    /** Times of this request's stages. */
    Timing timing();

    /** Cancels what still runs; its slots are free within one step. Does nothing when finished. */
    @Override
    void close();

    /**
     * Moments of {@link System#nanoTime}, 0 where not reached.
     *
     * @param arrivedNanos submitted
     * @param admittedNanos slots acquired
     * @param firstTokenNanos first token sampled
     * @param finishedNanos last choice ended
     */
    record Timing(long arrivedNanos, long admittedNanos, long firstTokenNanos, long finishedNanos) {}
}
