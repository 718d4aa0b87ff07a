package basalt.server;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.OutputStream;
import java.io.PrintStream;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import java.util.logging.Handler;
import java.util.logging.LogRecord;
import java.util.logging.Logger;
import java.util.logging.SimpleFormatter;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Starts that must fail: one line that says what to do, and an exit code that is not 0. */
class StartIT {
    private static final Path MODEL = Path.of("..", "models", "based-10m");

    @TempDir
    private Path folder;

    private static String failure(String... args) throws InterruptedException {
        return failure(LoadedModel::load, args);
    }

    private static String failure(LoadedModel.Loader loader, String... args) throws InterruptedException {
        var err = new ByteArrayOutputStream();
        var out = new PrintStream(new ByteArrayOutputStream(), true, StandardCharsets.UTF_8);
        int exitCode = Main.run(List.of(args), loader, out, new PrintStream(err, true, StandardCharsets.UTF_8));
        String line = err.toString(StandardCharsets.UTF_8);
        assertTrue(exitCode != 0, line);
        assertEquals(1, line.lines().count(), line);
        assertTrue(line.startsWith("basalt: "), line);
        return line;
    }

    private static String serveFailure(String... args) throws InterruptedException {
        var all = new ArrayList<>(List.of("serve", "--port", "0", "--backend", "cpu", "--model", MODEL.toString()));
        for (int i = 0; i < args.length; i += 2) {
            int at = all.indexOf(args[i]);
            if (at >= 0) {
                all.subList(at, at + 2).clear();
            }
            all.addAll(List.of(args[i], args[i + 1]));
        }
        return failure(all.toArray(String[]::new));
    }

    @Test
    void busyPort() throws IOException, InterruptedException {
        try (var socket = new ServerSocket(0, 1, InetAddress.getLoopbackAddress())) {
            String line = serveFailure("--port", Integer.toString(socket.getLocalPort()));

            assertTrue(line.contains("port " + socket.getLocalPort() + " on 127.0.0.1 cannot be bound"), line);
            assertTrue(line.contains("choose another with --host and --port"), line);
        }
    }

    @Test
    void busyOpsPort() throws IOException, InterruptedException {
        try (var socket = new ServerSocket(0, 1, InetAddress.getLoopbackAddress())) {
            String line = serveFailure("--ops-port", Integer.toString(socket.getLocalPort()));

            assertTrue(line.contains("choose another with --host and --ops-port"), line);
        }
    }

    @Test
    void unknownHost() throws InterruptedException {
        String line = serveFailure("--host", "no-such-host.invalid");

        assertTrue(line.contains("host no-such-host.invalid is unknown; give --host an address"), line);
        assertFalse(line.contains("stop what uses it"), line);
    }

    @Test
    void missingFilesOfTls() throws IOException, InterruptedException {
        String line = serveFailure("--tls-certificate", "/nope", "--tls-key", "/nope");
        String directory = serveFailure("--tls-certificate", folder.toString(), "--tls-key", folder.toString());

        assertTrue(line.contains("TLS: /nope does not exist; --tls-certificate takes a file"), line);
        assertTrue(directory.contains("TLS: " + folder), directory);
        assertTrue(directory.contains("; --tls-certificate takes a file"), directory);
    }

    @Test
    void keysThatAreNone() throws InterruptedException {
        assertTrue(serveFailure("--api-keys", ",").contains("--api-keys: holds no key"));
    }

    @Test
    void missingDirectory() throws InterruptedException {
        String line = serveFailure("--model", "/no/such/model");

        assertTrue(line.contains("/no/such/model is not a directory; give --model one"), line);
    }

    @Test
    void badCheckpoint() throws IOException, InterruptedException {
        Files.writeString(folder.resolve("config.json"), "{\"architectures\":[\"Other\"]}");

        String line = serveFailure("--model", folder.toString());

        assertTrue(line.contains("cannot be served: "), line);
    }

    @Test
    void tooLittleMemoryForOneSlot() throws InterruptedException {
        String line = serveFailure("--state-bytes-max", "1MiB");

        assertTrue(line.contains("holds 0 states"), line);
        assertTrue(line.contains("give at least 2MiB"), line);
    }

    @Test
    void moreSlotsThanTheHeapHolds() throws InterruptedException {
        String line = serveFailure("--slots", "1000000");

        assertTrue(line.contains("use at most"), line);
    }

    @Test
    void memoryThatEndsAnywhere() throws InterruptedException {
        String line = failure(
                config -> {
                    throw new OutOfMemoryError("Java heap space");
                },
                "serve",
                "--port",
                "0");

        assertTrue(line.contains("raise it (-Xmx)"), line);
    }

    @Test
    void tooLittleMemoryForTheWeights() throws IOException, InterruptedException {
        Path err = folder.resolve("err");
        Process process = new ProcessBuilder(
                        Path.of(System.getProperty("java.home"), "bin", "java").toString(),
                        "-Xmx24m",
                        "-XX:+UseSerialGC", // as the launcher; it counts a survivor space less
                        "--add-modules",
                        "jdk.incubator.vector",
                        "--enable-native-access=ALL-UNNAMED",
                        "-cp",
                        System.getProperty("java.class.path"),
                        Main.class.getName(),
                        "serve",
                        "--backend",
                        "cpu",
                        "--port",
                        "0",
                        "--model",
                        MODEL.toString())
                .redirectError(err.toFile())
                .redirectOutput(ProcessBuilder.Redirect.DISCARD)
                .start();

        assertTrue(process.waitFor(60, TimeUnit.SECONDS));
        var lines = Files.readAllLines(err).stream()
                .filter(line -> !line.startsWith("WARNING: Using incubator modules"))
                .toList();
        assertEquals(1, process.exitValue());
        assertEquals(1, lines.size(), lines.toString());
        assertTrue(
                lines.getFirst().startsWith("basalt: a heap with room for 23 MB does not hold the weights"),
                lines.toString());
    }

