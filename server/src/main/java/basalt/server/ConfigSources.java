package basalt.server;

import java.io.IOException;
import java.io.Reader;
import java.nio.charset.CharacterCodingException;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Properties;
import java.util.Set;
import java.util.regex.Pattern;
import org.snakeyaml.engine.v2.api.Load;
import org.snakeyaml.engine.v2.api.LoadSettings;
import org.snakeyaml.engine.v2.api.lowlevel.Parse;
import org.snakeyaml.engine.v2.events.CollectionEndEvent;
import org.snakeyaml.engine.v2.events.CollectionStartEvent;
import org.snakeyaml.engine.v2.events.Event;
import org.snakeyaml.engine.v2.exceptions.MarkedYamlEngineException;
import org.snakeyaml.engine.v2.exceptions.ParserException;
import org.snakeyaml.engine.v2.exceptions.YamlEngineException;

/**
 * The texts that users gave for a table of keys: from flags, else the environment, else a file. Names that are not in
 * the table stop the start.
 */
final class ConfigSources {
    /** Set by or for the launcher, not keys. */
    private static final Set<String> LAUNCHER_VARIABLES =
            Set.of("BASALT_HOME", "BASALT_JAVA_HOME", "BASALT_JAVA_OPTS", "BASALT_CONFIG");
    /**
     * What Kubernetes puts into the environment of every pod beside a service named basalt. {@code BASALT_PORT} is then
     * an address such as {@code tcp://10.0.0.1:80}.
     */
    private static final Pattern SERVICE_LINK =
            Pattern.compile("BASALT_(SERVICE_(HOST|PORT(_.*)?)|PORT_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)");

    /** Only the first level has a meaning; what is below is refused by the name of its key. */
    private static final int YAML_DEPTH_MAX = 50;

    private final List<ConfigKey<?>> keys;
    private final Map<String, Given> given = new HashMap<>();

    private record Given(String text, String origin) {}

    /** Later sources overwrite earlier ones, so the weakest is read first. */
    ConfigSources(List<ConfigKey<?>> keys, List<String> args, Map<String, String> environment) {
        this.keys = keys;
        var flags = flags(args);
        String file = flags.getOrDefault("config", environment.getOrDefault("BASALT_CONFIG", ""));
        if (!file.isEmpty()) {
            readFile(Path.of(file));
        }
        readEnvironment(environment);
        flags.forEach((name, text) -> {
            if (!name.equals("config")) {
                given.put(known(name, "--" + name, "--"), new Given(text, "--" + name));
            }
        });
    }

    /** The value of a key: what the strongest source says, else its default. */
    <T> T get(ConfigKey<T> key) {
        Given text = given.get(key.name());
        return text == null ? key.parse(key.defaultText(), key.name()) : key.parse(text.text(), text.origin());
    }

    /** Whether a source sets a key. */
    boolean isGiven(ConfigKey<?> key) {
        return given.containsKey(key.name());
    }

    /** Where a key's value came from, for messages. */
    String origin(ConfigKey<?> key) {
        Given text = given.get(key.name());
        return text == null ? key.name() : text.origin();
    }

    private Map<String, String> flags(List<String> args) {
        var flags = new LinkedHashMap<String, String>();
        for (int i = 0; i < args.size(); i++) {
            String arg = args.get(i);
            if (!arg.startsWith("--")) {
                throw new StartException("unexpected argument \"" + arg + "\"; options are written --key value");
            }
            int equals = arg.indexOf('=');
            String name = arg.substring(2, equals < 0 ? arg.length() : equals);
            boolean isLast = i + 1 == args.size();
            String text;
            if (equals >= 0) {
                text = arg.substring(equals + 1);
            } else if (isSwitch(name) && (isLast || args.get(i + 1).startsWith("--"))) {
                text = "true";
            } else if (isLast) {
                throw new StartException(
                        "--" + known(name, arg, "--") + " needs a value: --" + name + " " + bounds(name));
            } else {
                text = args.get(++i);
            }
            if (flags.put(name, text) != null) {
                throw new StartException("--" + name + " is given twice");
            }
        }
        return flags;
    }

    private boolean isSwitch(String name) {
        return keys.stream().anyMatch(key -> key.name().equals(name) && key.kind() instanceof ConfigKey.Switch);
    }

