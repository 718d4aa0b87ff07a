package basalt.server;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.io.BufferedInputStream;
import java.io.IOException;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Two servers behind nginx, restarted one after the other under load. */
class RollingRestartIT {
    private static final Path NGINX = Path.of("/usr/sbin/nginx");
    private static final int CLIENTS = 12;
    private static final int TOKENS = 40;

    @TempDir
    private Path folder;

    private final AtomicInteger completeCount = new AtomicInteger();
    private final ConcurrentLinkedQueue<String> lost = new ConcurrentLinkedQueue<>();
    private volatile boolean isOver;

    @Test
    void losesNoRequest() throws IOException, InterruptedException {
        assumeTrue(
                Files.isExecutable(NGINX),
                "ROLLING RESTART NOT TESTED: no nginx; install it with apt-get install nginx");
        int proxyPort = freePort();
        var servers = new ArrayList<>(List.of(serve(0), serve(0)));
        Process nginx =
                startProxy(proxyPort, servers.get(0).port(), servers.get(1).port());
        try {
            TestServer.await("the proxy", () -> isListening(proxyPort));
            var clients = new ArrayList<Thread>();
            for (int i = 0; i < CLIENTS; i++) {
                clients.add(Thread.startVirtualThread(() -> run(proxyPort)));
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
            nginx.destroy();
            servers.forEach(ServerProcess::close);
        }
        assertTrue(nginx.waitFor() >= 0);
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

    private static int freePort() throws IOException {
        try (var socket = new ServerSocket(0, 1, InetAddress.getLoopbackAddress())) {
            return socket.getLocalPort();
        }
    }

    private static boolean isListening(int port) {
        try {
            new Socket(InetAddress.getLoopbackAddress(), port).close();
            return true;
        } catch (IOException e) {
            return false;
        }
    }

    /** As docs/OPERATIONS.md shows it: a refused request has not begun, so it may go to the other server. */
    private Process startProxy(int port, int first, int second) throws IOException {
        Path config = folder.resolve("nginx.conf");
        Files.writeString(config, """
                daemon off;
                pid %1$s/nginx.pid;
                error_log %1$s/error.log;
                events {}
                http {
                  access_log off;
                  client_body_temp_path %1$s/body; proxy_temp_path %1$s/proxy; fastcgi_temp_path %1$s/fastcgi;
                  uwsgi_temp_path %1$s/uwsgi; scgi_temp_path %1$s/scgi;
                  upstream basalt {
                    server 127.0.0.1:%3$d max_fails=0;
                    server 127.0.0.1:%4$d max_fails=0;
                  }
                  server {
                    listen 127.0.0.1:%2$d;
                    location / {
                      proxy_pass http://basalt;
                      proxy_http_version 1.1;
                      proxy_set_header Connection "";
                      proxy_next_upstream error timeout http_503 non_idempotent;
                    }
                  }
                }
                """.formatted(folder, port, first, second));
        return new ProcessBuilder(NGINX.toString(), "-e", folder + "/start.log", "-c", config.toString())
                .redirectErrorStream(true)
                .redirectOutput(folder.resolve("nginx.out").toFile())
                .start();
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
