package basalt.server;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.net.Socket;
import java.net.SocketException;
import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.Random;
import java.util.stream.LongStream;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** Requests of every kind, from valid to hostile: none makes the server fail, hang or lose a slot. */
class FuzzPropertyIT {
    private static final int SEEDS = 8;
    private static final int REQUESTS = 60;
    private static final List<String> FIELDS = List.of(
            "\"prompt\":\"abc\"",
            "\"prompt\":[1,2,3]",
            "\"prompt\":[\"a\",\"b\"]",
            "\"max_tokens\":7",
            "\"max_tokens\":0",
            "\"stream\":true",
            "\"n\":2",
            "\"echo\":true",
            "\"logprobs\":2",
            "\"stop\":[\" w1\",\"x\"]",
            "\"temperature\":0.5",
            "\"seed\":12",
            "\"ignore_eos\":true",
            "\"return_token_ids\":true",
            "\"logit_bias\":{\"5\":-100}",
            "\"min_tokens\":2");
    private static TestServer server;

    @BeforeAll
    static void start() {
        server = TestServer.start(
                "--head-timeout",
                "300ms",
                "--body-timeout",
                "300ms",
                "--idle-timeout",
                "300ms",
                "--body-bytes-max",
                "64KiB");
    }

    @AfterAll
    static void stop() {
        server.close();
    }

    static LongStream seeds() {
        return Long.getLong("seed") == null ? LongStream.range(0, SEEDS) : LongStream.of(Long.getLong("seed"));
    }

    @ParameterizedTest(name = "seed {0}")
    @MethodSource("seeds")
    void noRequestMakesTheServerFailHangOrLoseASlot(long seed) throws IOException {
        var random = new Random(seed);
        int served = 0;
        for (int i = 0; i < REQUESTS; i++) {
            String answer = exchange(random);
            assertFalse(
                    answer.contains("HTTP/1.1 5") && !answer.contains("HTTP/1.1 501 "), "seed " + seed + ": " + answer);
            served += answer.startsWith("HTTP/1.1 200 ") ? 1 : 0;
        }

        server.awaitFree();
        assertTrue(served > REQUESTS / 4, "only " + served + " were served");
        assertEquals(200, server.complete("{\"prompt\":\"abc\"}").status());
    }

    private static String exchange(Random random) throws IOException {
        byte[] request = request(random);
        try (Socket socket = server.connect()) {
            int split = random.nextInt(4) == 0 ? random.nextInt(request.length) : request.length;
            socket.getOutputStream().write(request, 0, split);
            socket.getOutputStream().flush();
            if (random.nextInt(10) == 0) {
                return ""; // gone without reading
            }
            socket.getOutputStream().write(request, split, request.length - split);
            return read(socket.getInputStream());
        } catch (SocketException e) {
            return ""; // closed while we were sending, as it may be
        }
    }

    private static String read(InputStream in) throws IOException {
        var out = new ByteArrayOutputStream();
        in.transferTo(out);
        return out.toString(StandardCharsets.UTF_8);
    }

    private static byte[] request(Random random) {
        String body = body(random);
        String head = "POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n";
        if (random.nextInt(5) > 0) {
            head += "Connection: close\r\n";
        }
        if (random.nextInt(4) == 0) {
            head += "Transfer-Encoding: chunked\r\n\r\n";
            body = chunked(body, random);
        } else {
            int length = body.getBytes(StandardCharsets.UTF_8).length;
            head += "Content-Length: " + (random.nextInt(20) == 0 ? length + random.nextInt(-3, 3) : length)
                    + "\r\n\r\n";
        }
        byte[] bytes = (head + body).getBytes(StandardCharsets.UTF_8);
        if (random.nextInt(4) == 0) {
            for (int i = 0; i <= random.nextInt(3); i++) {
                bytes[random.nextInt(bytes.length)] = (byte) random.nextInt(256);
            }
        }
        return bytes;
    }

    private static String body(Random random) {
        var fields = new StringBuilder(FIELDS.get(random.nextInt(3)));
        for (int i = random.nextInt(6); i > 0; i--) {
            String field = FIELDS.get(random.nextInt(3, FIELDS.size()));
            if (random.nextInt(10) == 0 || fields.indexOf(field.substring(0, field.indexOf(':'))) < 0) {
                fields.append(',').append(field);
            }
        }
        String body = "{" + fields + "}";
        return random.nextInt(12) == 0 ? body.substring(0, random.nextInt(body.length())) : body;
    }

    private static String chunked(String body, Random random) {
        var out = new StringBuilder();
        for (int at = 0; at < body.length(); ) {
            int count = Math.min(body.length() - at, 1 + random.nextInt(20));
            out.append(Integer.toHexString(count))
                    .append("\r\n")
                    .append(body, at, at + count)
                    .append("\r\n");
            at += count;
        }
        return out.append(random.nextInt(15) == 0 ? "" : "0\r\n\r\n").toString();
    }
}
