package basalt.server;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** A start-up cache that is of no use costs time and a line in the log, and nothing else. */
class StartCacheIT {
    private static final String WARNING = "event=start_cache_unused";
    /** As the launcher has it: the server itself says what there is to say. */
    private static final List<String> QUIET = List.of("-Xlog:aot=off", "-Xlog:cds=off");

    @TempDir
    private Path folder;

    /** What a server logs that was given a cache, after it has answered. */
    private String log(Path cache) throws IOException, InterruptedException {
        var options = new ArrayList<>(List.of("-XX:AOTCache=" + cache));
        options.addAll(QUIET);
        try (var server = ServerProcess.start(folder.resolve("log"), options, "--backend", "fake")) {
            server.send("POST", "/v1/completions", "{\"prompt\":\"The\",\"max_tokens\":3}");
            return server.log();
        }
    }

    /** A cache of a small program from this jar. */
    private Path cache(Path jar) throws IOException, InterruptedException {
        Path cache = folder.resolve("foreign.aot");
        Path java = Path.of(System.getProperty("java.home"), "bin", "java");
        Process process = new ProcessBuilder(
                        java.toString(),
                        "-XX:AOTCacheOutput=" + cache,
                        "-cp",
                        jar.toString(),
                        "com.sun.tools.javac.Main",
                        "--version")
                .redirectErrorStream(true)
                .redirectOutput(folder.resolve("made").toFile())
                .start();
        assertEquals(0, process.waitFor());
        assertTrue(Files.size(cache) > 0, () -> "no cache was made");
        return cache;
    }

    private static Path someJar() {
        return List.of(System.getProperty("java.class.path").split(":", -1)).stream()
                .filter(entry -> entry.endsWith(".jar"))
                .map(Path::of)
                .findFirst()
                .orElseThrow();
    }

    @Test
    void damagedCacheIsWarnedOf() throws IOException, InterruptedException {
        Path torn = folder.resolve("torn.aot");
        Files.write(torn, new byte[100_000]);

        String log = log(torn);

        assertTrue(log.contains(WARNING + " file=\"" + torn + "\""), log);
    }

    @Test
    void missingCacheIsWarnedOf() throws IOException, InterruptedException {
        String log = log(folder.resolve("none.aot"));

        assertTrue(log.contains(WARNING), log);
    }

    @Test
    void cacheOfOtherJarsIsWarnedOf() throws IOException, InterruptedException {
        String log = log(cache(someJar()));

        assertTrue(log.contains(WARNING), log);
    }

    @Test
    void vectorsThatAreOffAreWarnedOf() throws IOException {
        var off = List.of("-XX:+UnlockExperimentalVMOptions", "-XX:-EnableVectorSupport");
        try (var slow = ServerProcess.start(folder.resolve("slow"), off, "--backend", "cpu", "--slots", "1");
                var usual = ServerProcess.start(folder.resolve("usual"), "--backend", "cpu", "--slots", "1")) {
            assertTrue(slow.log().contains("event=vectors_off"), slow.log());
            assertTrue(!usual.log().contains("event=vectors_off"), usual.log());
        }
    }
}
