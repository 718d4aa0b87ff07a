package basalt.server;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import basalt.engine.backend.fake.FakeBackend;
import basalt.engine.text.Tokenizer;
import basalt.server.fixture.WordTokenizer;
import java.io.IOException;
import java.lang.reflect.Proxy;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.function.BooleanSupplier;
import java.util.function.Function;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class PooledTokenizerIT {
    private static final long BUSY_NANOS = TimeUnit.SECONDS.toNanos(1);
    /** Longer than a client waits for an answer. */
    private static final long BUSY_NANOS_MAX = TimeUnit.SECONDS.toNanos(120);

    private static final int THREADS = 2 * Runtime.getRuntime().availableProcessors();

    private static final String VERY_LONG_TEXT = "a".repeat(PooledTokenizer.VERY_LONG + 1);

    private final AtomicInteger running = new AtomicInteger();
    private final AtomicInteger begun = new AtomicInteger();
    private final AtomicInteger runningMax = new AtomicInteger();
    private volatile boolean isReleased;

    /** Works for a second on a long text, without ever waiting. */
    private int[] encodeBusily(String text) {
        return encodeUntil(() -> false, BUSY_NANOS);
    }

    /** The same until it is released. */
    private int[] encodeUntilReleased(String text) {
        return encodeUntil(() -> isReleased, BUSY_NANOS_MAX);
    }

    /** The same until it is interrupted. */
    private int[] encodeUntilInterrupted(String text) {
        return encodeUntil(() -> Thread.currentThread().isInterrupted(), BUSY_NANOS_MAX);
    }

    private int[] encodeUntil(BooleanSupplier isEnough, long nanos) {
        begun.incrementAndGet();
        runningMax.accumulateAndGet(running.incrementAndGet(), Math::max);
        long end = System.nanoTime() + nanos;
        while (!isEnough.getAsBoolean() && System.nanoTime() - end < 0) {
            Thread.onSpinWait();
        }
        running.decrementAndGet();
        return new int[] {7};
    }

    /** The word tokenizer, but for how it encodes long texts. */
    private static Tokenizer tokenizer(Function<String, int[]> encodeLong) {
        var words = new WordTokenizer(TestServer.VOCAB_SIZE);
        var tokenizer = (Tokenizer) Proxy.newProxyInstance(
                Tokenizer.class.getClassLoader(),
                new Class<?>[] {Tokenizer.class},
                (proxy, method, arguments) -> method.getName().equals("encode")
                                && arguments[0] instanceof String text
                                && text.length() > PooledTokenizer.LONG
                        ? encodeLong.apply(text)
                        : method.invoke(words, arguments));
        return new PooledTokenizer(tokenizer);
    }

    private static List<Thread> start(int count, Runnable work) {
        var threads = new ArrayList<Thread>();
        for (int i = 0; i < count; i++) {
            threads.add(Thread.ofPlatform().start(work));
        }
        return threads;
    }

    @Test
    void longTextsDoNotHoldUpHealth() throws InterruptedException {
        var tokenizer = tokenizer(this::encodeUntilReleased);
        String body = "{\"prompt\":\"" + "a".repeat(PooledTokenizer.LONG + 1) + "\"}";
        try (var server = TestServer.start(FakeBackend.Options.DEFAULT, Optional.of(tokenizer))) {
            var clients = start(
                    THREADS,
                    () -> assertEquals(
                            200,
                            server.send("POST", "/tokenize", body, Map.of("Content-Type", "application/json"))
                                    .status()));
            TestServer.await("a text is being encoded", () -> running.get() > 0);

            assertEquals(200, server.get("/health/live").status());

            assertTrue(running.get() > 0, "health waited for the texts");
            isReleased = true;
            for (Thread client : clients) {
                client.join();
            }
        }
    }

    @Test
    void veryLongTextsAreEncodedOneAtATime() throws InterruptedException {
        var tokenizer = tokenizer(this::encodeBusily);

        for (Thread thread : start(3, () -> tokenizer.encode(VERY_LONG_TEXT))) {
            thread.join();
        }

        assertEquals(1, runningMax.get());
    }

    /** The work below knows of no interrupt, as a library may not. */
    @Test
    void deadlineEndsTheWait() throws InterruptedException {
        var tokenizer = tokenizer(this::encodeUntilReleased);
        try (var server = TestServer.start(FakeBackend.Options.DEFAULT, Optional.of(tokenizer))) {
            var waiting = start(1, () -> tokenizer.encode(VERY_LONG_TEXT));
            TestServer.await("a text is being encoded", () -> running.get() > 0);

            var answer = server.complete("{\"prompt\":\"" + VERY_LONG_TEXT + "\",\"deadline_seconds\":0.2}");
            var hurried = server.send(
                    "POST",
                    "/v1/responses",
                    "{\"input\":\"" + VERY_LONG_TEXT + "\"}",
                    Map.of("Content-Type", "application/json", "X-Deadline-Seconds", "0.2"));

            assertEquals(504, answer.status(), answer.body());
            assertEquals("deadline_exceeded", answer.error().path("code").asText());
            assertEquals(504, hurried.status(), hurried.body());
            assertEquals(1, runningMax.get());
            isReleased = true;
            waiting.getFirst().join();
        }
        assertEquals(1, begun.get(), "encoded for nobody");
    }

    @ParameterizedTest
    @ValueSource(strings = {"/v1/completions", "/v1/chat/completions", "/v1/responses", "/v1/sessions", "/tokenize"})
    void closedConnectionEndsTheWork(String path) throws IOException {
        var tokenizer = tokenizer(this::encodeUntilInterrupted);
        String text = path.contains("chat")
                ? "\"messages\":[{\"role\":\"user\",\"content\":\"" + VERY_LONG_TEXT + "\"}]"
                : "\"" + (path.endsWith("responses") ? "input" : "prompt") + "\":\"" + VERY_LONG_TEXT + "\"";
        try (var server = TestServer.start(FakeBackend.Options.DEFAULT, Optional.of(tokenizer))) {
            try (var socket = server.connect()) {
                String request = TestServer.wire("{" + text + "}").replace("/v1/completions", path);
                socket.getOutputStream().write(request.getBytes(StandardCharsets.UTF_8));
                TestServer.await("a text is being encoded", () -> running.get() > 0);
            }

            TestServer.await("the work ends", () -> running.get() == 0);
        }
    }

    @Test
    void textsThatWaitHaveTheBudgetOfBodies() throws InterruptedException {
        var tokenizer = tokenizer(this::encodeUntilReleased);
        String large = "{\"prompt\":\"" + VERY_LONG_TEXT + "\"}";
        try (var server =
                TestServer.start(FakeBackend.Options.DEFAULT, Optional.of(tokenizer), "--bodies-bytes-max", "64KiB")) {
            var waiting = start(1, () -> server.complete(large));
            TestServer.await("a text is being encoded", () -> running.get() > 0);

            var refused = server.complete(large);
            var small = server.complete("{\"prompt\":\"a\",\"max_tokens\":1}");

            assertEquals("bodies_too_large", refused.error().path("code").asText(), refused.body());
            assertEquals(200, small.status(), small.body());
            isReleased = true;
            waiting.getFirst().join();
            assertEquals(1, begun.get());
        }
    }

    @Test
    void failureComesThrough() {
        var tokenizer = tokenizer(text -> {
            throw new IllegalArgumentException("the text has a lone surrogate at index 7");
        });

        var failure = assertThrows(
                IllegalArgumentException.class, () -> tokenizer.encode("a".repeat(PooledTokenizer.LONG + 1)));

        assertEquals("the text has a lone surrogate at index 7", failure.getMessage());
    }
}
