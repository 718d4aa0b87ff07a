package basalt.server;

import java.util.logging.LogManager;

/**
 * Keeps logging while the process stops. The JDK's own log manager closes its handlers at the first moment of a
 * shutdown, so that nothing of a drain would be logged.
 */
public final class DrainLogManager extends LogManager {
    private volatile boolean isStopping;

    /** For the JDK, which finds it by name. */
    public DrainLogManager() {}

    /** Makes the JDK use this class; must come before anything logs. */
    static void use() {
        System.setProperty("java.util.logging.manager", DrainLogManager.class.getName());
    }

    /** From now on {@link #reset} does nothing. */
    static void stopping() {
        if (LogManager.getLogManager() instanceof DrainLogManager manager) {
            manager.isStopping = true;
        }
    }

    @Override
    public void reset() {
        if (!isStopping) {
            super.reset();
        }
    }
}
