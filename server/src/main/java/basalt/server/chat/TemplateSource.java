package basalt.server.chat;

import com.hubspot.jinjava.el.ext.ExtendedParser;
import java.util.Arrays;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Collectors;

/** Says in other words what the library reads differently than Python's Jinja does. */
final class TemplateSource {
    /** Marks what the model is trained on, and means nothing here. */
    private static final Pattern GENERATION = Pattern.compile("\\{%-?\\s*(?:end)?generation\\s*-?%}");
    /** {@code list[::-1]}, for which there is a filter. */
    private static final Pattern REVERSED = Pattern.compile("\\[::-1]");
    /** {@code namespace(a=b - 1)}, which the library takes for {@code (a=b) - 1}. */
    private static final Pattern NAMESPACE = Pattern.compile("\\bnamespace\\(([^()\"']*)\\)");

    /** {@code for a in b if c}, whose condition the library does not look at; {@code b if c else d} is a list. */
    private static final Pattern CONDITION = Pattern.compile(
            "\\{%[-+]?\\s*for\\b(?:(?!%}|\\belse\\b).)*\\bif\\b(?:(?!\\belse\\b).)*?%}", Pattern.DOTALL);

    private TemplateSource() {}

    /**
     * The source as the library must see it.
     *
     * @throws ChatTemplateException if it cannot be said
     */
    static String rewritten(String source) {
        if (CONDITION.matcher(source).find()) {
            throw new ChatTemplateException("loops with a condition, \"for a in b if c\", are not supported");
        }
        if (source.contains(ExtendedParser.INTERPRETER)) {
            throw new ChatTemplateException("the library's own object is not for templates");
        }
        String text = GENERATION.matcher(source).replaceAll("");
        text = REVERSED.matcher(text).replaceAll("|reverse");
        text = NAMESPACE
                .matcher(text)
                .replaceAll(match -> Matcher.quoteReplacement("namespace(" + enclosed(match.group(1)) + ")"));
        // Python drops the last line's end.
        return text.endsWith("\n") ? text.substring(0, text.length() - 1) : text;
    }

    private static String enclosed(String arguments) {
        return Arrays.stream(arguments.split(",", -1))
                .map(argument -> {
                    int at = argument.indexOf('=');
                    return at < 0 ? argument : argument.substring(0, at + 1) + "(" + argument.substring(at + 1) + ")";
                })
                .collect(Collectors.joining(","));
    }
}
