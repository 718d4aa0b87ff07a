package basalt.server;

import java.util.logging.LogManager;

/**
 * Keeps logging while the process stops. The JDK's own log manager closes its handlers at the first moment of a
 * shutdown, beside all other shutdown hooks, so that nothing of a drain would be logged.
 */
public final class DrainLogManager extends LogManager {
    /** For the JDK, which finds it by name. */
    public DrainLogManager() {}

    /** Does nothing: handlers live as long as the process. */
    @Override
    public void reset() {}
}
