package basalt.server;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.BufferedReader;
import java.io.IOException;
import java.net.InetAddress;
import java.net.Socket;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** A server in a process of its own. */
class SignalIT {
    private static final long PATIENCE_SECONDS = 60;

    @TempDir
    private Path folder;

    @Test
    void sigtermEndsAStreamWholeAndTheProcessWithZero() throws IOException, InterruptedException {
        Path log = folder.resolve("log");
        Process process = start(log);
        try (BufferedReader out = process.inputReader(StandardCharsets.UTF_8)) {
            String line = out.readLine();
            assertTrue(line != null && line.startsWith("Serving based-10m on http://127.0.0.1:"), line + log(log));
            int port = URI.create(line.substring(line.indexOf("http"))).getPort();
            try (Socket socket = new Socket(InetAddress.getLoopbackAddress(), port)) {
                String body = "{\"prompt\":\"The\",\"max_tokens\":300,\"ignore_eos\":true,\"stream\":true}";
                socket.getOutputStream().write(TestServer.wire(body).getBytes(StandardCharsets.UTF_8));
                assertTrue(socket.getInputStream().read() == 'H');

                process.destroy();

                String answer = new String(socket.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
                assertTrue(answer.contains("\"finish_reason\":\"length\""), answer);
                assertTrue(answer.contains("data: [DONE]\n\n"), answer);
            }
            assertTrue(process.waitFor(PATIENCE_SECONDS, TimeUnit.SECONDS));
            assertEquals(0, process.exitValue());
            assertTrue(log(log).contains("event=drain running=1"), log(log));
            assertTrue(log(log).contains("event=stop running=0"), log(log));
        } finally {
            process.destroyForcibly();
        }
    }

    private static Process start(Path log) throws IOException {
        return new ProcessBuilder(
                        Path.of(System.getProperty("java.home"), "bin", "java").toString(),
                        "--add-modules",
                        "jdk.incubator.vector",
                        "--enable-native-access=ALL-UNNAMED",
                        "-Dbasalt.home=" + Path.of("..").toAbsolutePath().normalize(),
                        "-cp",
                        System.getProperty("java.class.path"),
                        Main.class.getName(),
                        "serve",
                        "--port",
                        "0",
                        "--backend",
                        "cpu",
                        "--slots",
                        "2",
                        "--warm-up",
                        "0s")
                .redirectError(log.toFile())
                .start();
    }

    private static String log(Path log) throws IOException {
        return Files.readString(log);
    }
}
