package basalt.server.api;

import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.core.JsonToken;
import com.fasterxml.jackson.core.StreamReadConstraints;
import com.fasterxml.jackson.core.StreamReadFeature;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.math.BigDecimal;
import java.nio.ByteBuffer;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.regex.Pattern;
import org.jspecify.annotations.Nullable;

/**
 * Reads one JSON object strictly: UTF-8 only, no field twice, no NaN, nothing behind it, bounded depth. Every failure
 * is a {@link ProblemException} that names the field. Values are read as they come, so that a prompt of a million ids
 * is never a tree.
 */
final class JsonReader {
    static final int NESTING_DEPTH_MAX = 16;
    static final int NUMBER_LENGTH_MAX = 64;
    static final int NAME_LENGTH_MAX = 256;
    private static final JsonFactory FACTORY = JsonFactory.builder()
            .enable(StreamReadFeature.STRICT_DUPLICATE_DETECTION)
            .disable(StreamReadFeature.INCLUDE_SOURCE_IN_LOCATION)
            .streamReadConstraints(StreamReadConstraints.builder()
                    .maxNestingDepth(NESTING_DEPTH_MAX)
                    .maxNumberLength(NUMBER_LENGTH_MAX)
                    .maxNameLength(NAME_LENGTH_MAX)
                    .maxStringLength(Integer.MAX_VALUE)
                    .build())
            .build();

    private static final Pattern USABLE_NAME = Pattern.compile("[A-Za-z0-9._:-]{1,128}");

    private final JsonParser parser;
    private JsonToken token = JsonToken.NOT_AVAILABLE;

    private JsonReader(JsonParser parser) {
        this.parser = parser;
    }

    /** Reads the value of one field. */
    interface FieldReader {
        /** Called on the field's value, which is not null; must read it whole. */
        void read(String name, JsonReader json);
    }

