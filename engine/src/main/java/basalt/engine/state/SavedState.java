package basalt.engine.state;

import java.util.Optional;

/**
 * A state outside the slots, which has consumed {@link #tokenCount} tokens. Not to be changed, so any number of holders
 * share it; told apart by identity. Safe for use by any number of threads.
 *
 * <p>A backend saves and loads a form of its own that costs no conversion. Whatever leaves the process or goes to
 * another kind of backend does so as a {@link StateImage}, which is one too.
 */
public interface SavedState {
    /** Order and shapes of the tensors. */
    StateLayout layout();

    /** Tokens that the state has consumed. */
    long tokenCount();

    /** Host memory that it takes. */
    long bytes();

    /**
     * What this state was before its last tokens; shares the memory. As a backend's rollback: rings still hold what
     * those tokens replace.
     *
     * @param count of tokens consumed then
     * @return empty if that is too long ago, or a block was folded since
     */
    default Optional<SavedState> before(long count) {
        boolean isWithinReach = count > 0
                && count <= tokenCount()
                && tokenCount() - count <= StateLayout.ROLLBACK_TOKENS
                && !StateLayout.foldsBetween(count, tokenCount());
        return isWithinReach ? Optional.of(new EarlierState(this, count)) : Optional.empty();
    }

    /**
     * Gives the memory back at once. For the only holder: nobody uses this, or what it was {@link #before}, any more.
     * A state that nobody releases is found by the garbage collector, later.
     */
    default void release() {}

    /** The portable form; made anew if this is another. Not to be changed. */
    StateImage image();
}
