package basalt.server.api;

import com.fasterxml.jackson.core.JsonLocation;
import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.core.JsonStreamContext;
import com.fasterxml.jackson.core.JsonToken;
import com.fasterxml.jackson.core.exc.StreamConstraintsException;
import com.fasterxml.jackson.core.io.JsonEOFException;
import org.jspecify.annotations.Nullable;

/** Says in a client's words why a body is no JSON; the parser's own speak to those who program it. */
final class JsonFault {
    private JsonFault() {}

    /**
     * What a client is told.
     *
     * @param parser which has thrown the failure, and is still where that was
     */
    static ProblemException of(JsonProcessingException failure, JsonParser parser) {
        String heard = failure.getOriginalMessage();
        JsonStreamContext context = parser.getParsingContext();
        if (heard.startsWith("Duplicate field")) {
            String param = path(context);
            return new ProblemException(
                    Problem.of(ProblemCode.INVALID_JSON, param, "The body has " + param + " twice; send it once."));
        }
        JsonLocation location = failure.getLocation(); // of a bound there is none
        String where =
                location == null ? "" : "at line " + location.getLineNr() + ", column " + location.getColumnNr() + " ";
        return new ProblemException(Problem.of(
                ProblemCode.INVALID_JSON,
                "The body is not valid JSON: " + where + fault(failure, heard, context, parser) + "."));
    }

    /** As other problems name a field: {@code messages[0].role}. */
    private static String path(JsonStreamContext context) {
        JsonStreamContext parent = context.getParent();
        if (parent == null) {
            return "";
        }
        String before = path(parent);
        if (context.inArray()) {
            return before + "[" + context.getCurrentIndex() + "]";
        }
        return before.isEmpty() ? context.getCurrentName() : before + "." + context.getCurrentName();
    }

    private static String fault(
            JsonProcessingException failure, String heard, JsonStreamContext context, JsonParser parser) {
        if (failure instanceof JsonEOFException) {
            return "it ends too early, inside " + (context.inArray() ? "an array" : "an object");
        }
        if (failure instanceof StreamConstraintsException) {
            return "it is over a bound: " + JsonReader.NESTING_DEPTH_MAX + " levels, "
                    + JsonReader.NUMBER_LENGTH_MAX + " characters of a number, " + JsonReader.NAME_LENGTH_MAX
                    + " of a name";
        }
        if (heard.startsWith("Non-standard token")) {
            return "is NaN or an infinity, which are no JSON numbers";
        }
        if (heard.contains("numeric value")) {
            return "is a malformed number";
        }
        if (heard.contains("CTRL-CHAR")) {
            return "is a control character, which a string has only as an escape like \\n or \\u0001";
        }
        if (heard.contains("character escape")) {
            return "is an escape that JSON has not";
        }
        if (heard.contains("surrogate")) {
            return "is half of a surrogate pair, which is no character";
        }
        return expected(parser.currentToken(), context) + " was expected";
    }

    /** What may come behind a token. */
    private static String expected(@Nullable JsonToken last, JsonStreamContext context) {
        if (last == null) {
            return "a JSON object";
        }
        return switch (last) {
            case FIELD_NAME -> "a value";
            case START_OBJECT -> "a name in double quotes and a colon, or }";
            case START_ARRAY -> "a value, or ]";
            default -> {
                if (context.inRoot()) {
                    yield "the end of the body";
                }
                yield context.inArray()
                        ? "a comma and a value, or ]"
                        : "a comma, a name in double quotes and a colon, or }";
            }
        };
    }
}
