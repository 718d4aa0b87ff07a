package basalt.server;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import basalt.server.fixture.NginxProxy;
import java.io.BufferedInputStream;
import java.io.IOException;
import java.net.InetAddress;
import java.net.Socket;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Two servers behind nginx, restarted one after the other under load. */
class RollingRestartIT {
    private static final int CLIENTS = 12;
    private static final int TOKENS = 40;

    @TempDir
    private Path folder;

    private final AtomicInteger completeCount = new AtomicInteger();
    private final ConcurrentLinkedQueue<String> lost = new ConcurrentLinkedQueue<>();
    private volatile boolean isOver;

    @Test
    void losesNoRequest() throws IOException, InterruptedException {
        assumeTrue(NginxProxy.isInstalled(), NginxProxy.whyNot());
        var servers = new ArrayList<>(List.of(serve(0), serve(0)));
        try (var nginx =
                NginxProxy.start(folder, servers.get(0).port(), servers.get(1).port())) {
            var clients = new ArrayList<Thread>();
            for (int i = 0; i < CLIENTS; i++) {
                clients.add(Thread.startVirtualThread(() -> run(nginx.port())));
            }
            for (int i = 0; i < servers.size(); i++) {
                awaitMore();
                ServerProcess old = servers.get(i);
                old.terminate();
                assertEquals(0, old.awaitExit());
                servers.set(i, serve(old.port()));
            }
            awaitMore();
            isOver = true;
            for (Thread client : clients) {
                client.join();
            }

            assertEquals(List.of(), List.copyOf(lost), completeCount + " were complete");
        } finally {
            isOver = true;
            servers.forEach(ServerProcess::close);
        }
    }

    private ServerProcess serve(int port) throws IOException {
        return ServerProcess.start(
                folder.resolve("log"),
                "--port",
                Integer.toString(port),
                "--backend",
                "fake",
                "--fake-step-time",
                "10ms",
                "--drain-delay",
                "200ms");
    }

    private void awaitMore() {
        int before = completeCount.get();
        TestServer.await("more answers", () -> completeCount.get() >= before + 2 * CLIENTS);
    }

    private void run(int port) {
        String body = "{\"prompt\":\"The\",\"max_tokens\":" + TOKENS + ",\"ignore_eos\":true,\"stream\":true}";
        while (!isOver) {
            try (var socket = new Socket(InetAddress.getLoopbackAddress(), port)) {
                socket.getOutputStream().write(TestServer.wire(body).getBytes(StandardCharsets.UTF_8));
                WireAnswer answer = WireAnswer.read(new BufferedInputStream(socket.getInputStream()))
                        .orElseThrow(() -> new IOException("no answer"));
                boolean isWhole = answer.status() == 200
                        && answer.body().contains("\"finish_reason\":\"length\"")
                        && answer.body().endsWith("data: [DONE]\n\n");
                if (isWhole) {
                    completeCount.incrementAndGet();
                } else {
                    lost.add(answer.toString());
                }
            } catch (IOException e) {
                lost.add(e.toString());
            }
        }
    }
}
