package basalt.engine.backend.cuda;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.PosixFilePermissions;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

final class GpuSanitizeTest {
    @TempDir
    private Path folder;

    /** What is told of a tool that prints so, in the place of compute-sanitizer. */
    private List<String> told(String script) throws IOException {
        var tool = folder.resolve("compute-sanitizer");
        Files.writeString(tool, "#!/bin/sh\n" + script);
        Files.setPosixFilePermissions(tool, PosixFilePermissions.fromString("rwxr-xr-x"));
        var lines = new ArrayList<String>();
        new GpuSanitize(tool, (name, value) -> lines.add(name + " " + value)).run(List.of("program", "section"));
        return lines;
    }

    @Test
    void toolsThatFindNothingAreFine() throws IOException {
        var lines = told("""
                echo "========= COMPUTE-SANITIZER"
                if [ "$2" = racecheck ]; then
                    echo "========= RACECHECK SUMMARY: 0 hazards displayed (0 errors, 0 warnings) "
                else
                    echo "========= ERROR SUMMARY: 0 errors"
                fi
                """);

        assertEquals(3, lines.size());
        lines.forEach(line -> assertTrue(line.contains(" ok: 0 "), line));
    }

    @Test
    void findingsFail() throws IOException {
        var lines = told("""
                if [ "$2" = racecheck ]; then
                    echo "========= RACECHECK SUMMARY: 6 hazards displayed (0 errors, 6 warnings)"
                else
                    echo "========= ERROR SUMMARY: 10 errors"
                fi
                """);

        assertEquals(
                List.of(
                        "memcheck FAILED: 10 errors",
                        "initcheck FAILED: 10 errors",
                        "racecheck FAILED: 6 hazards displayed (0 errors, 6 warnings)"),
                lines);
    }

    @Test
    void programsThatEndWithoutASummaryFail() throws IOException {
        var lines = told(
                "echo \"========= Error: Target application terminated before first instrumented API call\"; exit 3");

        assertEquals("memcheck FAILED: no summary, exit status 3", lines.getFirst());
    }
}
