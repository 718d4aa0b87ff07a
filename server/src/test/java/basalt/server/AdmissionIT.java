package basalt.server;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import basalt.engine.backend.fake.FakeBackend;
import basalt.server.fixture.WordTokenizer;
import java.io.IOException;
import java.net.Socket;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.Optional;
import org.junit.jupiter.api.Test;

/** What waits, what is refused, and when a server calls itself ill. */
class AdmissionIT {
    private static final WordTokenizer TOKENIZER = new WordTokenizer(TestServer.VOCAB_SIZE);

    private static FakeBackend.Options stepsOf(Duration time, int slots) {
        return FakeBackend.Options.DEFAULT.withTimes(time.toNanos(), 0).withSlots(slots, slots);
    }

    /** An endless stream whose prompt has so many tokens. */
    private static Socket begin(TestServer server, int promptTokens) throws IOException {
        Socket socket = server.connect();
        String body = "{\"prompt\":\"" + "a".repeat(promptTokens)
                + "\",\"max_tokens\":9999999,\"ignore_eos\":true,\"stream\":true}";
        socket.getOutputStream().write(TestServer.wire(body).getBytes(StandardCharsets.UTF_8));
        return socket;
    }

    @Test
    void queueIsBoundedInTokensToo() throws IOException {
        var options = stepsOf(Duration.ofMillis(2), 1);
        try (var server = TestServer.start(options, Optional.of(TOKENIZER), "--queue-tokens-max", "10");
                var running = begin(server, 100)) {
            TestServer.await("running", () -> server.stats().runningRequestCount() == 1);
            try (var waiting = begin(server, 8)) {
                TestServer.await("waiting", () -> server.stats().waitingTokenCount() == 8);

                var refused = server.complete("{\"prompt\":\"abc\",\"max_tokens\":1}");

                assertEquals(429, refused.status());
                assertEquals("queue_full", refused.error().path("code").asText());
                try (var fitting = begin(server, 2)) {
                    TestServer.await("waiting too", () -> server.stats().waitingTokenCount() == 10);
                    assertTrue(fitting.isConnected() && waiting.isConnected() && running.isConnected());
                }
            }
        }
    }

    @Test
    void hungStepFailsLivenessAndItsEndHealsIt() throws InterruptedException {
        var backend = new FakeBackend(stepsOf(Duration.ofHours(1), 1));
        try (var server = TestServer.start(backend, Optional.of(TOKENIZER), "--step-timeout", "100ms")) {
            assertEquals(200, server.get("/health/live").status());
            Thread client = Thread.startVirtualThread(
                    () -> server.complete("{\"prompt\":\"abc\",\"max_tokens\":1,\"ignore_eos\":true}"));

            TestServer.await("ill", () -> server.get("/health/live").status() == 500);

            assertEquals(500, server.get("/health/ready").status());
            backend.hurry();
            client.join();
            server.awaitFree();
            TestServer.await("well", () -> server.get("/health/live").status() == 200);
        }
    }
}
