package basalt.engine.session;

/**
 * Readings of a session store, for metrics. What is counted is counted since the start.
 *
 * @param memory sessions whose state is in memory
 * @param archive those whose state is in the archive
 * @param tokens those whose tokens are read again
 * @param promotions states read from the archive for a turn
 * @param demotions states dropped from memory
 * @param commits turns that became part of their session
 * @param conflicts turns refused because another one ran
 * @param restoreFailures journals and images set aside as they could not be read
 */
public record SessionStats(
        Tier memory,
        Tier archive,
        Tier tokens,
        long promotions,
        long demotions,
        long commits,
        long conflicts,
        long restoreFailures) {
    /**
     * Where states are.
     *
     * @param sessions that it serves
     * @param bytes of states
     * @param turns that began there
     */
    public record Tier(long sessions, long bytes, long turns) {}
}
