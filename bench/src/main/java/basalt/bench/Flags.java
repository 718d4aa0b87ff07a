package basalt.bench;

import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;

/** Command-line flags of one measurement: {@code --name value}, and words that are not flags. */
final class Flags {
    private final List<String> words = new ArrayList<>();
    private final Map<String, String> values = new HashMap<>();

    private Flags() {}

    /**
     * Reads arguments.
     *
     * @param known names of the flags that exist, without hyphens
     * @throws BenchException if a flag is unknown or lacks its value
     */
    static Flags parse(String[] arguments, Set<String> known) {
        var flags = new Flags();
        for (int i = 0; i < arguments.length; i++) {
            var argument = arguments[i];
            if (!argument.startsWith("--")) {
                flags.words.add(argument);
                continue;
            }
            var name = argument.substring(2);
            if (!known.contains(name)) {
                throw new BenchException("unknown flag " + argument);
            }
            if (i + 1 == arguments.length) {
                throw new BenchException(argument + " needs a value");
            }
            flags.values.put(name, arguments[++i]);
        }
        return flags;
    }

    List<String> words() {
        return words;
    }

    Optional<String> text(String name) {
        return Optional.ofNullable(values.get(name));
    }

    /** A whole number, at least {@code min}. */
    int number(String name, int absent, int min) {
        var value = values.get(name);
        return value == null ? absent : parseNumber(name, value, min);
    }

    /** A number in [0, 1]. */
    double share(String name, double absent) {
        var value = values.get(name);
        if (value == null) {
            return absent;
        }
        try {
            double share = Double.parseDouble(value);
            if (share >= 0 && share <= 1) {
                return share;
            }
        } catch (NumberFormatException e) {
            // Falls through to the one message.
        }
        throw new BenchException("--" + name + " must be in [0, 1], not " + value);
    }

    /** Whole numbers separated by commas. */
    int[] numbers(String name, int[] absent, int min) {
        var value = values.get(name);
        if (value == null) {
            return absent;
        }
        var parts = value.split(",", -1);
        var numbers = new int[parts.length];
        for (int i = 0; i < parts.length; i++) {
            numbers[i] = parseNumber(name, parts[i].trim(), min);
        }
        return numbers;
    }

    private static int parseNumber(String name, String value, int min) {
        try {
            int number = Integer.parseInt(value);
            if (number >= min) {
                return number;
            }
        } catch (NumberFormatException e) {
            // Falls through to the one message.
        }
        throw new BenchException("--" + name + " must be a whole number of at least " + min + ", not " + value);
    }
}
