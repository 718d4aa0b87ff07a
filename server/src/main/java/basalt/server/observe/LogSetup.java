package basalt.server.observe;

import java.nio.channels.ClosedChannelException;
import java.util.Arrays;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.logging.ConsoleHandler;
import java.util.logging.Level;
import java.util.logging.Logger;

/** Sets the one handler of all logs: lines on standard error. */
public final class LogSetup {
    private LogSetup() {}

    /**
     * Replaces whatever handles logs.
     *
     * @param level of our own loggers; libraries only log failures
     * @param isJson whether a line is a JSON object
     */
    public static void install(System.Logger.Level level, boolean isJson) {
        Logger root = Logger.getLogger("");
        Arrays.stream(root.getHandlers()).forEach(root::removeHandler);
        var handler = new ConsoleHandler();
        handler.setLevel(Level.ALL);
        handler.setFormatter(isJson ? new JsonLines() : new TextLines());
        root.addHandler(handler);
        root.setLevel(Level.SEVERE);
        // Logged with its stack trace whenever a listener is stopped, that of the warm-up among them.
        LISTENER.setFilter(line -> !(line.getThrown() instanceof ClosedChannelException
                || line.getThrown() instanceof InterruptedException));
        OWN.setLevel(
                switch (level) {
                    case ALL, TRACE -> Level.FINER;
                    case DEBUG -> Level.FINE;
                    case INFO -> Level.INFO;
                    case WARNING -> Level.WARNING;
                    case ERROR -> Level.SEVERE;
                    case OFF -> Level.OFF;
                });
    }

    /** Lets one package's loggers tell what they do, whatever the level of all others. */
    public static void alsoShow(String name) {
        var shown = Logger.getLogger(name);
        shown.setLevel(Level.INFO);
        SHOWN.add(shown);
    }

    // Loggers are held, or what is set on them would be lost with them.
    private static final Logger OWN = Logger.getLogger("basalt");
    private static final Logger LISTENER = Logger.getLogger("io.helidon.webserver.ServerListener");
    private static final Set<Logger> SHOWN = ConcurrentHashMap.newKeySet();
}
