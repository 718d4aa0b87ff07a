package basalt.bench;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/**
 * Many sessions on few slots with small budgets, clients that vanish, and a server that is killed in between. The size
 * is small for CI; {@code basalt bench soak} alone is the whole proof.
 */
class SoakBenchTest {
    private static final int SESSIONS = 40;

    @TempDir
    private Path folder;

    private final ByteArrayOutputStream out = new ByteArrayOutputStream();

    private String server() {
        return "\"" + Path.of(System.getProperty("java.home"), "bin", "java")
                + "\" --add-modules jdk.incubator.vector --enable-native-access=ALL-UNNAMED \"-Dbasalt.home="
                + Path.of("..").toAbsolutePath().normalize() + "\" -cp \"" + System.getProperty("java.class.path")
                + "\" basalt.server.Main serve --backend cpu --port 0 --warm-up 0s --slots 32"
                + " --sessions-memory-max 16MiB --sessions-disk-max 32MiB --sessions-dir \"" + folder + "\"";
    }

    private boolean run(String... arguments) throws IOException {
        return new SoakBench(arguments, new PrintStream(out, true, StandardCharsets.UTF_8)).run();
    }

    private Matcher report() {
        var report = Pattern.compile("(\\d+) turns committed, (\\d+) clients vanished, (\\d+) kills: (\\d+) went on")
                .matcher(out.toString(StandardCharsets.UTF_8));
        assertTrue(report.find(), out::toString);
        return report;
    }

    @Test
    void everyCommittedTurnIsThereAndNoSessionShowsAnothers() throws IOException {
        boolean isRight = run(
                "--server", server(), "--directory", folder.toString(), "--sessions", "" + SESSIONS, "--seconds", "6");

        assertTrue(isRight, out::toString);
        var report = report();
        assertTrue(Integer.parseInt(report.group(1)) > SESSIONS / 4, out::toString);
        assertTrue(Integer.parseInt(report.group(2)) > 0, out::toString);
        assertEquals("2", report.group(3));
        assertTrue(Integer.parseInt(report.group(4)) > SESSIONS / 4, out::toString);
    }

    @Test
    void filesOfNobodyAreSeen() throws IOException {
        var stranger = folder.resolve("0123456789abcdef.stray");
        String command = "sh -c 'touch \"" + stranger + "\"; exec \"$@\"' sh " + server();

        assertFalse(run(
                "--server",
                command,
                "--directory",
                folder.toString(),
                "--sessions",
                "4",
                "--seconds",
                "1",
                "--kills",
                "0"));

        assertTrue(out.toString(StandardCharsets.UTF_8).contains("left behind: " + stranger.getFileName()));
    }

    @Test
    void lostTurnsAreSeen() throws IOException {
        // A start takes the ends of all journals away, as a disk may that only seemed to have written them.
        String command = "sh -c 'find \"" + folder
                + "\" -name \"*.journal\" -exec truncate -s -8 {} +; exec \"$@\"' sh " + server();

        assertFalse(run("--server", command, "--sessions", "" + SESSIONS, "--seconds", "1", "--kills", "1"));

        assertTrue(out.toString(StandardCharsets.UTF_8).contains("tokens after a kill instead of"), out::toString);
    }

    @Test
    void serverThatDoesNotStartIsSaid() {
        var thrown = assertThrows(BenchException.class, () -> run("--server", "false"));

        assertTrue(String.valueOf(thrown.getMessage()).contains("ended before it served"), thrown.getMessage());
        assertThrows(BenchException.class, this::run);
        assertThrows(BenchException.class, () -> run("--server", "./basalt", "serve"));
    }
}
