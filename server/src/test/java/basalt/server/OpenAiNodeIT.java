package basalt.server;

import static org.junit.jupiter.api.Assertions.assertEquals;

import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** OpenAI's client for Node, unchanged: the tests of {@code src/test/node}, where Node and npm are there. */
class OpenAiNodeIT {
    @TempDir
    private Path folder;

    @Test
    void suitePasses() throws IOException, InterruptedException {
        NodePackage node = NodePackage.install(folder);

        try (var server = new ClientServer();
                var control = new Control(server)) {
            var tests = node.run(
                    Map.of(
                            "BASALT_URL",
                            server.url(),
                            "BASALT_KEY",
                            ClientServer.KEY,
                            "BASALT_MODEL",
                            ClientServer.MODEL,
                            "BASALT_CONTROL",
                            control.url()),
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