    @Test
    void missingConfigFile() throws InterruptedException {
        assertTrue(serveFailure("--config", "/no/such/file").contains("no such file"));
    }

    @Test
    void listeningToAllWithoutKeysIsWarnedOf() {
        List<String> open = logged(
                Application.class, () -> TestServer.start("--host", "0.0.0.0").close());
        List<String> guarded = logged(Application.class, () -> {
            TestServer.start("--host", "0.0.0.0", "--api-keys", "k").close();
            TestServer.start().close();
        });

        assertTrue(open.stream().anyMatch(line -> line.startsWith("WARNING event=open_to_all")), open.toString());
        assertTrue(guarded.stream().noneMatch(line -> line.startsWith("WARNING")), guarded.toString());
    }

    @Test
    void unknownFieldsOfTheConfigurationAreWarnedOfOnce() throws IOException {
        try (var files = Files.newDirectoryStream(MODEL.toRealPath())) {
            for (Path file : files) {
                Files.createSymbolicLink(folder.resolve(file.getFileName()), file);
            }
        }
        Path config = folder.resolve("config.json");
        String known = Files.readString(config);
        Files.delete(config);
        Files.writeString(config, known.replaceFirst("\\{", "{\"rotary_scaling\":4,\"a b\":1,"));

        List<String> warned = logged(LoadedModel.class, () -> load(folder));
        List<String> quiet = logged(LoadedModel.class, () -> load(MODEL));

        assertEquals(1, warned.size(), warned.toString());
        assertTrue(warned.getFirst().startsWith("WARNING event=config_fields_unknown count=2"), warned.toString());
        assertTrue(warned.getFirst().contains("names=\"rotary_scaling,a?b\""), warned.toString());
        assertEquals(List.of(), quiet);
    }

    private static void load(Path model) {
        var args = List.of("--model", model.toString(), "--backend", "cpu", "--slots", "1");
        try {
            LoadedModel.load(ServerConfig.load(args, Map.of(), Path.of(".."))).close();
        } catch (InterruptedException e) {
            throw new IllegalStateException(e);
        }
    }

    /** The lines that a class logs meanwhile, each behind its level. */
    private static List<String> logged(Class<?> owner, Runnable action) {
        var lines = new ArrayList<String>();
        var logger = Logger.getLogger(owner.getName());
        var handler = new Handler() {
            @Override
            public void publish(LogRecord line) {
                lines.add(line.getLevel() + " " + new SimpleFormatter().formatMessage(line));
            }

            @Override
            public void flush() {}

            @Override
            public void close() {}
        };
        logger.addHandler(handler);
        try {
            action.run();
        } finally {
            logger.removeHandler(handler);
        }
        return lines;
    }

    @Test
    void warmUpLeavesNoTraceInMetrics() {
        try (var server = TestServer.start("--warm-up", "300ms")) {
            String metrics = server.get("/metrics").body();

            assertTrue(metrics.contains("vllm:generation_tokens_total{engine=\"0\",model_name=\"test\"} 0.0"), metrics);
            assertTrue(metrics.contains("finished_reason=\"length\",model_name=\"test\"} 0.0"), metrics);
            assertEquals(0, server.stats().busySlotCount());
        }
    }

    @Test
    void fakeBackendServesOnlyWhereAskedFor() throws InterruptedException {
        var args = List.of("--port", "0", "--model", MODEL.toString(), "--warm-up", "0s");
        var asked = new ArrayList<>(args);
        asked.addAll(List.of("--backend", "fake", "--fake-step-time", "0s", "--slots", "40"));

        try (var fake = Application.start(ServerConfig.load(asked, Map.of(), Path.of("..")), LoadedModel::load);
                var unasked = Application.start(ServerConfig.load(args, Map.of(), Path.of("..")), LoadedModel::load)) {
            long realBytes = unasked.model().served().stateBytes();

            assertEquals(40, fake.model().engine().stats().slotCount());
            assertTrue(fake.model().served().stateBytes() < realBytes, () -> "auto chose a fake: " + realBytes);
        }
    }

    @Test
    void unknownCommand() throws InterruptedException {
        assertTrue(failure("server").contains("unknown command server"));
    }

    @Test
    void generateGoesOnFromAPrompt() throws InterruptedException {
        var out = new ByteArrayOutputStream();
        var err = new ByteArrayOutputStream();
        int exitCode = Main.run(
                List.of("generate", "--model", MODEL.toString(), "--backend", "cpu", "--max-tokens", "12", "The old"),
                new PrintStream(out, true, StandardCharsets.UTF_8),
                new PrintStream(err, true, StandardCharsets.UTF_8));

        assertEquals(0, exitCode, err.toString(StandardCharsets.UTF_8));
        assertTrue(out.toString(StandardCharsets.UTF_8).startsWith("The old"), out.toString(StandardCharsets.UTF_8));
    }

    @Test
    void generateEndsWithItsReader() throws InterruptedException {
        var closed = new OutputStream() {
            @Override
            public void write(int b) throws IOException {
                throw new IOException("Broken pipe");
            }
        };

        int exitCode = Main.run(
                List.of(
                        "generate",
                        "--model",
                        MODEL.toString(),
                        "--backend",
                        "fake",
                        "--max-tokens",
                        "2147483647",
                        "a"),
                new PrintStream(closed, false, StandardCharsets.UTF_8),
                System.err);

        assertEquals(0, exitCode);
    }
}
