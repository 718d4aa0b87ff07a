package basalt.server.observe;

import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.nio.channels.ClosedChannelException;
import java.util.ArrayList;
import java.util.List;
import java.util.logging.Handler;
import java.util.logging.Level;
import java.util.logging.LogRecord;
import java.util.logging.Logger;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;

class LogSetupTest {
    private final Logger root = Logger.getLogger("");
    private final List<Handler> handlers = List.of(root.getHandlers());
    private final Level level = root.getLevel();
    private final Logger listener = Logger.getLogger("io.helidon.webserver.ServerListener");
    private final List<Throwable> seen = new ArrayList<>();

    @BeforeEach
    void install() {
        LogSetup.install(System.Logger.Level.INFO, false);
        for (Handler handler : root.getHandlers()) {
            root.removeHandler(handler);
        }
        root.addHandler(new Handler() {
            @Override
            public void publish(LogRecord line) {
                // What threads of other tests say when they end is not of this one.
                if (line.getLongThreadID() == Thread.currentThread().threadId()
                        && listener.getName().equals(line.getLoggerName())) {
                    seen.add(line.getThrown());
                }
            }

            @Override
            public void flush() {}

            @Override
            public void close() {}
        });
    }

    @AfterEach
    void restore() {
        for (Handler handler : root.getHandlers()) {
            root.removeHandler(handler);
        }
        handlers.forEach(root::addHandler);
        root.setLevel(level);
    }

    @Test
    void endOfAListenerThatIsStoppedIsNoFailure() {
        listener.log(Level.SEVERE, "Got a throwable while listening", new ClosedChannelException());
        listener.log(Level.SEVERE, "Got a throwable while listening", new InterruptedException());

        assertTrue(seen.isEmpty(), seen.toString());
    }

    @Test
    void failureOfAListenerIsLogged() {
        var failure = new IOException("too many open files");

        listener.log(Level.SEVERE, "Got a throwable while listening", failure);

        assertTrue(seen.contains(failure));
        assertFalse(seen.size() > 1);
    }
}
