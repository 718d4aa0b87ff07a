package basalt.engine;

import static org.junit.jupiter.api.Assertions.assertEquals;

import java.io.File;
import java.io.IOException;
import java.lang.module.ResolvedModule;
import java.net.URI;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Optional;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** What {@link EngineExampleTest} uses can be used by a module of somebody else. */
class EngineModuleTest {
    private static final Path EXAMPLE = Path.of("src/test/java/basalt/engine/EngineExampleTest.java");

    @TempDir
    private Path folder;

    /** Where the modules of this process lie, that of the engine among them. */
    private static String modulePath() {
        return ModuleLayer.boot().configuration().modules().stream()
                .map(ResolvedModule::reference)
                .map(reference -> reference.location())
                .flatMap(Optional::stream)
                .filter(location -> "file".equals(location.getScheme()))
                .map(URI::getPath)
                .collect(Collectors.joining(File.pathSeparator));
    }

    @Test
    void theExampleCompilesInAModuleOfItsOwn() throws IOException, InterruptedException {
        Path module = Files.writeString(folder.resolve("module-info.java"), "module user { requires basalt.engine; }");
        String lines;
        try (Stream<String> all = Files.lines(EXAMPLE)) {
            lines = all.filter(line -> line.startsWith("import basalt."))
                    .collect(Collectors.joining("\n", "package user;\nimport basalt.engine.*;\n", "\nclass User {}\n"));
        }
        Path user = Files.writeString(folder.resolve("User.java"), lines);
        Path log = folder.resolve("log");

        Process compiler = new ProcessBuilder(List.of(
                        Path.of(System.getProperty("java.home"), "bin", "javac").toString(),
                        "-proc:none",
                        "-d",
                        folder.resolve("out").toString(),
                        "--module-path",
                        modulePath(),
                        module.toString(),
                        user.toString()))
                .redirectErrorStream(true)
                .redirectOutput(log.toFile())
                .start();

        assertEquals(0, compiler.waitFor(), Files.readString(log));
    }
}
