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
import java.util.HexFormat;
import java.util.Map;
import java.util.concurrent.ConcurrentLinkedQueue;
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
    private String exported(String body, String flags) throws IOException {
        HttpServer collector = collector();
        String endpoint = "http://127.0.0.1:" + collector.getAddress().getPort() + "/v1/traces";
        try {
            try (var server = TestServer.start("--otlp-endpoint", endpoint)) {
                String parent = "00-" + TRACE_ID + "-" + PARENT_ID + "-" + flags;
                var headers = Map.of("Content-Type", "application/json", "traceparent", parent, "X-Request-Id", "r-1");
                assertEquals(
                        200,
                        server.send("POST", "/v1/completions", body, headers).status());
            }
            return String.join("", exports);
        } finally {
            collector.stop(0);
        }
    }

    @Test
    void requestIsASpanOfItsSendersTrace() throws IOException {
        String body = "{\"prompt\":\"" + TEXT + "\",\"max_tokens\":5,\"ignore_eos\":true,\"stream\":true}";

        String spans = exported(body, "01");

        assertTrue(spans.contains("text_completion test"), spans);
        assertTrue(spans.contains(bytes(TRACE_ID)), spans);
        assertTrue(spans.contains(bytes(PARENT_ID)), spans);
        for (String name : new String[] {
            "gen_ai.request.model",
            "gen_ai.request.max_tokens",
            "gen_ai.usage.input_tokens",
            "gen_ai.usage.output_tokens",
            "gen_ai.response.time_to_first_chunk",
            "r-1"
        }) {
            assertTrue(spans.contains(name), name);
        }
        assertFalse(spans.contains("error.type"), spans);
        assertFalse(spans.contains(TEXT), "the prompt is recorded");
    }

    @Test
    void senderThatDoesNotRecordIsNotRecorded() throws IOException {
        assertEquals("", exported("{\"prompt\":\"abc\",\"max_tokens\":2}", "00"));
    }

    @Test
    void endpointMustBeAUrl() {
        assertThrows(StartException.class, () -> TestServer.start("--otlp-endpoint", "localhost:4318"));
    }
}