    /** Reads a body that is one object, field by field. A field that is null counts as absent. */
    static void readObject(byte[] body, FieldReader fields) {
        try (JsonParser parser = FACTORY.createParser(decode(body))) {
            var reader = new JsonReader(parser);
            if (reader.next() != JsonToken.START_OBJECT) {
                throw invalid("The body must be a JSON object.");
            }
            reader.fields("", fields);
            if (reader.next() != null) {
                throw invalid("The body must end after one JSON object.");
            }
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    private static String decode(byte[] body) {
        try {
            return StandardCharsets.UTF_8
                    .newDecoder()
                    .decode(ByteBuffer.wrap(body))
                    .toString();
        } catch (CharacterCodingException e) {
            throw invalid("The body is not UTF-8.");
        }
    }

    private static ProblemException invalid(String message) {
        return new ProblemException(Problem.of(ProblemCode.INVALID_JSON, message));
    }

    private JsonToken next() {
        try {
            JsonToken read = parser.nextToken();
            token = read;
            return read;
        } catch (JsonProcessingException e) {
            throw JsonFault.of(e, parser);
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    private void fields(String prefix, FieldReader fields) {
        while (next() == JsonToken.FIELD_NAME) {
            String name = currentText();
            if (next() != JsonToken.VALUE_NULL) {
                fields.read(prefix + name, this);
            }
        }
    }

    /** Reads an object inside the body; fields are named {@code param.name}. */
    void object(String param, FieldReader fields) {
        require(token == JsonToken.START_OBJECT, param, "an object");
        fields(param + ".", fields);
    }

    /** Skips a value of any kind. */
    void skip() {
        try {
            parser.skipChildren();
        } catch (JsonProcessingException e) {
            throw JsonFault.of(e, parser);
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    boolean bool(String param) {
        require(token == JsonToken.VALUE_TRUE || token == JsonToken.VALUE_FALSE, param, "true or false");
        return token == JsonToken.VALUE_TRUE;
    }

    int integer(String param, int min, int max) {
        return (int) wholeNumber(param, min, max);
    }

    /** A whole number however it is written, so also as 2.0 or 2e3. */
    long wholeNumber(String param, long min, long max) {
        require(isNumber(), param, "a whole number");
        BigDecimal value = exact();
        if (value == null
                || value.compareTo(BigDecimal.valueOf(min)) < 0
                || value.compareTo(BigDecimal.valueOf(max)) > 0) {
            require(value == null || isWhole(value), param, "a whole number");
            throw outOfBounds(param, min + " to " + max);
        }
        require(isWhole(value), param, "a whole number");
        return value.longValue();
    }

    /** The number that is current; null if its exponent is out of all bounds. */
    private @Nullable BigDecimal exact() {
        try {
            return new BigDecimal(currentText());
        } catch (NumberFormatException e) {
            return null;
        }
    }

    private static boolean isWhole(BigDecimal value) {
        // Of a huge exponent the zeros cannot be stripped.
        return value.signum() == 0
                || value.scale() <= 0
                || value.stripTrailingZeros().scale() <= 0;
    }

    float number(String param, double min, double max) {
        require(isNumber(), param, "a number");
        double value;
        try {
            value = parser.getDoubleValue();
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
        if (value >= min && value <= max) {
            return (float) value;
        }
        throw outOfBounds(param, plain(min) + " to " + plain(max));
    }

    private static String plain(double bound) {
        return bound == Math.rint(bound) ? Long.toString((long) bound) : String.format(Locale.ROOT, "%s", bound);
    }

    String text(String param) {
        require(token == JsonToken.VALUE_STRING, param, "a string");
        String text = currentText();
        if (JsonBuffer.hasLoneSurrogate(text)) {
            throw new ProblemException(Problem.of(
                    ProblemCode.INVALID_VALUE, param, param + " has half of a surrogate pair, which is no character."));
        }
        return text;
    }

    /** A string that can stand in a header: 1 to 128 characters of {@code A-Za-z0-9._:-}. */
    String name(String param) {
        String name = text(param);
        if (!USABLE_NAME.matcher(name).matches()) {
            throw outOfBounds(param, "1 to 128 characters of A-Za-z0-9._:-");
        }
        return name;
    }

    boolean isText() {
        return token == JsonToken.VALUE_STRING;
    }

    boolean isArray() {
        return token == JsonToken.START_ARRAY;
    }

    boolean isNumber() {
        return token == JsonToken.VALUE_NUMBER_INT || token == JsonToken.VALUE_NUMBER_FLOAT;
    }

    /** Steps into the array and onto its next element; false at its end. */
    boolean nextElement() {
        return next() != JsonToken.END_ARRAY;
    }

    /** Strings of an array. */
    List<String> texts(String param, int countMax) {
        require(token == JsonToken.START_ARRAY, param, "an array of strings");
        var texts = new ArrayList<String>();
        while (nextElement()) {
            if (texts.size() == countMax) {
                throw tooMany(param, countMax);
            }
            texts.add(text(param + "[" + texts.size() + "]"));
        }
        return texts;
    }

    /** Whole numbers of an array, in [0, valueEnd). */
    int[] ids(String param, int valueEnd) {
        require(token == JsonToken.START_ARRAY, param, "an array of token ids");
        next();
        return idsFromFirst(param, valueEnd);
    }

    /** As {@link #ids}, where the first element, or the array's end, is already current. */
    int[] idsFromFirst(String param, int valueEnd) {
        int[] ids = new int[16];
        int count = 0;
        for (; token != JsonToken.END_ARRAY; next()) {
            if (!isNumber() || !isWhole()) {
                throw wrongType(param + "[" + count + "]", "a token id");
            }
            if (count == ids.length) {
                ids = Arrays.copyOf(ids, count * 2);
            }
            ids[count] = id(param, count, valueEnd);
            count++;
        }
        return Arrays.copyOf(ids, count);
    }

    private boolean isWhole() {
        if (token == JsonToken.VALUE_NUMBER_INT) {
            return true;
        }
        BigDecimal value = exact();
        return value == null || isWhole(value);
    }

    private int id(String param, int index, int valueEnd) {
        try {
            if (token == JsonToken.VALUE_NUMBER_FLOAT) {
                BigDecimal value = exact();
                if (value != null && value.signum() >= 0 && value.compareTo(BigDecimal.valueOf(valueEnd)) < 0) {
                    return value.intValue();
                }
            } else if (parser.getNumberType() == JsonParser.NumberType.INT) {
                int id = parser.getIntValue();
                if (id >= 0 && id < valueEnd) {
                    return id;
                }
            }
            String name = param + "[" + index + "]";
            throw new ProblemException(Problem.of(
                    ProblemCode.INVALID_TOKEN,
                    name,
                    name + " = " + parser.getText() + " is no token; ids are 0 to " + (valueEnd - 1) + "."));
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    private String currentText() {
        try {
            return parser.getText();
        } catch (JsonProcessingException e) {
            throw JsonFault.of(e, parser);
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    static ProblemException wrongType(String param, String wanted) {
        return new ProblemException(Problem.of(ProblemCode.INVALID_TYPE, param, param + " must be " + wanted + "."));
    }

    static ProblemException outOfBounds(String param, String bounds) {
        return new ProblemException(Problem.of(ProblemCode.INVALID_VALUE, param, param + " must be " + bounds + "."));
    }

    static ProblemException tooMany(String param, int countMax) {
        return new ProblemException(
                Problem.of(ProblemCode.INVALID_VALUE, param, param + " may have " + countMax + " elements at most."));
    }

    private static void require(boolean holds, String param, String wanted) {
        if (!holds) {
            throw wrongType(param, wanted);
        }
    }
}
