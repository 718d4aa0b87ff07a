package basalt.server;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** OpenAI's client for Node, unchanged: the tests of {@code src/test/node}, where Node and npm are there. */
class OpenAiNodeIT {
    private static final Path TESTS = Path.of("src", "test", "node");
    private static final int NODE_VERSION_MIN = 20;
    private static final long PATIENCE_SECONDS = 240;

    @TempDir
    private Path folder;

    private record Run(int exitCode, String output) {}

    private Run run(Map<String, String> environment, String... command) throws IOException, InterruptedException {
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

    private int nodeVersion() throws InterruptedException {
        try {
            run(Map.of(), "npm", "--version");
            String version = run(Map.of(), "node", "--version").output().strip();
            return Integer.parseInt(version.substring(1, version.indexOf('.')));
        } catch (IOException e) {
            return 0; // not there
        }
    }

    @Test
    void suitePasses() throws IOException, InterruptedException {
        int version = nodeVersion();
        assumeTrue(
                version >= NODE_VERSION_MIN,
                "NOT RUN: OpenAI's client for Node needs npm and Node " + NODE_VERSION_MIN + ", found " + version);
        for (String file : List.of("package.json", "package-lock.json", "openai.test.mjs")) {
            Files.copy(TESTS.resolve(file), folder.resolve(file));
        }
        Run install = run(Map.of(), "npm", "ci", "--no-audit", "--no-fund");
        assertEquals(0, install.exitCode(), install.output());

        try (var server = new ClientServer();
                var control = new Control(server)) {
            Run tests = run(
                    Map.of(
                            "BASALT_URL", server.url(),
                            "BASALT_KEY", ClientServer.KEY,
                            "BASALT_MODEL", ClientServer.MODEL,
                            "BASALT_CONTROL", control.url()),
                    "node",
                    "--test",
                    "openai.test.mjs");

            assertEquals(0, tests.exitCode(), tests.output());
        }
    }

    /** What the tests in Node ask of this one. */
    private static final class Control implements AutoCloseable {
        private final HttpServer http;
        private ClientServer.Occupation occupation = new ClientServer.Occupation(List.of());

        Control(ClientServer server) throws IOException {
            http = HttpServer.create(new InetSocketAddress(InetAddress.getLoopbackAddress(), 0), 0);
            on("occupy", () -> occupation = server.occupy());
            on("free", () -> {
                occupation.close();
                server.awaitFree();
            });
            on("await-busy", () -> server.awaitBusy(1, 0));
            on("await-free", server::awaitFree);
            http.start();
        }

        private void on(String what, Runnable action) {
            http.createContext("/" + what, exchange -> {
                try (exchange) {
                    action.run();
                    exchange.sendResponseHeaders(200, -1);
                }
            });
        }

        String url() {
            return "http://127.0.0.1:" + http.getAddress().getPort();
        }

        @Override
        public void close() {
            occupation.close();
            http.stop(0);
        }
    }
}
