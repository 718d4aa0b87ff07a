package basalt.engine.backend.cuda;

import java.io.File;
import java.io.IOException;
import java.lang.management.ManagementFactory;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.function.BiConsumer;
import java.util.regex.Pattern;
import java.util.stream.Stream;

/** Runs a section of gpu-check under each tool of NVIDIA's compute-sanitizer. */
final class GpuSanitize {
    private static final List<String> TOOLS = List.of("memcheck", "initcheck", "racecheck");
    private static final Pattern SUMMARY = Pattern.compile("=+ (?:ERROR|RACECHECK) SUMMARY: (.*)");
    private static final Pattern CLEAN = Pattern.compile("0 errors|0 hazards displayed \\(0 errors, 0 warnings\\)\\s*");
    private static final int FINDINGS_MAX = 12;

    private final Path sanitizer;
    private final BiConsumer<String, Object> report;

    GpuSanitize(Path sanitizer, BiConsumer<String, Object> report) {
        this.sanitizer = sanitizer;
        this.report = report;
    }

    /** Where it is installed. */
    static Optional<Path> find() {
        var folders =
                Stream.of(Optional.ofNullable(System.getenv("PATH")).orElse("").split(File.pathSeparator, -1));
        return Stream.concat(folders, Stream.of("/usr/local/cuda/bin"))
                .map(folder -> Path.of(folder, "compute-sanitizer"))
                .filter(Files::isExecutable)
                .findFirst();
    }

    /** The command that runs this program's own section in another process. */
    static List<String> command(String section) {
        var runtime = ManagementFactory.getRuntimeMXBean();
        var command = new ArrayList<String>();
        command.add(Path.of(System.getProperty("java.home"), "bin", "java").toString());
        command.addAll(runtime.getInputArguments());
        command.addAll(List.of("-cp", runtime.getClassPath(), GpuCheck.class.getName(), "/dev/null", section));
        return command;
    }

    /** What each tool finds in a program. */
    void run(List<String> program) {
        for (String tool : TOOLS) {
            report.accept(tool, verdict(tool, program));
        }
    }

    private String verdict(String tool, List<String> program) {
        var command = new ArrayList<>(List.of(sanitizer.toString(), "--tool", tool));
        command.addAll(program);
        try {
            var process = new ProcessBuilder(command).redirectErrorStream(true).start();
            process.getOutputStream().close();
            var findings = new ArrayList<String>();
            String summary = "";
            try (var lines = process.inputReader()) {
                for (String line = lines.readLine(); line != null; line = lines.readLine()) {
                    var matcher = SUMMARY.matcher(line);
                    if (matcher.matches()) {
                        summary = matcher.group(1);
                    } else if (line.startsWith("=========") && findings.size() < FINDINGS_MAX) {
                        findings.add(line);
                    }
                }
            }
            int status = process.waitFor();
            if (CLEAN.matcher(summary).matches() && status == 0) {
                return "ok: " + summary;
            }
            findings.forEach(System.out::println);
            return "FAILED: " + (summary.isEmpty() ? "no summary, exit status " + status : summary);
        } catch (IOException e) {
            return "FAILED: " + e.getMessage();
        } catch (InterruptedException e) {
            throw new IllegalStateException(e);
        }
    }
}
