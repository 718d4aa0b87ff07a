package basalt.server;

import java.math.BigDecimal;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * One configuration key. The same name serves as flag, in the environment and in files.
 *
 * @param name kebab-case
 * @param kind what values it takes
 * @param defaultText the value where nobody sets it, as text
 * @param meaning one sentence for the user
 */
record ConfigKey<T>(String name, Kind<T> kind, String defaultText, String meaning) {
    private static final Pattern QUANTITY = Pattern.compile("([0-9]{1,12}(?:\\.[0-9]{1,3})?) ?([A-Za-z]{1,3})");

    /** What values a key takes. */
    sealed interface Kind<T> {
        /**
         * The value of a text.
         *
         * @throws IllegalArgumentException saying what is allowed
         */
        T parse(String text);

        /** What is allowed, for the user. */
        String bounds();
    }

    /** A whole number in [min, max]. */
    record Whole(long min, long max) implements Kind<Long> {
        @Override
        public Long parse(String text) {
            long value;
            try {
                value = Long.parseLong(text);
            } catch (NumberFormatException e) {
                throw new IllegalArgumentException("must be a whole number, " + bounds(), e);
            }
            return inBounds(value, min, max, bounds());
        }

        @Override
        public String bounds() {
            return min + " to " + max;
        }
    }

    /** A length of time in [min, max], written with its unit. */
    record Time(Duration min, Duration max) implements Kind<Duration> {
        private static final Map<String, Long> NANOS_OF_UNIT =
                Map.of("ms", 1_000_000L, "s", 1_000_000_000L, "m", 60_000_000_000L, "h", 3_600_000_000_000L);

        @Override
        public Duration parse(String text) {
            long nanos = quantity(text, NANOS_OF_UNIT, "500ms, 30s, 2m or 1h");
            return inBounds(Duration.ofNanos(nanos), min, max, bounds());
        }

        @Override
        public String bounds() {
            return text(min) + " to " + text(max);
        }

        static String text(Duration duration) {
            long millis = duration.toMillis();
            if (millis % 3_600_000 == 0 && millis > 0) {
                return millis / 3_600_000 + "h";
            }
            return millis % 1_000 == 0 ? millis / 1_000 + "s" : millis + "ms";
        }
    }

    /** A number of bytes in [min, max], written with its unit. */
    record Size(long min, long max) implements Kind<Long> {
        private static final Map<String, Long> BYTES_OF_UNIT = Map.of(
                "B",
                1L,
                "KB",
                1_000L,
                "MB",
                1_000_000L,
                "GB",
                1_000_000_000L,
                "KiB",
                1L << 10,
                "MiB",
                1L << 20,
                "GiB",
                1L << 30);

        @Override
        public Long parse(String text) {
            return inBounds(quantity(text, BYTES_OF_UNIT, "512B, 64KiB, 16MiB or 1GiB"), min, max, bounds());
        }

        @Override
        public String bounds() {
            return text(min) + " to " + text(max);
        }

        static String text(long bytes) {
            if (bytes > 0 && bytes % (1L << 30) == 0) {
                return (bytes >> 30) + "GiB";
            }
            if (bytes > 0 && bytes % (1L << 20) == 0) {
                return (bytes >> 20) + "MiB";
            }
            return bytes > 0 && bytes % (1L << 10) == 0 ? (bytes >> 10) + "KiB" : bytes + "B";
        }
    }

    /** One of the constants of an enum, in lower case. */
    record Choice<E extends Enum<E>>(Class<E> type) implements Kind<E> {
        @Override
        public E parse(String text) {
            for (E constant : type.getEnumConstants()) {
                if (name(constant).equals(text)) {
                    return constant;
                }
            }
            throw new IllegalArgumentException("must be " + bounds());
        }

        @Override
        public String bounds() {
            var names = new ArrayList<String>();
            for (E constant : type.getEnumConstants()) {
                names.add(name(constant));
            }
            return String.join(" or ", names);
        }

