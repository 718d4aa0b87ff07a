package basalt.engine.schedule;

import basalt.engine.state.StateImage;
import java.util.Optional;

/**
 * Where a request begins.
 *
 * @param image of the state that the prompt goes on from; empty begins with none
 * @param prefilledCount tokens of the prompt that the image has consumed
 * @param penalized ids before the prompt, for the repetition penalty
 */
record Origin(Optional<StateImage> image, int prefilledCount, int[] penalized) {
    /** Nothing before the prompt. */
    static final Origin NONE = new Origin(Optional.empty(), 0, new int[0]);

    /** Tokens that need not be computed. */
    long cachedCount() {
        return image.map(StateImage::tokenCount).orElse(0L);
    }

    /** Tokens before the first of the prompt. */
    long promptStart() {
        return cachedCount() - prefilledCount;
    }
}
