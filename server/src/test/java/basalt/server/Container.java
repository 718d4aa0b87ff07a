package basalt.server;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.JsonNode;
import java.io.IOException;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.locks.LockSupport;

/**
 * A container of the image that container/ci-image.sh has built, by podman's command line. Testcontainers would need
 * the engine's socket and a network of the engine's own, which machines of continuous integration may not allow; here
 * all containers have the machine's network, each on ports of its own.
 */
final class Container {
    static final String IMAGE = "localhost/basalt:cpu";
    static final String CUDA_IMAGE = "localhost/basalt:cuda";
    private static final Path ENGINE = Path.of("..", "target", "engine");
    private static final Duration PATIENCE = Duration.ofMinutes(3);
    private static final Duration POLL = Duration.ofMillis(5);
    private static final HttpClient CLIENT = HttpClient.newHttpClient();

    private final String name;
    private final int port;
    private final int opsPort;
    private final long readyMillis;

    private Container(String name, int port, int opsPort, long readyMillis) {
        this.name = name;
        this.port = port;
        this.opsPort = opsPort;
        this.readyMillis = readyMillis;
    }

    /** Why no containers can be had; empty if they can. Fails if an image could not be built. */
    static String unavailable() throws IOException {
        Path failed = ENGINE.resolve("failed");
        if (Files.exists(failed)) {
            throw new AssertionError(Files.readString(failed));
        }
        return Files.isDirectory(ENGINE)
                ? reason("THE IMAGE", "unavailable")
                : "THE IMAGE IS NOT TESTED: build it with container/ci-image.sh target/engine";
    }

    /** Why the CUDA image cannot be had, where containers can; empty if it can. */
    static String cudaUnavailable() throws IOException {
        return reason("THE CUDA IMAGE", "unavailable-cuda");
    }

    private static String reason(String what, String file) throws IOException {
        Path reason = ENGINE.resolve(file);
        return Files.exists(reason)
                ? what + " IS NOT TESTED: " + Files.readString(reason).strip()
                : "";
    }

    /** Runs podman to its end; what it prints. */
    static String podman(String... args) throws IOException, InterruptedException {
        var command = new ArrayList<>(
                List.of("sh", Path.of("..", "container", "podman.sh").toString(), ENGINE.toString(), "podman"));
        command.addAll(List.of(args));
        Process process = new ProcessBuilder(command).redirectErrorStream(true).start();
        String printed = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
        assertEquals(0, process.waitFor(), String.join(" ", command) + ": " + printed);
        return printed.strip();
    }

    /** Starts one that cannot write but to /tmp; returns when it is ready. */
    static Container start(String... environment) throws IOException, InterruptedException {
        return start(IMAGE, freePort(), environment);
    }

    /** The same of another image, or at a port that is known. */
    static Container start(String image, int port, String... environment) throws IOException, InterruptedException {
        return start(List.of(), image, port, environment);
    }

    /** With a volume, made if need be, where models are kept. */
    static Container startWithCache(String volume, String... environment) throws IOException, InterruptedException {
        return start(List.of("--volume", volume + ":/cache"), IMAGE, freePort(), environment);
    }

    private static Container start(List<String> options, String image, int port, String... environment)
            throws IOException, InterruptedException {
        int opsPort = freePort();
        String name = "basalt-" + port + "-" + opsPort; // a port may be taken over
        var command = new ArrayList<>(List.of("create", "--name", name, "--network", "host", "--read-only", "--tmpfs"));
        command.addAll(List.of("/tmp", "--env", "BASALT_HOST=127.0.0.1", "--env", "BASALT_PORT=" + port));
        command.addAll(List.of("--env", "BASALT_OPS_PORT=" + opsPort));
        for (String variable : environment) {
            command.addAll(List.of("--env", variable));
        }
        command.addAll(options);
        command.add(image);
        podman(command.toArray(String[]::new));
        long began = System.nanoTime();
        podman("start", name);
        while (!isReady(opsPort)) {
            assertTrue(System.nanoTime() - began < PATIENCE.toNanos(), () -> logs(name));
            LockSupport.parkNanos(POLL.toNanos());
        }
        return new Container(name, port, opsPort, (System.nanoTime() - began) / 1_000_000);
    }

    static int freePort() throws IOException {
        try (var socket = new ServerSocket(0, 1, InetAddress.getLoopbackAddress())) {
            return socket.getLocalPort();
        }
    }

    private static boolean isReady(int opsPort) throws InterruptedException {
        var request = HttpRequest.newBuilder(URI.create("http://127.0.0.1:" + opsPort + "/health/ready"));
        try {
            return CLIENT.send(request.build(), HttpResponse.BodyHandlers.discarding())
                            .statusCode()
                    == 200;
        } catch (IOException e) {
            return false;
        }
    }

    /** What it has logged. */
    String logs() {
        return logs(name);
    }

    private static String logs(String name) {
        try {
            return podman("logs", name);
        } catch (IOException | InterruptedException e) {
            return e.toString();
        }
    }

    String name() {
        return name;
    }

    int port() {
        return port;
    }

    /** From the engine's start of it to its readiness. */
    long readyMillis() {
        return readyMillis;
    }

    HttpResponse<String> send(String method, String path, String body) throws IOException, InterruptedException {
        boolean isOps = path.startsWith("/health") || path.equals("/metrics");
        var request = HttpRequest.newBuilder(URI.create("http://127.0.0.1:" + (isOps ? opsPort : port) + path))
                .header("Content-Type", "application/json")
                .method(method, HttpRequest.BodyPublishers.ofString(body));
        return CLIENT.send(request.build(), HttpResponse.BodyHandlers.ofString());
    }

    /** What an answer that is well says. */
    JsonNode json(String method, String path, String body) throws IOException, InterruptedException {
        HttpResponse<String> response = send(method, path, body);
        assertEquals(200, response.statusCode(), () -> response.body() + logs(name));
        return TestServer.parse(response.body());
    }

    /** Sends a signal. */
    void signal(String signal) throws IOException, InterruptedException {
        podman("kill", "--signal", signal, name);
    }

    /** Waits for the end; the exit code. */
    int awaitExit() throws IOException, InterruptedException {
        return Integer.parseInt(podman("wait", name));
    }

    /** Ends it, if need be, and removes it. */
    void remove() throws IOException, InterruptedException {
        podman("rm", "--force", "--ignore", "--time", "0", name);
    }
}
