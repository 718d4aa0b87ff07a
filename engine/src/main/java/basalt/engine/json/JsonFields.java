package basalt.engine.json;

import basalt.engine.EngineException.InvalidCheckpoint;
import java.io.IOException;
import java.math.BigInteger;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import org.jspecify.annotations.Nullable;

/**
 * The fields of one JSON object, read with types and bounds. A field that is absent and one that is {@code null} are
 * the same. What is wrong is thrown as {@link InvalidCheckpoint} that names the file and the field.
 */
public final class JsonFields {
    private final String file;
    private final String prefix;
    private final Map<?, ?> values;

    private JsonFields(String file, String prefix, Map<?, ?> values) {
        this.file = file;
        this.prefix = prefix;
        this.values = values;
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
            throw new InvalidCheckpoint(file + ": " + FileFault.reason(e), e);
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
            return of(file, "", JsonTree.parse(utf8));
        } catch (IOException e) {
            throw new InvalidCheckpoint(file + ": is no valid JSON: " + JsonTree.message(e), e);
        }
    }

    private static JsonFields of(String file, String prefix, @Nullable Object value) {
        if (!(value instanceof Map<?, ?> values)) {
            throw new InvalidCheckpoint(file + ": " + (prefix.isEmpty() ? "the top" : prefix) + " must be an object");
        }
        return new JsonFields(file, prefix.isEmpty() ? "" : prefix + ".", values);
    }

    /** An error that names this file and a field of this object. */
    public InvalidCheckpoint wrong(String name, String what) {
        return new InvalidCheckpoint(file + ": " + prefix + name + " " + what);
    }

    /** Whether a field is there and not null. */
    public boolean has(String name) {
        return values.get(name) != null;
    }

    /** Names of all fields, in the file's order. */
    public List<String> names() {
        return values.keySet().stream().map(String::valueOf).toList();
    }

    /** A whole number in [min, max], which must be there. */
    public long integer(String name, long min, long max) {
        if (!has(name)) {
            throw wrong(name, "is missing");
        }
        return integer(name, values.get(name), min, max);
    }

    /** A whole number in [min, max], or the default. */
    public int integerOr(String name, int absent, int min, int max) {
        return has(name) ? Math.toIntExact(integer(name, min, max)) : absent;
    }

    private long integer(String name, @Nullable Object value, long min, long max) {
        if (value instanceof Long number && number >= min && number <= max) {
            return number;
        }
        if (value instanceof Long || value instanceof BigInteger) {
            throw wrong(name, "= " + value + " is outside [" + min + ", " + max + "]");
        }
        throw wrong(name, "must be a whole number, not " + shown(value));
    }

    /** A finite number in [min, max], or the default. */
    public double numberOr(String name, double absent, double min, double max) {
        if (!has(name)) {
            return absent;
        }
        if (!(values.get(name) instanceof Number number)) {
            throw wrong(name, "must be a number, not " + shown(values.get(name)));
        }
        double value = number.doubleValue();
        if (!(value >= min && value <= max)) {
            throw wrong(name, "= " + number + " is outside [" + min + ", " + max + "]");
        }
        return value;
    }

    /** A flag, or the default. */
    public boolean flagOr(String name, boolean absent) {
        if (!has(name)) {
            return absent;
        }
        if (!(values.get(name) instanceof Boolean flag)) {
            throw wrong(name, "must be true or false, not " + shown(values.get(name)));
        }
        return flag;
    }

    /** Whether a field is a string. */
    public boolean isText(String name) {
        return values.get(name) instanceof String;
    }

    /** A string. */
    public Optional<String> text(String name) {
        if (!has(name)) {
            return Optional.empty();
        }
        if (!(values.get(name) instanceof String text)) {
            throw wrong(name, "must be a string, not " + shown(values.get(name)));
        }
        return Optional.of(text);
    }

    /** An object. */
    public Optional<JsonFields> object(String name) {
        return has(name) ? Optional.of(of(file, prefix + name, values.get(name))) : Optional.empty();
    }

    /** Whole numbers in [min, max]; none where the field is absent. */
    public List<Long> integers(String name, long min, long max) {
        var numbers = new ArrayList<Long>();
        for (Object item : items(name)) {
            numbers.add(integer(name, item, min, max));
        }
        return numbers;
    }

    /** Objects of a list; none where the field is absent. */
    public List<JsonFields> objects(String name) {
        var objects = new ArrayList<JsonFields>();
        for (Object item : items(name)) {
            objects.add(of(file, prefix + name + "[" + objects.size() + "]", item));
        }
        return objects;
    }

    /** The items of a list as {@link JsonTree} has them; none where the field is absent. */
    public List<?> items(String name) {
        if (!has(name)) {
            return List.of();
        }
        if (!(values.get(name) instanceof List<?> list)) {
            throw wrong(name, "must be a list, not " + shown(values.get(name)));
        }
        return list;
    }

    private static String shown(@Nullable Object value) {
        return switch (value) {
            case List<?> list -> "a list";
            case Map<?, ?> map -> "an object";
            case String text -> '"' + (text.length() <= 80 ? text : text.substring(0, 80) + "...") + '"';
            case null -> "null";
            default -> value.toString();
        };
    }
}
