package basalt.engine.session;

/** The processes that use an archive together, as one of them sees it. Safe for use by any number of threads. */
public interface Peers {
    /** A name that no other process has, nor this one after its next start. */
    String name();

    /**
     * Whether a process is still there. One that was killed, or cannot be reached, is taken to be there for a while.
     *
     * @param name as its {@link #name} was
     * @throws basalt.engine.EngineException.ArchiveUnavailable if that cannot be told
     */
    boolean isThere(String name);

    /** How the archive fares. */
    Health health();

    /**
     * How a shared archive fares.
     *
     * @param isAvailable whether it answered last
     * @param failureCount calls that failed, or were not tried because those before them had
     * @param conflictCount writes refused because another process had written
     */
    record Health(boolean isAvailable, long failureCount, long conflictCount) {}
}
