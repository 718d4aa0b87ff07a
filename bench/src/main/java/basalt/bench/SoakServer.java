package basalt.bench;

import java.io.BufferedReader;
import java.io.IOException;
import java.net.URI;
import java.nio.charset.StandardCharsets;

/** A server started by a shell's command, which can be killed. */
final class SoakServer implements AutoCloseable {
    private final Process process;
    private final URI uri;

    private SoakServer(Process process, URI uri) {
        this.process = process;
        this.uri = uri;
    }

    /**
     * Starts it and waits until it serves; what it writes to standard error goes to this process's.
     *
     * @throws BenchException if it ends before
     */
    static SoakServer start(String command) throws IOException {
        // Replaces the shell, so that what is killed is the server.
        var process = new ProcessBuilder("sh", "-c", "exec " + command)
                .redirectError(ProcessBuilder.Redirect.INHERIT)
                .start();
        BufferedReader lines = process.inputReader(StandardCharsets.UTF_8);
        for (var line = lines.readLine(); line != null; line = lines.readLine()) {
            if (line.startsWith("Serving ")) {
                Thread.ofVirtual().start(() -> lines.lines().forEach(rest -> {}));
                return new SoakServer(process, URI.create(line.substring(line.lastIndexOf(' ') + 1)));
            }
        }
        throw new BenchException("the server ended before it served: " + command);
    }

    URI uri() {
        return uri;
    }

    /** SIGKILL; returns when it is gone. */
    @Override
    public void close() {
        process.destroyForcibly().onExit().join();
    }
}
