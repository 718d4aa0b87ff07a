package basalt.server.observe;

import com.fasterxml.jackson.core.io.JsonStringEncoder;
import java.time.temporal.ChronoUnit;
import java.util.logging.Formatter;
import java.util.logging.LogRecord;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** One JSON object a line; the {@code key=value} pairs of the message become fields. */
final class JsonLines extends Formatter {
    private static final Pattern PAIR = Pattern.compile("([a-z][a-z0-9_]*)=(?:\"([^\"]*)\"|(\\S*))");

    @Override
    public String format(LogRecord record) {
        var line = new StringBuilder();
        line.append("{\"time\":\"").append(record.getInstant().truncatedTo(ChronoUnit.MILLIS));
        line.append("\",\"level\":\"").append(record.getLevel().getName()).append('"');
        String message = formatMessage(record);
        field(line, "logger", String.valueOf(record.getLoggerName()));
        field(line, "message", message);
        Matcher pair = PAIR.matcher(message);
        while (pair.find()) {
            field(line, pair.group(1), pair.group(2) == null ? pair.group(3) : pair.group(2));
        }
        if (record.getThrown() != null) {
            field(line, "stack_trace", TextLines.stackTrace(record.getThrown()));
        }
        return line.append("}\n").toString();
    }

    private static void field(StringBuilder line, String name, String value) {
        line.append(",\"")
                .append(name)
                .append("\":\"")
                .append(JsonStringEncoder.getInstance().quoteAsString(value));
        line.append('"');
    }
}