        private static String name(Enum<?> constant) {
            return constant.name().toLowerCase(Locale.ROOT);
        }
    }

    /** {@code true} or {@code false}. */
    record Switch() implements Kind<Boolean> {
        @Override
        public Boolean parse(String text) {
            return switch (text) {
                case "true" -> true;
                case "false" -> false;
                default -> throw new IllegalArgumentException("must be " + bounds());
            };
        }

        @Override
        public String bounds() {
            return "true or false";
        }
    }

    /**
     * Any text; empty is not set.
     *
     * @param bounds what is allowed, checked by who uses it
     */
    record Text(String bounds) implements Kind<String> {
        @Override
        public String parse(String text) {
            return text;
        }
    }

    static ConfigKey<Long> whole(String name, long defaultValue, long min, long max, String meaning) {
        return new ConfigKey<>(name, new Whole(min, max), Long.toString(defaultValue), meaning);
    }

    static ConfigKey<Duration> time(String name, String defaultText, Duration min, Duration max, String meaning) {
        return new ConfigKey<>(name, new Time(min, max), defaultText, meaning);
    }

    static ConfigKey<Long> size(String name, String defaultText, long min, long max, String meaning) {
        return new ConfigKey<>(name, new Size(min, max), defaultText, meaning);
    }

    static <E extends Enum<E>> ConfigKey<E> choice(String name, E defaultValue, String meaning) {
        return new ConfigKey<>(
                name, new Choice<>(defaultValue.getDeclaringClass()), Choice.name(defaultValue), meaning);
    }

    static ConfigKey<Boolean> off(String name, String meaning) {
        return new ConfigKey<>(name, new Switch(), "false", meaning);
    }

    static ConfigKey<String> text(String name, String defaultText, String bounds, String meaning) {
        return new ConfigKey<>(name, new Text(bounds), defaultText, meaning);
    }

    String flag() {
        return "--" + name;
    }

    String environmentName() {
        return "BASALT_" + name.replace('-', '_').toUpperCase(Locale.ROOT);
    }

    /** The value of a text that came from {@code origin}, such as {@code --port}. */
    T parse(String text, String origin) {
        try {
            return kind.parse(text);
        } catch (IllegalArgumentException e) {
            throw new StartException(origin + " = \"" + text + "\": " + e.getMessage(), e);
        }
    }

    /** The name nearest to a mistyped one. */
    static String nearest(String mistyped, List<String> names) {
        String best = names.getFirst();
        for (String name : names) {
            if (editDistance(mistyped, name) < editDistance(mistyped, best)) {
                best = name;
            }
        }
        return best;
    }

    private static int editDistance(String a, String b) {
        int[] row = new int[b.length() + 1];
        for (int j = 0; j <= b.length(); j++) {
            row[j] = j;
        }
        for (int i = 1; i <= a.length(); i++) {
            int diagonal = row[0];
            row[0] = i;
            for (int j = 1; j <= b.length(); j++) {
                int substituted = diagonal + (a.charAt(i - 1) == b.charAt(j - 1) ? 0 : 1);
                diagonal = row[j];
                row[j] = Math.min(substituted, 1 + Math.min(row[j], row[j - 1]));
            }
        }
        return row[b.length()];
    }

    private static <V extends Comparable<V>> V inBounds(V value, V min, V max, String bounds) {
        if (value.compareTo(min) < 0 || value.compareTo(max) > 0) {
            throw new IllegalArgumentException("must be " + bounds);
        }
        return value;
    }

    private static long quantity(String text, Map<String, Long> units, String examples) {
        Matcher matcher = QUANTITY.matcher(text);
        Long unit = matcher.matches() ? units.get(matcher.group(2)) : null;
        if (unit == null) {
            throw new IllegalArgumentException("must have a unit, such as " + examples);
        }
        try {
            return new BigDecimal(matcher.group(1))
                    .multiply(BigDecimal.valueOf(unit))
                    .longValueExact();
        } catch (ArithmeticException e) {
            throw new IllegalArgumentException("is too large or not whole", e);
        }
    }
}
