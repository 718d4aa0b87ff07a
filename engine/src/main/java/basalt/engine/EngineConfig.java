package basalt.engine;

import java.time.Duration;

/**
 * Bounds of one engine.
 *
 * @param batchRowsMax rows of one step at most
 * @param chunkTokensMax prompt tokens of one step at most
 * @param stepTargetMillis how long a step may take while other streams wait; the prefill chunk shrinks to meet it; 0
 *     leaves it to the time of a step without prompts
 * @param queueRequestsMax requests that may wait for a slot
 * @param queueTokensMax prompt tokens that may wait for a slot
 * @param slowReaderTimeout how long a choice whose reader does not read keeps its slot
 * @param sessionSlotsMax slots of a device that hold sessions at rest at most, while no request needs them
 */
public record EngineConfig(
        int batchRowsMax,
        int chunkTokensMax,
        long stepTargetMillis,
        int queueRequestsMax,
        long queueTokensMax,
        Duration slowReaderTimeout,
        int sessionSlotsMax) {

    /** Used where nothing else is asked for. */
    public static final EngineConfig DEFAULT = new EngineConfig(32, 128, 0, 256, 16_000_000, Duration.ofSeconds(30));

    /** No session keeps its slot. */
    public EngineConfig(
            int batchRowsMax,
            int chunkTokensMax,
            long stepTargetMillis,
            int queueRequestsMax,
            long queueTokensMax,
            Duration slowReaderTimeout) {
        this(batchRowsMax, chunkTokensMax, stepTargetMillis, queueRequestsMax, queueTokensMax, slowReaderTimeout, 0);
    }

    /** The same with slots for sessions at rest. */
    public EngineConfig withSessionSlots(int max) {
        return new EngineConfig(
                batchRowsMax,
                chunkTokensMax,
                stepTargetMillis,
                queueRequestsMax,
                queueTokensMax,
                slowReaderTimeout,
                max);
    }

    /** Checks the bounds. */
    public EngineConfig {
        Checks.argument(batchRowsMax > 0, "batchRowsMax", batchRowsMax);
        Checks.argument(chunkTokensMax > 0, "chunkTokensMax", chunkTokensMax);
        Checks.argument(stepTargetMillis >= 0, "stepTargetMillis", stepTargetMillis);
        Checks.argument(queueRequestsMax > 0, "queueRequestsMax", queueRequestsMax);
        Checks.argument(queueTokensMax > 0, "queueTokensMax", queueTokensMax);
        Checks.argument(sessionSlotsMax >= 0, "sessionSlotsMax", sessionSlotsMax);
        Checks.argument(!slowReaderTimeout.isNegative(), "slowReaderTimeout", slowReaderTimeout);
    }
}
