package basalt.server;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.FileTime;
import java.nio.file.attribute.PosixFilePermissions;
import java.time.Instant;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Assumptions;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** The launcher where it is not started as its author would. */
class LauncherIT {
    private static final Path LAUNCHER = Path.of("..", "basalt");
    private static final String JAVA_HOME = System.getProperty("java.home");

    @TempDir
    private Path folder;

    private record Ended(int exitCode, String out, String err) {}

    private Ended run(List<String> command, Map<String, String> environment) throws IOException, InterruptedException {
        Path out = folder.resolve("out");
        Path err = folder.resolve("err");
        var builder = new ProcessBuilder(command).redirectOutput(out.toFile()).redirectError(err.toFile());
        builder.environment().clear();
        builder.environment().put("PATH", "/usr/local/bin:/usr/bin:/bin");
        builder.environment().putAll(environment);
        Process process = builder.start();
        assertTrue(process.waitFor(60, TimeUnit.SECONDS));
        return new Ended(
                process.exitValue(),
                Files.readString(out, StandardCharsets.UTF_8),
                Files.readString(err, StandardCharsets.UTF_8));
    }

    @Test
    void aServiceWithoutHomeFindsItsJdk() throws IOException, InterruptedException {
        var ended = run(List.of(LAUNCHER.toString(), "jdk"), Map.of("JAVA_HOME", JAVA_HOME));

        assertEquals(new Ended(0, JAVA_HOME + "\n", ""), ended);
    }

    @Test
    void anEditedContractIsBuiltAgain() throws IOException, InterruptedException {
        Path tree = folder.resolve("tree");
        for (String made : List.of("server/target/lib", "bench/target/lib", "target", "path")) {
            Files.createDirectories(tree.resolve(made));
        }
        copyLauncher(tree);
        Path contract = Files.writeString(tree.resolve("openapi.yaml"), "openapi: 3.1.0");
        Path stamp = Files.writeString(tree.resolve("target/built"), "");
        Path maven = Files.writeString(tree.resolve("path/mvn"), "#!/bin/sh\nexit 1\n");
        Files.setPosixFilePermissions(maven, PosixFilePermissions.fromString("rwxr-xr-x"));
        var command = List.of(tree.resolve("basalt").toString(), "build");
        var environment = Map.of("JAVA_HOME", JAVA_HOME, "PATH", tree.resolve("path") + ":/usr/bin:/bin");
        Files.setLastModifiedTime(contract, FileTime.from(Instant.EPOCH));

        var built = run(command, environment);
        Files.setLastModifiedTime(stamp, FileTime.from(Instant.EPOCH));
        Files.setLastModifiedTime(contract, FileTime.from(Instant.EPOCH.plusSeconds(60)));
        var edited = run(command, environment);

        assertEquals(new Ended(0, "", ""), built);
        assertTrue(edited.err().startsWith("basalt: building"), edited.err());
        assertEquals(1, edited.exitCode());
    }

    private static void copyLauncher(Path tree) throws IOException {
        Path copy = Files.copy(LAUNCHER, tree.resolve("basalt"));
        Files.setPosixFilePermissions(copy, PosixFilePermissions.fromString("rwxr-xr-x"));
        Assumptions.assumeTrue(Files.isExecutable(copy), "no programs can be run here");
    }

    @Test
    void aTreeThatCannotBeBuiltSaysWhoCan() throws IOException, InterruptedException {
        Path tree = folder.resolve("a tree");
        Files.createDirectories(tree);
        copyLauncher(tree);
        // A file where the folder would be made: root may write everywhere else.
        Files.writeString(tree.resolve("target"), "");

        var ended = run(List.of(tree.resolve("basalt").toString(), "serve"), Map.of("JAVA_HOME", JAVA_HOME));

        assertEquals(1, ended.exitCode());
        assertTrue(ended.err().contains("/target cannot be written"), ended.err());
        assertTrue(ended.err().contains("basalt build\" as a user who may write there"), ended.err());
        assertFalse(ended.err().contains("cannot create"), ended.err());
    }
}
