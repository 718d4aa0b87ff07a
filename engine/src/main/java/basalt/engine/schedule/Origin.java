package basalt.engine.schedule;

import basalt.engine.backend.Backend;
import basalt.engine.state.SavedState;
import java.util.Optional;

/**
 * Where a request begins.
 *
 * @param saved state that the prompt goes on from; empty begins with none
 * @param prefilledCount tokens of the prompt that it has consumed
 * @param penalized ids before the prompt, for the repetition penalty
 */
record Origin(Optional<SavedState> saved, int prefilledCount, int[] penalized) {
    /** Nothing before the prompt. */
    static final Origin NONE = new Origin(Optional.empty(), 0, new int[0]);

    /** The same with the state in the form that a backend loads fastest. May be asked by any thread. */
    Origin prepared(Backend backend) {
        return new Origin(saved.map(backend::prepare), prefilledCount, penalized);
    }

    /** Tokens that need not be computed. */
    long cachedCount() {
        return saved.map(SavedState::tokenCount).orElse(0L);
    }

    /** Tokens before the first of the prompt. */
    long promptStart() {
        return cachedCount() - prefilledCount;
    }
}
