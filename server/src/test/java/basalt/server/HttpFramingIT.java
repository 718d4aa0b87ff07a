package basalt.server;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.BufferedInputStream;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
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
        server = TestServer.start("--body-bytes-max", "1MiB");
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
    void refusalReachesAClientThatIsStillSending() {
        String body = "a".repeat(3 << 20);

        String answer = server.raw(head(POST, JSON, "Content-Length: " + body.length()) + body);

        assertTrue(answer.startsWith("HTTP/1.1 413 "), answer);
        assertTrue(answer.contains("Connection: close"), answer);
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
        for (String size :
                new String[] {"xyz", "-1", "+2", "ffffffffffffffffff", "", "5 ;a", ";a", "5;a\u0000", "5;\u00e9"}) {
            String answer = server.raw(head(POST, JSON, CHUNKED) + size + "\r\n{}\r\n0\r\n\r\n" + NEXT);

            assertTrue(answer.startsWith("HTTP/1.1 400 "), size + ": " + answer);
            assertEquals(1, occurrences(answer, "HTTP/1.1 "), size + ": " + answer);
        }
    }

    @Test
    void chunkExtensionsAreIgnored() {
        String answer =
                server.raw(head(POST, JSON, CHUNKED) + "8;name=value\r\n{\"prompt\r\n8;a=\"b c\";d\r\n\":\"abc\"}\r\n"
                        + "0;last\r\n\r\n" + head("GET /health HTTP/1.1", "Connection: close"));

        assertTrue(answer.startsWith("HTTP/1.1 200 "), answer);
        assertEquals(2, occurrences(answer, "HTTP/1.1 200 "), answer);
    }

    @Test
    void trailersAreDropped() {
        String body = "10\r\n{\"prompt\":\"abc\"}\r\n0\r\n";

        String answer =
                server.raw(head(POST, JSON, CHUNKED) + body + "Content-Length: 5\r\nX-Digest:\tab c \u00e9\r\nX:\r\n"
                        + "\r\n" + head("GET /health HTTP/1.1", "Connection: close"));

        assertTrue(answer.startsWith("HTTP/1.1 200 "), answer);
        assertEquals(2, occurrences(answer, "HTTP/1.1 200 "), answer);
    }

    @Test
    void trailersThatAreNoneOrTooLargeAreRefused() {
        for (String trailer : new String[] {
            "no colon\r\n", "A: b\r\n folded\r\n", "A : b\r\n", ": b\r\n", "A: \u0000\r\n", "A: b\r\n".repeat(6_000)
        }) {
            String answer = server.raw(head(POST, JSON, CHUNKED) + "2\r\n{}\r\n0\r\n" + trailer + "\r\n" + NEXT);

            assertTrue(answer.startsWith("HTTP/1.1 400 "), trailer + ": " + answer);
            assertEquals(1, occurrences(answer, "HTTP/1.1 "), trailer + ": " + answer);
        }
    }

    @Test
    void chunksThatAreLongerThanTheirSizesAreRefused() {
        String hidden = "0\r\n\r\nGET /health HTTP/1.1\r\nHost: x\r\n\r\n0\r\n\r\n";

        for (String end : new String[] {"XX", "\nX", "\n30\r\n" + hidden, "\r30\r\n" + hidden}) {
            String answer =
                    server.raw(head(POST, JSON, CHUNKED) + "10\r\n{\"prompt\":\"abc\"}" + end + "\r\n0\r\n\r\n" + NEXT);

            assertTrue(answer.startsWith("HTTP/1.1 400 "), end + ": " + answer);
            assertEquals(1, occurrences(answer, "HTTP/1.1 "), end + ": " + answer);
        }
    }

    /** What comes back, nothing if the server closes before it has read all. */
    private static String untilClosed(String request) {
        try {
            return server.raw(request);
        } catch (UncheckedIOException e) {
            return "";
        }
    }

    @Test
    void linesOfTheFramingHaveAnEnd() {
        String line = "a".repeat(1 << 20);

        for (String framing : new String[] {"2;" + line, "0\r\nX: " + line, line}) {
            String body = server.raw(head(POST, JSON, CHUNKED) + framing + "\r\n\r\n" + NEXT);
            String unread = untilClosed(head("GET /health HTTP/1.1", CHUNKED) + framing + "\r\n\r\n" + NEXT);

            assertTrue(body.startsWith("HTTP/1.1 400 "), body);
            assertEquals(1, occurrences(body, "HTTP/1.1 "), body);
            assertTrue(occurrences(unread, "HTTP/1.1 ") <= 1, unread);
        }
    }

    @Test
    void headIsAnsweredAsGetWithoutEntity() throws IOException {
        for (String path :
                new String[] {"/health", "/v1/models", "/v1/models/test", "/openapi.yaml", "/", "/v1/sessions"}) {
            String both = head("HEAD " + path + " HTTP/1.1") + head("GET " + path + " HTTP/1.1", "Connection: close");
            List<WireAnswer> answers = answers(both, true, false);

            assertEquals(200, answers.getFirst().status(), path);
            assertEquals(200, answers.getLast().status(), path);
            for (String header : new String[] {"content-length", "content-type"}) {
                assertEquals(
                        answers.getLast().headers().get(header),
                        answers.getFirst().headers().get(header),
                        path);
            }
        }
    }

    @Test
    void refusalsOfHeadHaveNoEntity() throws IOException {
        List<WireAnswer> answers = answers(
                head("HEAD /v1/completions HTTP/1.1")
                        + head("HEAD /nothing HTTP/1.1", "Content-Length: 3")
                        + "abc"
                        + head("HEAD /v1/models/none HTTP/1.1")
                        + head("HEAD /v1/streams/none HTTP/1.1")
                        + head("GET /health HTTP/1.1")
                        + "HEAD /health HTTP/1.1\r\n\r\n",
                true,
                true,
                true,
                true,
                false,
                true);

        assertEquals(
                List.of(405, 404, 404, 405, 200, 400),
                answers.stream().map(WireAnswer::status).toList());
        assertEquals("POST", answers.getFirst().headers().get("allow"));
        assertEquals("DELETE, GET", answers.get(3).headers().get("allow"));
    }

    /** Exactly so many answers, of which some are to HEAD. */
    private static List<WireAnswer> answers(String requests, boolean... isToHead) throws IOException {
        var answers = new ArrayList<WireAnswer>();
        try (var socket = server.connect()) {
            socket.getOutputStream().write(requests.getBytes(StandardCharsets.ISO_8859_1));
            var in = new BufferedInputStream(socket.getInputStream());
            for (boolean isHead : isToHead) {
                answers.add(WireAnswer.read(in, isHead).orElseThrow());
            }
            assertEquals(-1, in.read(), "bytes behind the last answer");
        }
        return answers;
    }

    @Test
    void compressedBodyIsAskedForUncompressed() {
        String answer = server.raw(head(POST, JSON, "Content-Encoding: gzip", "Content-Length: 2") + "{}");

        assertTrue(answer.startsWith("HTTP/1.1 415 "), answer);
        assertTrue(answer.contains("\"code\":\"unsupported_media_type\""), answer);
        assertTrue(answer.contains("send it uncompressed"), answer);
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

        assertTrue(answer.startsWith("HTTP/1.1 400 "), answer);
        assertTrue(answer.contains("Only the transfer coding chunked is supported."), answer);
    }

    @Test
    void firstLineThatIsNoneIsExplained() {
        for (String line : new String[] {"GET / HTTP/9.9", "GET /v1/models/%zz HTTP/1.1"}) {
            String answer = server.raw(head(line, "Connection: close"));

            assertTrue(answer.startsWith("HTTP/1.1 400 "), answer);
            assertTrue(answer.contains("it must begin with METHOD /path HTTP/1.1"), answer);
        }
    }

    @Test
    void garbageIsRefusedInOurForm() {
        for (String request : new String[] {
            "nonsense\r\n\r\n", "GET / HTTP/3.0\r\n\r\n", "GET / HTTP/1.1\r\nHost x\r\n\r\n", "GET / HTTP/1.1\r\n\r\n"
        }) {
            String answer = server.raw(request);

            assertTrue(answer.startsWith("HTTP/1.1 4"), request + answer);
            assertTrue(answer.contains("{\"error\":{\"message\":"), answer);
        }
    }

    @Test
    void tooLongUrlAndHeadersAreRefused() {
        String url = server.raw(head("GET /" + "a".repeat(5_000) + " HTTP/1.1"));
        String headers = server.raw(head("GET / HTTP/1.1", "X-A: " + "a".repeat(20_000)));

        assertTrue(url.startsWith("HTTP/1.1 414 "), url);
        assertTrue(url.contains("\"code\":\"url_too_long\""), url);
        for (String answer : new String[] {
            headers,
            server.raw(head("GET / HTTP/1.1", "X-A: a\r\n".repeat(4_000).strip()))
        }) {
            assertTrue(answer.startsWith("HTTP/1.1 400 "), answer);
            assertTrue(answer.contains("larger than 16384 bytes together: send fewer or shorter ones"), answer);
        }
    }

    @Test
    void halfOfARequestTimesOut() {
        try (var impatient = TestServer.start("--head-timeout", "1s", "--body-timeout", "1s")) {
            for (String half : new String[] {
                "GET /hea",
                "GET /health HTTP/1.1\r\nHost: x\r\n",
                head(POST, "Content-Length: 50") + "{\"pro",
                head(POST, CHUNKED) + "5\r\n{\"p"
            }) {
                String answer = impatient.raw(half);

                assertTrue(answer.startsWith("HTTP/1.1 408 "), half + ": " + answer);
                assertTrue(answer.contains("\"code\":\"request_timeout\""), answer);
            }
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
