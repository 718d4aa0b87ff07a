package basalt.engine.session;

import java.util.List;
import java.util.OptionalLong;

/**
 * A session as its owner sees it.
 *
 * @param expiresMillis when it will be dropped, if it is not used before
 * @param turnCount turns committed
 * @param promptTokenCount tokens that turns brought
 * @param answerTokenCount tokens that turns produced
 * @param digest of all tokens, in order
 * @param imageBytes of its images, in memory or in the archive
 * @param checkpoints token counts that it can go back to: the ends of its turns
 * @param isBusy whether a turn runs
 */
public record SessionSummary(
        String id,
        long createdMillis,
        long usedMillis,
        OptionalLong expiresMillis,
        long tokenCount,
        long turnCount,
        long promptTokenCount,
        long answerTokenCount,
        String digest,
        Tier tier,
        long imageBytes,
        List<Long> checkpoints,
        boolean isBusy) {

    /** Where a session's image is, from the fastest on. */
    public enum Tier {
        /** In memory. */
        MEMORY,
        /** In the archive. */
        ARCHIVE,
        /** Nowhere: its tokens are read again. */
        TOKENS
    }
}
