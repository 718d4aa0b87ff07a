package basalt.server;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;

import java.io.IOException;
import java.nio.file.Path;
import java.util.Locale;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Redocly's linter finds nothing in the contract, where Node and npm are there. */
class ContractLintIT {
    @TempDir
    private Path folder;

    @Test
    void linterFindsNothing() throws IOException, InterruptedException {
        NodePackage node = NodePackage.install(folder);
        String contract = Path.of("..", "openapi.yaml").toRealPath().toString();

        var lint = node.run(
                Map.of("REDOCLY_TELEMETRY", "off", "REDOCLY_SUPPRESS_UPDATE_NOTICE", "true"),
                "node_modules/.bin/redocly",
                "lint",
                "--extends=recommended",
                contract);

        assertEquals(0, lint.exitCode(), lint.output());
        assertFalse(lint.output().toLowerCase(Locale.ROOT).contains("you have"), lint.output());
    }
}
