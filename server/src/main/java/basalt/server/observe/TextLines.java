package basalt.server.observe;

import java.io.PrintWriter;
import java.io.StringWriter;
import java.time.temporal.ChronoUnit;
import java.util.logging.Formatter;
import java.util.logging.LogRecord;

/** One event a line: time, level, and the message of {@code key=value} pairs. */
final class TextLines extends Formatter {
    @Override
    public String format(LogRecord record) {
        String line = record.getInstant().truncatedTo(ChronoUnit.MILLIS) + " "
                + record.getLevel().getName() + " " + formatMessage(record) + "\n";
        return record.getThrown() == null ? line : line + stackTrace(record.getThrown());
    }

    static String stackTrace(Throwable thrown) {
        var text = new StringWriter();
        thrown.printStackTrace(new PrintWriter(text));
        return text.toString();
    }
}
