package basalt.server;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.JsonNode;
import java.io.BufferedReader;
import java.io.IOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.TimeUnit;

/** A server in a process of its own. */
final class ServerProcess implements AutoCloseable {
    private static final long PATIENCE_SECONDS = 120;

    private final Process process;
    private final Path log;
    private final int port;

    private ServerProcess(Process process, Path log, int port) {
        this.process = process;
        this.log = log;
        this.port = port;
    }

    /** Starts it on a free port unless the arguments name one; returns when it serves. */
    static ServerProcess start(Path log, String... args) throws IOException {
        return start(log, List.of(), args);
    }

    /** The same with further options of the virtual machine. */
    static ServerProcess start(Path log, List<String> options, String... args) throws IOException {
        Process process = launch(log, options, args);
        try (BufferedReader out = process.inputReader(StandardCharsets.UTF_8)) {
            String line = out.readLine();
            String prefix = "Serving based-10m on http://127.0.0.1:";
            if (line == null || !line.startsWith(prefix)) {
                process.destroyForcibly();
                throw new AssertionError(line + Files.readString(log));
            }
            int port = URI.create(line.substring(line.indexOf("http"))).getPort();
            return new ServerProcess(process, log, port);
        }
    }

    /** Starts it and does not wait. */
    static Process launch(Path log, List<String> options, String... args) throws IOException {
        var command = new ArrayList<>(List.of(
                Path.of(System.getProperty("java.home"), "bin", "java").toString(),
                "--add-modules",
                "jdk.incubator.vector",
                "--enable-native-access=ALL-UNNAMED",
                "-Dbasalt.home=" + Path.of("..").toAbsolutePath().normalize()));
        command.addAll(options);
        command.addAll(List.of("-cp", System.getProperty("java.class.path"), Main.class.getName(), "serve"));
        command.addAll(List.of(args));
        if (!command.contains("--warm-up")) {
            command.addAll(List.of("--warm-up", "0s"));
        }
        if (!command.contains("--port")) {
            command.addAll(List.of("--port", "0"));
        }
        var redirect = ProcessBuilder.Redirect.appendTo(log.toFile());
        return new ProcessBuilder(command).redirectError(redirect).start();
    }

    int port() {
        return port;
    }

    /** What it answers to a request, which it must accept. */
    JsonNode send(String method, String path, String body) throws IOException, InterruptedException {
        var request = HttpRequest.newBuilder(URI.create("http://127.0.0.1:" + port + path))
                .header("Content-Type", "application/json")
                .method(method, HttpRequest.BodyPublishers.ofString(body));
        try (var client = HttpClient.newHttpClient()) {
            HttpResponse<String> response = client.send(request.build(), HttpResponse.BodyHandlers.ofString());
            assertEquals(200, response.statusCode(), response.body());
            return TestServer.parse(response.body());
        }
    }

    /** SIGTERM. */
    void terminate() {
        process.destroy();
    }

    /** SIGKILL; returns when it is gone. */
    void kill() throws InterruptedException {
        process.destroyForcibly();
        awaitExit();
    }

    boolean isAlive() {
        return process.isAlive();
    }

    /** Waits for the end; the exit code. */
    int awaitExit() throws InterruptedException {
        assertTrue(process.waitFor(PATIENCE_SECONDS, TimeUnit.SECONDS), "still running");
        return process.exitValue();
    }

    String log() throws IOException {
        return Files.readString(log);
    }

    @Override
    public void close() {
        process.destroyForcibly();
    }
}
