package basalt.server;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.BufferedInputStream;
import java.io.IOException;
import java.net.ConnectException;
import java.net.InetAddress;
import java.net.Socket;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.CountDownLatch;
import java.util.regex.Pattern;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** SIGTERM to a server in a process of its own. */
class SignalIT {
    private static final int STREAMS = 100;
    private static final int TOKENS = 500;
    private static final int LONGEST = 30_000;

    @TempDir
    private Path folder;

    private static String request(int tokens) {
        return TestServer.wire("{\"prompt\":\"The\",\"max_tokens\":" + tokens
                + ",\"ignore_eos\":true,\"stream\":true,\"return_token_ids\":true}");
    }

    /** A stream that has ended before the signal comes shows nothing; then a longer one must. */
    @Test
    void sigtermEndsAStreamWholeAndTheProcessWithZero() throws IOException, InterruptedException {
        String running = "event=drain running=1\n";
        String log = logOfASigtermDuringAStream(300);
        for (int tokens = 3_000; tokens <= LONGEST && !log.contains(running); tokens *= 10) {
            log = logOfASigtermDuringAStream(tokens);
        }

        assertTrue(log.contains(running), log);
    }

    private String logOfASigtermDuringAStream(int tokens) throws IOException, InterruptedException {
        String[] args = {"--backend", "cpu", "--slots", "2", "--drain-timeout", "10m"};
        try (var server = ServerProcess.start(folder.resolve("log" + tokens), args);
                var socket = new Socket(InetAddress.getLoopbackAddress(), server.port())) {
            socket.getOutputStream().write(request(tokens).getBytes(StandardCharsets.UTF_8));
            assertTrue(socket.getInputStream().read() == 'H');

            server.terminate();

            String answer = new String(socket.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
            assertTrue(answer.contains("\"finish_reason\":\"length\""), answer);
            assertTrue(answer.contains("data: [DONE]\n\n"), answer);
            assertEquals(0, server.awaitExit());
            assertTrue(server.log().contains("event=stop running=0"), server.log());
            return server.log();
        }
    }

    @Test
    void sigtermTruncatesNoneOfManyStreamsAndRefusesNewOnes() throws IOException, InterruptedException {
        var args = new ArrayList<>(List.of("--backend", "fake", "--fake-step-time", "15ms"));
        args.addAll(List.of("--slots", "128", "--batch-max", "128", "--drain-timeout", "10m"));
        try (var server = ServerProcess.start(folder.resolve("log"), args.toArray(String[]::new))) {
            var begun = new CountDownLatch(STREAMS);
            var broken = new ConcurrentLinkedQueue<String>();
            var clients = new ArrayList<Thread>();
            for (int i = 0; i < STREAMS; i++) {
                clients.add(Thread.startVirtualThread(() -> stream(server.port(), begun, broken)));
            }
            begun.await();

            server.terminate();

            TestServer.await("refusing", () -> isRefused(server.port()));
            assertTrue(server.isAlive(), "refusing while streams go on");
            for (Thread client : clients) {
                client.join();
            }
            assertEquals(List.of(), List.copyOf(broken));
            assertEquals(0, server.awaitExit());
            String log = server.log();
            // More where requests that wait to be refused were still served.
            var drain = Pattern.compile("event=drain running=([0-9]+)\n").matcher(log);
            assertTrue(drain.find() && Integer.parseInt(drain.group(1)) >= STREAMS, log);
            assertTrue(log.contains("event=stop running=0"), log);
        }
    }

    private static void stream(int port, CountDownLatch begun, ConcurrentLinkedQueue<String> broken) {
        try (var socket = new Socket(InetAddress.getLoopbackAddress(), port)) {
            socket.getOutputStream().write(request(TOKENS).getBytes(StandardCharsets.UTF_8));
            var in = new BufferedInputStream(socket.getInputStream());
            in.mark(1);
            in.read();
            in.reset();
            begun.countDown();
            WireAnswer answer = WireAnswer.read(in).orElseThrow();
            int tokens = 0;
            for (var chunk : new TestServer.Answer(200, answer.headers(), answer.body()).chunks()) {
                tokens += chunk.path("choices").path(0).path("token_ids").size();
            }
            if (answer.status() != 200 || tokens != TOKENS || !answer.body().endsWith("data: [DONE]\n\n")) {
                broken.add(answer.status() + " with " + tokens + " tokens");
            }
        } catch (IOException e) {
            broken.add(e.toString());
        } finally {
            begun.countDown();
        }
    }

    private static boolean isRefused(int port) {
        try (var socket = new Socket(InetAddress.getLoopbackAddress(), port)) {
            socket.getOutputStream().write(request(1).getBytes(StandardCharsets.UTF_8));
            return WireAnswer.read(new BufferedInputStream(socket.getInputStream()))
                    .map(answer -> answer.status() == 503 && answer.headers().containsKey("retry-after"))
                    .orElse(false);
        } catch (ConnectException e) {
            return true;
        } catch (IOException e) {
            return false;
        }
    }
}
