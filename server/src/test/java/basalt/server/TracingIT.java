package basalt.server;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.function.Consumer;
import org.junit.jupiter.api.Test;

/** Spans as a collector gets them: protobuf, in which names and ids stand as they are. */
class TracingIT {
    private static final String TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736";
    private static final String PARENT_ID = "00f067aa0ba902b7";
    private static final String TEXT = "never-recorded";

    private final ConcurrentLinkedQueue<String> exports = new ConcurrentLinkedQueue<>();

    private HttpServer collector() throws IOException {
        var collector = HttpServer.create(new InetSocketAddress(InetAddress.getLoopbackAddress(), 0), 0);
        collector.createContext("/v1/traces", this::take);
        collector.start();
        return collector;
    }

    private void take(HttpExchange exchange) throws IOException {
        exports.add(new String(exchange.getRequestBody().readAllBytes(), StandardCharsets.ISO_8859_1));
        exchange.sendResponseHeaders(200, -1);
        exchange.close();
    }

    private static String bytes(String hex) {
        return new String(HexFormat.of().parseHex(hex), StandardCharsets.ISO_8859_1);
    }

    /** Closing the server sends what is left. */
    private String exported(Consumer<TestServer> requests, String... options) throws IOException {
        exports.clear();
        HttpServer collector = collector();
        String endpoint = "http://127.0.0.1:" + collector.getAddress().getPort() + "/v1/traces";
        var all = new ArrayList<>(List.of("--otlp-endpoint", endpoint));
        all.addAll(List.of(options));
        try {
            try (var server = TestServer.start(all.toArray(String[]::new))) {
                requests.accept(server);
            }
            return String.join("", exports);
        } finally {
            collector.stop(0);
        }
    }

    private String exported(String body, String flags, int status, String... options) throws IOException {
        String parent = "00-" + TRACE_ID + "-" + PARENT_ID + "-" + flags;
        var headers = Map.of("Content-Type", "application/json", "traceparent", parent, "X-Request-Id", "r-1");
        return exported(
                server -> assertEquals(
                        status,
                        server.send("POST", "/v1/completions", body, headers).status()),
                options);
    }

    @Test
    void requestIsASpanOfItsSendersTrace() throws IOException {
        String body = "{\"prompt\":\"" + TEXT + "\",\"max_tokens\":5,\"ignore_eos\":true,\"stream\":true}";

        String spans = exported(body, "01", 200);

        assertTrue(spans.contains("text_completion test"), spans);
        assertTrue(spans.contains(bytes(TRACE_ID)), spans);
        assertTrue(spans.contains(bytes(PARENT_ID)), spans);
        for (String name : new String[] {
            "gen_ai.request.model",
            "gen_ai.request.max_tokens",
            "gen_ai.usage.input_tokens",
            "gen_ai.usage.output_tokens",
            "gen_ai.response.time_to_first_chunk",
            "gen_ai.response.finish_reasons",
            "http.response.status_code",
            "r-1"
        }) {
            assertTrue(spans.contains(name), name);
        }
        assertFalse(spans.contains("error.type"), spans);
        assertFalse(spans.contains(TEXT), "the prompt is recorded");
    }

    @Test
    void refusedRequestsAreSpansThatSayWhy() throws IOException {
        String badField = exported("{\"prompt\":\"" + TEXT + "\",\"max_tokens\":-1}", "01", 400);
        assertTrue(badField.contains("POST /v1/completions"), badField);
        assertTrue(badField.contains("error.type"), badField);
        assertTrue(badField.contains("invalid_value"), badField);
        assertTrue(badField.contains(bytes(TRACE_ID)), badField);
        assertFalse(badField.contains(TEXT), "the prompt is recorded");

        String noKey = exported("{\"prompt\":\"abc\"}", "01", 401, "--api-keys", "secret");
        assertTrue(noKey.contains("invalid_api_key"), noKey);
        assertFalse(noKey.contains("secret"), "the key is recorded");

        String chunk = "400\r\n" + "a".repeat(1_024) + "\r\n";
        String request = "POST /v1/completions HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
                + "Transfer-Encoding: chunked\r\n\r\n" + chunk.repeat(100) + "0\r\n\r\n";
        String tooLarge = exported(server -> server.raw(request), "--body-bytes-max", "64KiB");
        assertTrue(tooLarge.contains("413"), tooLarge);
    }

    @Test
    void senderThatDoesNotRecordIsNotRecorded() throws IOException {
        assertEquals("", exported("{\"prompt\":\"abc\",\"max_tokens\":2}", "00", 200));
    }

    @Test
    void endpointMustBeAUrl() {
        assertThrows(StartException.class, () -> TestServer.start("--otlp-endpoint", "localhost:4318"));
    }
}
