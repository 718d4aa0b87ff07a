package basalt.server;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.Map;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;

/** Bytes that ordinary clients do not send. */
class HttpFramingIT {
    private static final String POST = "POST /v1/completions HTTP/1.1";
    private static final String JSON = "Content-Type: application/json";
    private static final String CHUNKED = "Transfer-Encoding: chunked";
    private static final String NEXT = head("GET /health HTTP/1.1");
    private static TestServer server;

    @BeforeAll
    static void start() {
        server = TestServer.start("--body-bytes-max", "1MiB", "--head-timeout", "1s", "--body-timeout", "1s");
    }

    @AfterAll
    static void stop() {
        server.awaitFree();
        server.close();
    }

    /** A request line and headers. */
    private static String head(String requestLine, String... headers) {
        return requestLine + "\r\nHost: x\r\n" + String.join("\r\n", headers)
                + (headers.length > 0 ? "\r\n\r\n" : "\r\n");
    }

    @Test
    void bytesThatAreNoUtf8AreRefused() {
        String answer =
                server.raw(head(POST, JSON, "Connection: close", "Content-Length: 14") + "{\"prompt\":\"\u00ff\"}");

        assertTrue(answer.startsWith("HTTP/1.1 400 "), answer);
        assertTrue(answer.contains("\"code\":\"invalid_json\""), answer);
    }

    @Test
    void chunkedBodyIsReadWhole() {
        String answer = server.raw(head(POST, JSON, CHUNKED, "Connection: close")
                + "5\r\n{\"pro\r\na\r\nmpt\":\"abc\"\r\n1\r\n}\r\n0\r\n\r\n");

        assertTrue(answer.startsWith("HTTP/1.1 200 "), answer);
    }

    @Test
    void chunkedBodyOverTheLimitClosesTheConnection() {
        String chunk = "10000\r\n" + "a".repeat(0x10000) + "\r\n";

        String answer = server.raw(head(POST, JSON, CHUNKED) + chunk.repeat(20) + "0\r\n\r\n" + NEXT);

        assertTrue(answer.startsWith("HTTP/1.1 413 "), answer);
        assertEquals(1, occurrences(answer, "HTTP/1.1 "), answer);
    }

    @Test
    void chunkSizesThatAreNoneAreRefused() {
        for (String size : new String[] {"xyz", "-1", "+2", "ffffffffffffffffff", "", "5;name=value"}) {
            String answer = server.raw(head(POST, JSON, CHUNKED) + size + "\r\n{}\r\n0\r\n\r\n" + NEXT);

            assertTrue(answer.startsWith("HTTP/1.1 400 "), size + ": " + answer);
            assertEquals(1, occurrences(answer, "HTTP/1.1 "), size + ": " + answer);
        }
    }

    @Test
    void connectionCloseIsHonoured() {
        String answer = server.raw(head("GET /health HTTP/1.1", "Connection: close") + NEXT);

        assertTrue(answer.startsWith("HTTP/1.1 200 "), answer);
        assertEquals(1, occurrences(answer, "HTTP/1.1 "), answer);
    }

    @Test
    void pipelinedRequestsAreAnsweredInOrder() {
        String body = "{\"prompt\":\"abc\",\"max_tokens\":20,\"stream\":true}";

        String answer = server.raw(NEXT
                + TestServer.wire(body)
                + TestServer.wire("{}")
                + head("GET /v1/models HTTP/1.1", "Connection: close"));

        assertEquals(4, occurrences(answer, "HTTP/1.1 "), answer);
        int health = answer.indexOf("\"status\":\"ok\"");
        int done = answer.indexOf("[DONE]");
        int refused = answer.indexOf("missing_parameter");
        int models = answer.indexOf("\"object\":\"list\"");
        assertTrue(health >= 0 && health < done && done < refused && refused < models, answer);
    }

    @Test
    void lengthAndChunkedTogetherAreRefused() {
        String answer = server.raw(head(POST, JSON, "Content-Length: 5", CHUNKED) + "0\r\n\r\n" + NEXT);

        assertTrue(answer.startsWith("HTTP/1.1 400 "), answer);
        assertEquals(1, occurrences(answer, "HTTP/1.1 "), answer);
        assertTrue(answer.contains("\"code\":\"bad_http\""), answer);
    }

    @Test
    void unknownTransferCodingIsRefused() {
        String answer = server.raw(head(POST, JSON, "Transfer-Encoding: gzip, chunked") + "0\r\n\r\n");

        assertTrue(answer.startsWith("HTTP/1.1 501 "), answer);
        assertTrue(answer.contains("\"code\":\"not_implemented\""), answer);
    }

    @Test
    void garbageIsRefusedInOurForm() {
        for (String request : new String[] {
            "nonsense\r\n\r\n", "GET / HTTP/3.0\r\n\r\n", "GET / HTTP/1.1\r\nHost x\r\n\r\n", "GET / HTTP/1.1\r\n\r\n"
        }) {
            String answer = server.raw(request);

            assertTrue(answer.startsWith("HTTP/1.1 4") || answer.startsWith("HTTP/1.1 505 "), request + answer);
            assertTrue(answer.contains("{\"error\":{\"message\":"), answer);
        }
    }

    @Test
    void tooLongUrlAndHeadersAreRefused() {
        String url = server.raw(head("GET /" + "a".repeat(5_000) + " HTTP/1.1"));
        String headers = server.raw(head("GET / HTTP/1.1", "X-A: " + "a".repeat(20_000)));

        assertTrue(url.startsWith("HTTP/1.1 414 "), url);
        assertTrue(url.contains("\"code\":\"url_too_long\""), url);
        assertTrue(headers.startsWith("HTTP/1.1 400 "), headers);
    }

    @Test
    void halfOfARequestTimesOut() {
        for (String half : new String[] {
            "GET /hea",
            "GET /health HTTP/1.1\r\nHost: x\r\n",
            head(POST, "Content-Length: 50") + "{\"pro",
            head(POST, CHUNKED) + "5\r\n{\"p"
        }) {
            String answer = server.raw(half);

            assertTrue(answer.startsWith("HTTP/1.1 408 "), half + ": " + answer);
            assertTrue(answer.contains("\"code\":\"request_timeout\""), answer);
        }
    }

    @Test
    void requestIdIsEchoedOrMade() {
        var own = server.send("GET", "/health", "", Map.of("X-Request-Id", "abc-1"));
        var hostile = server.send("GET", "/health", "", Map.of("X-Request-Id", "a b<script>"));

        assertEquals("abc-1", own.header("x-request-id"));
        assertTrue(hostile.header("x-request-id").matches("[0-9a-f]{32}"));
    }

    private static int occurrences(String text, String part) {
        return (text.length() - text.replace(part, "").length()) / part.length();
    }
}
