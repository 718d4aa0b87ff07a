package basalt.server;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;

/** The programs of {@code src/test/node}, in the versions of its lock file. */
final class NodePackage {
    private static final Path SOURCE = Path.of("src", "test", "node");
    private static final int NODE_VERSION_MIN = 20;
    private static final long PATIENCE_SECONDS = 240;

    private final Path folder;

    private NodePackage(Path folder) {
        this.folder = folder;
    }

    /** How a program ended. */
    record Run(int exitCode, String output) {}

    /** Installs into an empty folder; skips the test where there is no Node or no npm, and says so. */
    static NodePackage install(Path folder) throws IOException, InterruptedException {
        var installed = new NodePackage(folder);
        int version = installed.nodeVersion();
        assumeTrue(
                version >= NODE_VERSION_MIN,
                "NOT RUN: needs npm and Node " + NODE_VERSION_MIN + " or later, found " + version);
        for (String file : List.of("package.json", "package-lock.json", "openai.test.mjs")) {
            Files.copy(SOURCE.resolve(file), folder.resolve(file));
        }
        Run npm = installed.run(Map.of(), "npm", "ci", "--no-audit", "--no-fund");
        assertEquals(0, npm.exitCode(), npm.output());
        return installed;
    }

    private int nodeVersion() throws IOException, InterruptedException {
        try {
            run(Map.of(), "npm", "--version");
            String version = run(Map.of(), "node", "--version").output().strip();
            return Integer.parseInt(version.substring(1, version.indexOf('.')));
        } catch (IOException e) {
            return 0; // not there
        }
    }

    /** Runs a command in the folder and waits for its end. */
    Run run(Map<String, String> environment, String... command) throws IOException, InterruptedException {
        Path output = Files.createTempFile(folder, "run", ".log");
        var builder = new ProcessBuilder(command)
                .directory(folder.toFile())
                .redirectErrorStream(true)
                .redirectOutput(output.toFile());
        builder.environment().putAll(environment);
        Process process = builder.start();
        if (!process.waitFor(PATIENCE_SECONDS, TimeUnit.SECONDS)) {
            process.destroyForcibly();
            throw new AssertionError(List.of(command) + " takes too long: " + Files.readString(output));
        }
        return new Run(process.exitValue(), Files.readString(output));
    }
}
