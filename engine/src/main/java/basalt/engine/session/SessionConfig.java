package basalt.engine.session;

import basalt.engine.Checks;

/**
 * Bounds of a session store.
 *
 * @param fingerprint of the model; states of one model are of no use to another
 * @param sessionsMax sessions kept at most
 * @param memoryBytesMax images in memory; beyond it the least recently used ones go to the archive
 * @param archiveBytesMax images in the archive; beyond it the least recently used ones are dropped, and their sessions
 *     are read again from their tokens
 * @param replayTokensMax a session whose newest archived image is further behind gets a new one soon
 */
public record SessionConfig(
        String fingerprint, int sessionsMax, long memoryBytesMax, long archiveBytesMax, int replayTokensMax) {

    /** Checks the bounds. */
    public SessionConfig {
        Checks.argument(sessionsMax > 0, "sessionsMax", sessionsMax);
        Checks.argument(memoryBytesMax >= 0, "memoryBytesMax", memoryBytesMax);
        Checks.argument(archiveBytesMax >= 0, "archiveBytesMax", archiveBytesMax);
        Checks.argument(replayTokensMax > 0, "replayTokensMax", replayTokensMax);
    }
}
