package basalt.engine.session;

import basalt.engine.Checks;

/**
 * Bounds of a session store.
 *
 * @param fingerprint of the model; states of one model are of no use to another
 * @param sessionsMax sessions kept at most
 * @param ownerSessionsMax of these that one owner has at most; 0 for no limit
 * @param memoryBytesMax images in memory; beyond it the least recently used ones go to the archive
 * @param archiveBytesMax images in the archive; beyond it the least recently used ones are dropped, and their sessions
 *     are read again from their tokens
 * @param replayTokensMax a session whose newest archived image is further behind gets a new one soon
 */
public record SessionConfig(
        String fingerprint,
        int sessionsMax,
        int ownerSessionsMax,
        long memoryBytesMax,
        long archiveBytesMax,
        int replayTokensMax) {

    /** Checks the bounds. */
    public SessionConfig {
        Checks.argument(sessionsMax > 0, "sessionsMax", sessionsMax);
        Checks.argument(ownerSessionsMax >= 0, "ownerSessionsMax", ownerSessionsMax);
        Checks.argument(memoryBytesMax >= 0, "memoryBytesMax", memoryBytesMax);
        Checks.argument(archiveBytesMax >= 0, "archiveBytesMax", archiveBytesMax);
        Checks.argument(replayTokensMax > 0, "replayTokensMax", replayTokensMax);
    }

    /** Without a limit of one owner. */
    public SessionConfig(
            String fingerprint, int sessionsMax, long memoryBytesMax, long archiveBytesMax, int replayTokensMax) {
        this(fingerprint, sessionsMax, 0, memoryBytesMax, archiveBytesMax, replayTokensMax);
    }
}
