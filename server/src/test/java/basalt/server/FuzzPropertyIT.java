package basalt.server;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.JsonNode;
import java.io.BufferedInputStream;
import java.io.EOFException;
import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.net.Socket;
import java.net.SocketException;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Random;
import java.util.TreeMap;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.locks.LockSupport;
import java.util.stream.LongStream;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/**
 * Requests of every kind, from valid to hostile, of many clients at once: none makes the server fail, hang or lose a
 * slot, none is answered that was not sent, and every valid one is answered as it is when it comes alone.
 */
class FuzzPropertyIT {
    private static final int SEEDS = 8;
    private static final int CLIENTS = 32;
    /** Of each client with each seed, at least: 5,120 in all. */
    private static final int REQUESTS = 20;

    private static final double SERVED_SHARE_MIN = 0.4;
    /** A tenth of what the server waits for a request: one that it gave up while threads woke so late is sent again. */
    private static final long LATE_NANOS = 200_000_000;

    private static final long TICK_NANOS = 10_000_000;
    /** The machine may stand still again, but not always. */
    private static final int ATTEMPTS = 5;

    private static final int REQUEST_TIMEOUT = 408;
    private static final int PIPELINED_MAX = 4;
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
            "\"ignore_eos\":true",
            "\"return_token_ids\":true",
            "\"logit_bias\":{\"5\":-100}",
            "\"min_tokens\":2",
            "\"stream_options\":{\"include_usage\":true}");

    private static final Map<String, String> ALONE = new ConcurrentHashMap<>(); // answers by body
    private static TestServer server;
    private static volatile long lateNanos; // when a thread was last woken late
    private static volatile boolean isOver;

    private final AtomicInteger sentCount = new AtomicInteger();
    private final AtomicInteger servedCount = new AtomicInteger();
    private final ConcurrentLinkedQueue<Throwable> failures = new ConcurrentLinkedQueue<>();

    @BeforeAll
    static void start() {
        server = TestServer.start(
                "--head-timeout", "2s", "--body-timeout", "2s", "--idle-timeout", "2s", "--body-bytes-max", "64KiB");
        lateNanos = System.nanoTime();
        Thread.startVirtualThread(FuzzPropertyIT::tick);
    }

    /** Of the kind of the server's own threads. */
    private static void tick() {
        for (long last = System.nanoTime(); !isOver; ) {
            LockSupport.parkNanos(TICK_NANOS);
            long now = System.nanoTime();
            lateNanos = now - last > LATE_NANOS ? now : lateNanos;
            last = now;
        }
    }

    private static boolean wasLateSince(long nanos) {
        LockSupport.parkNanos(2 * TICK_NANOS); // it may be about to be noticed
        return lateNanos - nanos > 0;
    }

    @AfterAll
    static void stop() {
        isOver = true;
        server.close();
    }

    static LongStream seeds() {
        return Long.getLong("seed") == null ? LongStream.range(0, SEEDS) : LongStream.of(Long.getLong("seed"));
    }

    @ParameterizedTest(name = "seed {0}")
    @MethodSource("seeds")
    void noRequestMakesTheServerFailHangOrLoseASlot(long seed) throws InterruptedException {
        var clients = new ArrayList<Thread>();
        for (int i = 0; i < CLIENTS; i++) {
            int client = i;
            clients.add(Thread.startVirtualThread(() -> run(new Random(seed * CLIENTS + client))));
        }
        for (Thread client : clients) {
            client.join();
        }

        assertEquals(List.of(), List.copyOf(failures), "seed " + seed);
        server.awaitFree();
        double share = servedCount.get() / (double) sentCount.get();
        assertTrue(share >= SERVED_SHARE_MIN, servedCount + " of " + sentCount + " were served");
        assertTrue(answerAlone("{\"prompt\":\"abc\"}").startsWith("200 "));
    }

    private void run(Random random) {
        try {
            for (int sent = 0; sent < REQUESTS; ) {
                int count = exchange(random);
                sentCount.addAndGet(count);
                sent += count;
            }
        } catch (IOException | UncheckedIOException | AssertionError e) {
            failures.add(e);
        }
    }

    /** One connection; returns how many requests it carried. */
    private int exchange(Random random) throws IOException {
        return switch (random.nextInt(10)) {
            case 0, 1 -> survive(mutated(random), random);
            case 2 -> survive(HostileRequests.next(random), random);
            case 3 -> {
                leave(random);
                yield 1;
            }
            default -> pipeline(random);
        };
    }

    // ---- Valid requests, several on one connection

    private int pipeline(Random random) throws IOException {
        int count = 1 + random.nextInt(PIPELINED_MAX);
        var bodies = new ArrayList<String>();
        var wire = new StringBuilder();
        for (int i = 0; i < count; i++) {
            bodies.add(validBody(random));
            wire.append(validRequest(bodies.get(i), "r" + i, i == count - 1, random));
        }
        byte[] bytes = wire.toString().getBytes(StandardCharsets.UTF_8);
        int split = random.nextInt(bytes.length);
        for (int attempt = 1; ; attempt++) {
            long began = System.nanoTime();
            try {
                answers(bytes, split, bodies);
                return count;
            } catch (IOException e) {
                if (attempt == ATTEMPTS || !wasLateSince(began)) {
                    throw e;
                }
            }
        }
    }

    /** Sends requests and checks their answers; fails with an {@link IOException} if the server gives one up. */
    private void answers(byte[] bytes, int split, List<String> bodies) throws IOException {
        try (Socket socket = server.connect()) {
            socket.getOutputStream().write(bytes, 0, split);
            socket.getOutputStream().flush();
            socket.getOutputStream().write(bytes, split, bytes.length - split);
            var in = new BufferedInputStream(socket.getInputStream());
            for (int i = 0; i < bodies.size(); i++) {
                WireAnswer answer = WireAnswer.read(in).orElseThrow(() -> new EOFException("no answer to " + bodies));
                if (answer.status() == REQUEST_TIMEOUT) {
                    throw new IOException(answer + " to " + bodies);
                }
                assertEquals("r" + i, answer.requestId(), bodies::toString);
                check(bodies.get(i), answer);
            }
            assertTrue(WireAnswer.read(in).isEmpty(), "more answers than requests");
        }
    }

    private void check(String body, WireAnswer answer) {
        String alone = ALONE.computeIfAbsent(body, FuzzPropertyIT::answerAlone);
        assertEquals(alone, text(answer.status(), answer.body()), body);
        if (answer.status() == 200) {
            servedCount.incrementAndGet();
        }
    }

    /** Also holds the answer against the contract. */
    private static String answerAlone(String body) {
        for (int attempt = 1; ; attempt++) {
            long began = System.nanoTime();
            try {
                var answer = server.complete(body);
                if (answer.status() != REQUEST_TIMEOUT || attempt == ATTEMPTS || !wasLateSince(began)) {
                    return text(answer.status(), answer.body());
                }
            } catch (UncheckedIOException e) { // on a connection that the server closed as idle just then
                if (attempt == ATTEMPTS) {
                    throw e;
                }
            }
        }
    }

    /** What of an answer must not change: everything but id and time. */
    private static String text(int status, String body) {
        if (!body.startsWith("data: ") && !body.startsWith(":")) {
            return status + " " + unnamed(TestServer.parse(body));
        }
        assertTrue(body.endsWith("data: [DONE]\n\n"), body);
        var texts = new TreeMap<Integer, String>();
        for (JsonNode chunk : new TestServer.Answer(status, Map.of(), body).chunks()) {
            for (JsonNode choice : chunk.path("choices")) {
                String added = choice.path("text").asText()
                        + choice.path("finish_reason").asText("");
                texts.merge(choice.path("index").asInt(), added.replace("null", ""), String::concat);
            }
        }
        return status + " " + texts;
    }

    private static String unnamed(JsonNode answer) {
        return answer.path("choices") + " " + answer.path("usage") + " " + answer.path("error");
    }

    /** Greedy or with a seed, so that the answer is always the same. */
    private static String validBody(Random random) {
        var fields = new StringBuilder("\"seed\":12,").append(FIELDS.get(random.nextInt(3)));
        for (int i = random.nextInt(6); i > 0; i--) {
            String field = FIELDS.get(random.nextInt(3, FIELDS.size()));
            if (fields.indexOf(field.substring(0, field.indexOf(':'))) < 0) {
                fields.append(',').append(field);
            }
        }
        return "{" + fields + "}";
    }

    private static String validRequest(String body, String id, boolean isLast, Random random) {
        var head = new StringBuilder("POST /v1/completions HTTP/1.1\r\nHost: x\r\n");
        head.append(random.nextBoolean() ? "Content-Type: application/json\r\n" : "cOnTeNt-TyPe:application/json\r\n");
        head.append("X-Request-Id: ").append(id).append("\r\n");
        head.append(isLast ? "Connection: close\r\n" : "");
        head.append(random.nextInt(4) == 0 ? "X-Other: " + "o".repeat(random.nextInt(3_000)) + "\r\n" : "");
        if (random.nextInt(3) == 0) {
            return head + "Transfer-Encoding: chunked\r\n\r\n" + chunked(body, random) + "0\r\n\r\n";
        }
        return head + "Content-Length: " + body.length() + "\r\n\r\n" + body;
    }

    private static String chunked(String body, Random random) {
        var out = new StringBuilder();
        for (int at = 0; at < body.length(); ) {
            int count = Math.min(body.length() - at, 1 + random.nextInt(20));
            out.append(random.nextInt(6) == 0 ? "00" : "").append(Integer.toHexString(count));
            out.append("\r\n").append(body, at, at + count).append("\r\n");
            at += count;
        }
        return out.toString();
    }

    // ---- All others

    private static byte[] mutated(Random random) {
        String body = validBody(random);
        byte[] bytes = validRequest(body, "m", true, random).getBytes(StandardCharsets.UTF_8);
        if (random.nextInt(3) == 0) {
            return Arrays.copyOf(bytes, 1 + random.nextInt(bytes.length - 1));
        }
        for (int i = random.nextInt(4); i >= 0; i--) {
            bytes[random.nextInt(bytes.length)] = (byte) random.nextInt(256);
        }
        return bytes;
    }

    /** Sends what may be anything, and requires that the server is still itself: no failure, nothing smuggled. */
    private int survive(byte[] request, Random random) throws IOException {
        try (Socket socket = server.connect()) {
            int split = random.nextInt(request.length);
            socket.getOutputStream().write(request, 0, split);
            socket.getOutputStream().flush();
            socket.getOutputStream().write(request, split, request.length - split);
            readAll(socket.getInputStream(), new String(request, StandardCharsets.ISO_8859_1));
        } catch (SocketException e) {
            // Closed while we were sending, as it may be.
        }
        return 1;
    }

    private void readAll(InputStream stream, String request) throws IOException {
        var in = new BufferedInputStream(stream);
        try {
            boolean isFirst = true;
            for (Optional<WireAnswer> next = WireAnswer.read(in, request.startsWith("HEAD "));
                    next.isPresent();
                    next = WireAnswer.read(in)) {
                WireAnswer answer = next.get();
                assertTrue(answer.status() < 500, () -> answer + " to " + request);
                assertTrue(!answer.requestId().equals(HostileRequests.SMUGGLED), () -> "smuggled by " + request);
                servedCount.addAndGet(isFirst && answer.status() == 200 ? 1 : 0);
                isFirst = false;
            }
        } catch (EOFException e) {
            // A stream that a mutation of its own length cut.
        }
    }

    /** Goes away in the middle of a valid request or of its answer. */
    private static void leave(Random random) throws IOException {
        byte[] bytes = validRequest(validBody(random), "l", false, random).getBytes(StandardCharsets.UTF_8);
        try (Socket socket = server.connect()) {
            socket.getOutputStream().write(bytes, 0, random.nextInt(bytes.length) + 1);
            if (random.nextBoolean()) {
                socket.setSoLinger(true, 0); // a reset instead of an orderly end
            }
            if (random.nextBoolean()) {
                socket.getInputStream().read();
            }
        } catch (SocketException e) {
            // Closed as idle by a server that was late, as it may be.
        }
    }
}
