package basalt.server;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.net.InetAddress;
import java.net.Socket;
import java.nio.charset.StandardCharsets;
import java.util.List;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;

/** Paths that a proxy may read differently, on both ports, and those that have to go on being served. */
class PathsIT {
    private static TestServer server;

    @BeforeAll
    static void start() {
        server = TestServer.start("--ops-port", "0", "--model-name", "org/test", "--api-keys", "k");
    }

    @AfterAll
    static void stop() {
        server.awaitFree();
        server.close();
    }

    private static int opsPort() {
        return server.application().opsPort().orElseThrow();
    }

    private static String ask(int port, String target) throws IOException {
        try (var socket = new Socket(InetAddress.getLoopbackAddress(), port)) {
            String request =
                    "GET " + target + " HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer k\r\nConnection: close\r\n\r\n";
            socket.getOutputStream().write(request.getBytes(StandardCharsets.ISO_8859_1));
            return new String(socket.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
        }
    }

    private static int status(String answer) {
        return Integer.parseInt(answer.substring("HTTP/1.1 ".length(), "HTTP/1.1 200".length()));
    }

    @Test
    void pathIsServedAsItIsWrittenOrNotAtAll() throws IOException {
        for (String target : List.of(
                "/v1/..;/metrics",
                "/v1/../metrics",
                "/v1/%2e%2e/metrics",
                "/v1/sessions/../models",
                "/v1/models/%2e%2e%2f%2e%2e%2fmetrics",
                "//v1/models",
                "//metrics",
                "/%2Fmetrics",
                "%2Fmetrics",
                "http:/metrics",
                "http://x/v1/..;/metrics",
                "/metrics;v1",
                "/metrics#/v1/models")) {
            for (int port : List.of(server.port(), opsPort())) {
                String answer = ask(port, target);

                assertEquals(400, status(answer), target + ": " + answer);
                assertTrue(answer.contains("\"code\":\"bad_http\""), target + ": " + answer);
                assertFalse(answer.contains("jvm_"), target + ": " + answer);
            }
        }
        String explained = ask(server.port(), "/v1/..;/metrics");
        assertTrue(explained.contains("The path has a parameter (;), which a proxy may read differently"), explained);
    }

    @Test
    void pathsOfTheContractAreServed() throws IOException {
        for (String target : List.of("/health", "/health/live", "/health/ready", "/metrics")) {
            assertEquals(200, status(ask(server.port(), target)), target);
            assertEquals(200, status(ask(opsPort(), target)), target);
        }
        for (String target : List.of(
                "/",
                "/openapi.yaml",
                "/playground.css",
                "/v1/models",
                "/v1/models/org/test",
                "/v1/models/org%2Ftest",
                "/v1/models/%6Frg%2ftest",
                "/v1/sessions?limit=1",
                "/v1/models?a=../;//b",
                "http://x/v1/models",
                "http://x/v1/models/org%2Ftest")) {
            assertEquals(200, status(ask(server.port(), target)), target);
        }
    }

    @Test
    void refusalNeedsNoKeyAndIsCounted() throws IOException {
        String answer = server.raw("POST /v1//completions HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}"
                + "GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");

        assertEquals(400, status(answer), answer);
        assertTrue(answer.contains("HTTP/1.1 200 "), "the next request of the connection: " + answer);
        assertTrue(
                ask(server.port(), "/metrics").contains("basalt_http_responses_total{route=\"other\",status=\"400\"}"));
    }
}