    private String bounds(String name) {
        for (ConfigKey<?> key : keys) {
            if (key.name().equals(name)) {
                return "(" + key.kind().bounds() + ")";
            }
        }
        return "FILE";
    }

    private void readEnvironment(Map<String, String> environment) {
        environment.forEach((variable, text) -> {
            boolean isKey = variable.startsWith("BASALT_")
                    && !LAUNCHER_VARIABLES.contains(variable)
                    && !SERVICE_LINK.matcher(variable).matches()
                    && !(variable.equals("BASALT_PORT") && text.contains("://"));
            if (isKey) {
                String name =
                        variable.substring("BASALT_".length()).replace('_', '-').toLowerCase(Locale.ROOT);
                given.put(known(name, variable, ""), new Given(text, variable));
            }
        });
    }

    private void readFile(Path file) {
        Map<?, ?> entries = file.toString().endsWith(".properties") ? properties(file) : yaml(file);
        entries.forEach((name, value) -> {
            String origin = file + ": " + name;
            if (value instanceof Map || value instanceof Iterable || value == null) {
                throw new StartException(origin + ": must be one value");
            }
            if (name.equals("config")) {
                throw new StartException(origin + ": a file names no other; give --config or BASALT_CONFIG");
            }
            if (value.toString().indexOf('\0') >= 0) { // which no path can have, nor a flag or a variable
                throw new StartException(origin + ": must not have the character NUL");
            }
            given.put(known(name.toString(), origin, ""), new Given(value.toString(), origin));
        });
    }

    private static Map<?, ?> properties(Path file) {
        var properties = new UniqueProperties(file);
        try (Reader reader = Files.newBufferedReader(file)) {
            properties.load(reader);
        } catch (IOException | IllegalArgumentException e) {
            throw unreadable(file, e);
        }
        return properties;
    }

    /** Of two lines with one name the JDK's keep the second in silence. */
    private static final class UniqueProperties extends Properties {
        private static final long serialVersionUID = 1L;

        private final transient Path file;

        UniqueProperties(Path file) {
            this.file = file;
        }

        @Override
        @SuppressWarnings("UnsynchronizedOverridesSynchronized") // one thread reads a file
        public Object put(Object name, Object value) {
            if (containsKey(name)) {
                throw new StartException(file + ": " + name + " is there twice");
            }
            return super.put(name, value);
        }
    }

    private static Map<?, ?> yaml(Path file) {
        var settings = LoadSettings.builder().setLabel(file.toString()).build();
        Object document;
        try {
            String text = Files.readString(file);
            requireShallow(text, settings);
            document = new Load(settings).loadFromString(text);
        } catch (IOException | YamlEngineException e) {
            throw unreadable(file, e);
        }
        if (document == null) {
            return Map.of();
        }
        if (document instanceof Map<?, ?> map) {
            return map;
        }
        throw new StartException(file + ": must be lines of key: value");
    }

    /** The library reads what is nested by calling itself, until the stack is full. */
    private static void requireShallow(String text, LoadSettings settings) {
        int depth = 0;
        for (Event event : new Parse(settings).parseString(text)) {
            if (event instanceof CollectionStartEvent && ++depth > YAML_DEPTH_MAX) {
                throw new ParserException("is nested too deeply", event.getStartMark());
            }
            depth -= event instanceof CollectionEndEvent ? 1 : 0;
        }
    }

    private static StartException unreadable(Path file, Exception e) {
        String reason = switch (e) {
            case NoSuchFileException missing -> "no such file";
            case CharacterCodingException other -> "is not UTF-8";
            case MarkedYamlEngineException marked ->
                marked.getProblem()
                        + marked.getProblemMark()
                                .map(mark -> " in line " + (mark.getLine() + 1))
                                .orElse("");
            default -> "cannot be read: " + e.getMessage();
        };
        return new StartException("configuration file " + file + ": " + reason, e);
    }

    /** The name, if the table has it. */
    private String known(String name, String origin, String prefix) {
        var names = keys.stream().map(ConfigKey::name).toList();
        if (!names.contains(name) && !name.equals("config")) {
            throw new StartException("unknown key " + origin + "; the nearest is " + prefix
                    + nearestAs(origin, ConfigKey.nearest(name, names)));
        }
        return name;
    }

    private static String nearestAs(String origin, String name) {
        return origin.startsWith("BASALT_") ? "BASALT_" + name.replace('-', '_').toUpperCase(Locale.ROOT) : name;
    }
}
