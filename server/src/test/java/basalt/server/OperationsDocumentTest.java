package basalt.server;

import static org.junit.jupiter.api.Assertions.assertTrue;

import basalt.server.observe.Metrics;
import java.io.IOException;
import java.lang.reflect.Modifier;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** docs/OPERATIONS.md against what exists. */
class OperationsDocumentTest {
    private final String document = Files.readString(Path.of("..", "docs", "OPERATIONS.md"));

    OperationsDocumentTest() throws IOException {}

    static Iterable<ConfigKey<?>> keys() {
        return ConfigKeys.KEYS;
    }

    @ParameterizedTest
    @MethodSource("keys")
    void keyIsDocumentedWithItsDefault(ConfigKey<?> key) {
        var absent = key.defaultText();
        var row = "| `" + key.name() + "` | " + (absent.isEmpty() ? "" : "`" + absent + "`") + " |";

        assertTrue(document.contains(row), () -> "docs/OPERATIONS.md has no line beginning " + row);
    }

    @Test
    void everyMetricIsDocumented() throws IllegalAccessException {
        for (var field : Metrics.class.getFields()) {
            if (Modifier.isStatic(field.getModifiers()) && field.getType() == String.class) {
                var name = (String) field.get(null);
                boolean isDocumented = Arrays.stream(new String[] {"", "_total", "_seconds"})
                        .anyMatch(suffix -> document.contains("| `" + name + suffix + "` |"));

                assertTrue(isDocumented, () -> "docs/OPERATIONS.md has no line for " + name);
            }
        }
    }
}
