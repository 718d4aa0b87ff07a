package basalt.engine;

import basalt.engine.state.SessionState;
import java.util.Optional;

/**
 * A generation of one choice that goes on from a {@link SessionState} and leaves one behind. The state it started from
 * stays as it was.
 */
public interface Turn extends Generation {
    /**
     * The end: the state after all that was pending and the text that the turn produced. Waits for it.
     *
     * @return empty if the turn was cancelled
     * @throws InterruptedException if the waiting thread is interrupted
     * @throws EngineException if the engine failed it
     */
    Optional<Copy> outcome() throws InterruptedException;

    /**
     * What there is now, at an exact token; the turn goes on. Waits for the first token.
     *
     * @return empty if the turn has ended meanwhile
     * @throws InterruptedException if the waiting thread is interrupted
     * @throws EngineException if the engine fails
     */
    Optional<Copy> fork() throws InterruptedException;

    /**
     * A state that the turn leaves behind.
     *
     * @param state after the turn's tokens
     * @param tokens what the turn has added to the history
     */
    @SuppressWarnings("ArrayRecordComponent") // never compared
    record Copy(SessionState state, int[] tokens) {}
}
