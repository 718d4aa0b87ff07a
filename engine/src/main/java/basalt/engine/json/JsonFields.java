package basalt.engine.json;

import basalt.engine.EngineException.InvalidCheckpoint;
import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.core.StreamReadConstraints;
import com.fasterxml.jackson.core.StreamReadFeature;
import com.fasterxml.jackson.databind.DeserializationFeature;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.json.JsonMapper;
import com.fasterxml.jackson.databind.node.JsonNodeType;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;

/**
 * The fields of one JSON object, read with types and bounds. A field that is absent and one that is {@code null} are
 * the same. What is wrong is thrown as {@link InvalidCheckpoint} that names the file and the field.
 */
public final class JsonFields {
    private static final int NESTING_MAX = 32;
    private static final int STRING_CHARS_MAX = 1 << 20;
    private static final JsonMapper MAPPER = JsonMapper.builder(JsonFactory.builder()
                    .streamReadConstraints(StreamReadConstraints.builder()
                            .maxNestingDepth(NESTING_MAX)
                            .maxStringLength(STRING_CHARS_MAX)
                            .maxNumberLength(64)
                            .build())
                    .enable(StreamReadFeature.STRICT_DUPLICATE_DETECTION)
                    .build())
            .enable(DeserializationFeature.FAIL_ON_TRAILING_TOKENS)
            .build();

    private final String file;
    private final String prefix;
    private final JsonNode node;

    private JsonFields(String file, String prefix, JsonNode node) {
        this.file = file;
        this.prefix = prefix;
        this.node = node;
    }

    /**
     * Reads a file that holds one object.
     *
     * @param bytesMax a larger file is refused unread
     * @throws InvalidCheckpoint if it cannot be read or is no such file
     */
    public static JsonFields read(Path file, long bytesMax) {
        String name = String.valueOf(file.getFileName());
        try {
            long size = Files.size(file);
            if (size > bytesMax) {
                throw new InvalidCheckpoint(name + ": " + size + " bytes, at most " + bytesMax + " are read");
            }
            return parse(name, Files.readAllBytes(file));
        } catch (IOException e) {
            throw new InvalidCheckpoint(file + ": cannot be read: " + e.getMessage(), e);
        }
    }

    /**
     * Parses one object.
     *
     * @param file named in errors
     * @throws InvalidCheckpoint if the text is no JSON object, nests deeply or has a field twice
     */
    public static JsonFields parse(String file, byte[] utf8) {
        try {
            return of(file, "", MAPPER.readTree(utf8));
        } catch (JsonProcessingException e) {
            throw new InvalidCheckpoint(file + ": is no valid JSON: " + e.getOriginalMessage(), e);
        } catch (IOException e) {
            throw new InvalidCheckpoint(file + ": cannot be read: " + e.getMessage(), e);
        }
    }

    private static JsonFields of(String file, String prefix, JsonNode node) {
        if (!node.isObject()) {
            throw new InvalidCheckpoint(file + ": " + (prefix.isEmpty() ? "the top" : prefix) + " must be an object");
        }
        return new JsonFields(file, prefix.isEmpty() ? "" : prefix + ".", node);
    }

    /** An error that names this file and a field of this object. */
    public InvalidCheckpoint wrong(String name, String what) {
        return new InvalidCheckpoint(file + ": " + prefix + name + " " + what);
    }

    /** Whether a field is there and not null. */
    public boolean has(String name) {
        return node.hasNonNull(name);
    }

    /** Names of all fields, in the file's order. */
    public List<String> names() {
        var names = new ArrayList<String>(node.size());
        node.fieldNames().forEachRemaining(names::add);
        return names;
    }

    /** A whole number in [min, max], which must be there. */
    public long integer(String name, long min, long max) {
        JsonNode value = node.path(name);
        if (!has(name)) {
            throw wrong(name, "is missing");
        }
        return integer(name, value, min, max);
    }

    /** A whole number in [min, max], or the default. */
    public int integerOr(String name, int absent, int min, int max) {
        return has(name) ? Math.toIntExact(integer(name, min, max)) : absent;
    }

    private long integer(String name, JsonNode value, long min, long max) {
        if (!value.isIntegralNumber()) {
            throw wrong(name, "must be a whole number, not " + shown(value));
        }
        if (!value.canConvertToLong() || value.longValue() < min || value.longValue() > max) {
            throw wrong(name, "= " + shown(value) + " is outside [" + min + ", " + max + "]");
        }
        return value.longValue();
    }

    /** A finite number in [min, max], or the default. */
    public double numberOr(String name, double absent, double min, double max) {
        if (!has(name)) {
            return absent;
        }
        JsonNode value = node.path(name);
        if (!value.isNumber()) {
            throw wrong(name, "must be a number, not " + shown(value));
        }
        double number = value.doubleValue();
        if (!(number >= min && number <= max)) {
            throw wrong(name, "= " + shown(value) + " is outside [" + min + ", " + max + "]");
        }
        return number;
    }

    /** A flag, or the default. */
    public boolean flagOr(String name, boolean absent) {
        if (!has(name)) {
            return absent;
        }
        if (!node.path(name).isBoolean()) {
            throw wrong(name, "must be true or false, not " + shown(node.path(name)));
        }
        return node.path(name).booleanValue();
    }

    /** A string. */
    public Optional<String> text(String name) {
        if (!has(name)) {
            return Optional.empty();
        }
        if (!node.path(name).isTextual()) {
            throw wrong(name, "must be a string, not " + shown(node.path(name)));
        }
        return Optional.of(node.path(name).textValue());
    }

    /** An object. */
    public Optional<JsonFields> object(String name) {
        return has(name) ? Optional.of(of(file, prefix + name, node.path(name))) : Optional.empty();
    }

    /** Whole numbers in [min, max]; none where the field is absent. */
    public List<Long> integers(String name, long min, long max) {
        var values = new ArrayList<Long>();
        for (JsonNode item : array(name)) {
            values.add(integer(name, item, min, max));
        }
        return values;
    }

    /** Objects of a list; none where the field is absent. */
    public List<JsonFields> objects(String name) {
        var values = new ArrayList<JsonFields>();
        for (JsonNode item : array(name)) {
            values.add(of(file, prefix + name + "[" + values.size() + "]", item));
        }
        return values;
    }

    /** The items of a list as parsed; none where the field is absent. */
    public List<JsonNode> array(String name) {
        if (!has(name)) {
            return List.of();
        }
        JsonNode value = node.path(name);
        if (!value.isArray()) {
            throw wrong(name, "must be a list, not " + shown(value));
        }
        var items = new ArrayList<JsonNode>(value.size());
        value.forEach(items::add);
        return items;
    }

    private static String shown(JsonNode value) {
        if (value.isContainerNode()) {
            return value.getNodeType() == JsonNodeType.ARRAY ? "a list" : "an object";
        }
        String text = value.toString();
        return text.length() <= 80 ? text : text.substring(0, 80) + "...";
    }
}
