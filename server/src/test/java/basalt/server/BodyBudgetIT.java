package basalt.server;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.net.Socket;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import org.junit.jupiter.api.Test;

/** Many clients that each send a large body and stop before its end. */
class BodyBudgetIT {
    private static final int HALF_BYTES = 200_000;

    private static Socket half(TestServer server) throws IOException {
        Socket socket = server.connect();
        String head = "POST /v1/completions HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
                + "Content-Length: 400000\r\n\r\n{\"prompt\":\"";
        socket.getOutputStream().write((head + "a".repeat(HALF_BYTES)).getBytes(StandardCharsets.US_ASCII));
        return socket;
    }

    @Test
    void bodiesThatAreBeingReadHaveOneBudget() throws IOException {
        String large = "{\"prompt\":\"" + "a".repeat(HALF_BYTES) + "\",\"max_tokens\":1}";
        try (var server = TestServer.start("--bodies-bytes-max", "1MiB")) {
            var halves = new ArrayList<Socket>();
            for (int i = 0; i < 20; i++) {
                halves.add(half(server));
            }
            TestServer.await(
                    "a large body is refused", () -> server.complete(large).status() == 503);

            var refused = server.complete(large);

            assertEquals("bodies_too_large", refused.error().path("code").asText());
            assertEquals("1", refused.header("retry-after"));
            assertEquals(
                    200, server.complete("{\"prompt\":\"a\",\"max_tokens\":1}").status());
            assertEquals(200, server.get("/health/live").status());
            for (Socket socket : halves) {
                socket.close();
            }
            TestServer.await(
                    "the budget is free again", () -> server.complete(large).status() == 200);
        }
    }

    @Test
    void oneBodyAloneMayBeLargerThanTheBudget() {
        try (var server = TestServer.start("--bodies-bytes-max", "64KiB")) {
            String large = "{\"prompt\":\"" + "a".repeat(HALF_BYTES) + "\",\"max_tokens\":1}";

            assertEquals(200, server.complete(large).status());
            assertTrue(server.awaitFree() >= 0);
        }
    }
}
