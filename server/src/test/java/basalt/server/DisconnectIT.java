package basalt.server;

import static org.junit.jupiter.api.Assertions.assertTrue;

import basalt.engine.backend.fake.FakeBackend;
import basalt.server.fixture.WordTokenizer;
import java.io.IOException;
import java.io.InputStream;
import java.net.Socket;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.Optional;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** Clients that go away or do not read. */
class DisconnectIT {
    private static final long STEP_NANOS = Duration.ofMillis(5).toNanos();
    /** What is promised; a step of the fake device is a twentieth of it. */
    private static final long NOTICED_MILLIS_MAX = 100;
    /** A machine that does something else as well may miss it now and then, but not always. */
    private static final int ATTEMPTS = 20;

    private final TestServer server = TestServer.start(
            FakeBackend.Options.DEFAULT.withTimes(STEP_NANOS, 0),
            Optional.of(new WordTokenizer(TestServer.VOCAB_SIZE)),
            "--write-timeout",
            "300ms",
            "--slow-reader-timeout",
            "1h",
            "--keep-alive-interval",
            "200ms");

    @AfterEach
    void stop() {
        server.awaitFree();
        server.close();
    }

    /** Lets a client go away; returns after how many milliseconds the server was free of it. */
    private interface Leaving {
        long millis() throws IOException;
    }

    private static void assertNoticed(Leaving leaving) throws IOException {
        long best = Long.MAX_VALUE;
        for (int i = 0; i < ATTEMPTS && best > NOTICED_MILLIS_MAX; i++) {
            best = Math.min(best, leaving.millis());
        }
        assertTrue(best <= NOTICED_MILLIS_MAX, "took " + best + " ms");
    }

    private Socket request(String body) throws IOException {
        Socket socket = server.connect();
        socket.getOutputStream().write(TestServer.wire(body).getBytes(StandardCharsets.UTF_8));
        return socket;
    }

    private void awaitBusy() {
        TestServer.await("a busy slot", () -> server.stats().busySlotCount() > 0);
    }

    private static String endless(boolean isStreamed) {
        return "{\"prompt\":\"abc\",\"max_tokens\":1000000000,\"ignore_eos\":true,\"stream\":" + isStreamed + "}";
    }

    @ParameterizedTest(name = "stream: {0}")
    @ValueSource(booleans = {true, false})
    void closedConnectionFreesTheSlot(boolean isStreamed) throws IOException {
        assertNoticed(() -> {
            Socket socket = request(endless(isStreamed));
            awaitBusy();
            socket.close();
            return server.awaitFree();
        });

        TestServer.await("it counts as aborted", () -> aborted() > 0);
    }

    @ParameterizedTest(name = "stream: {0}")
    @ValueSource(booleans = {true, false})
    void resetConnectionFreesTheSlot(boolean isStreamed) throws IOException {
        assertNoticed(() -> {
            Socket socket = request(endless(isStreamed));
            awaitBusy();
            socket.setSoLinger(true, 0);
            socket.close();
            return server.awaitFree();
        });
    }

    @Test
    void clientThatGoesWhileItsPromptIsReadFreesTheSlot() throws IOException {
        // 1,000 tokens a second: the prompt alone takes minutes.
        String body = "{\"prompt\":\"" + "a".repeat(500_000) + "\",\"stream\":true}";
        assertNoticed(() -> {
            Socket socket = request(body);
            awaitBusy();
            socket.close();
            return server.awaitFree();
        });
    }

    @Test
    void clientThatGoesWhileItWaitsLeavesTheQueue() throws IOException {
        var holders = new Socket[32];
        for (int i = 0; i < holders.length; i++) {
            holders[i] = request(endless(true));
        }
        TestServer.await("all slots busy", () -> server.stats().busySlotCount() == 32);

        assertNoticed(() -> {
            Socket waiting = request(endless(false));
            TestServer.await("one waits", () -> server.stats().waitingRequestCount() == 1);
            waiting.close();
            return TestServer.await("none waits", () -> server.stats().waitingRequestCount() == 0);
        });

        for (Socket holder : holders) {
            holder.close();
        }
    }

    @Test
    void goneClientWithAPipelinedRequestIsNoticed() throws IOException {
        byte[] next = "GET /health HTTP/1.1\r\nHost: x\r\n\r\n".getBytes(StandardCharsets.UTF_8);

        assertNoticed(() -> {
            Socket socket = request(endless(true));
            socket.getOutputStream().write(next);
            awaitBusy();
            socket.close();
            return server.awaitFree();
        });
    }

    @Test
    void clientThatDoesNotReadIsCutOff() throws IOException {
        // Chunks of several kilobytes fill the buffers of both sides at once.
        String body = "{\"prompt\":\"abc\",\"max_tokens\":1000000000,\"ignore_eos\":true,\"stream\":true,"
                + "\"logprobs\":20,\"n\":16}";
        Socket socket = request(body);
        awaitBusy();

        server.awaitFree();

        TestServer.await("all aborted", () -> aborted() == 16);
        socket.close();
    }

    @Test
    void silentStreamGetsComments() throws IOException {
        try (Socket socket = request("{\"prompt\":\"" + "a".repeat(500_000) + "\",\"stream\":true}")) {
            String head = readUntil(socket.getInputStream(), "keep-alive", 3);

            assertTrue(head.contains("text/event-stream"), head);
        }
    }

    private static String readUntil(InputStream in, String mark, int count) throws IOException {
        var text = new StringBuilder();
        while (text.toString().split(mark, -1).length <= count) {
            int next = in.read();
            assertTrue(next >= 0, "closed after: " + text);
            text.append((char) next);
        }
        return text.toString();
    }

    private int aborted() {
        return (int) server.application()
                .metrics()
                .registry()
                .get("vllm:request_success")
                .tag("finished_reason", "abort")
                .counter()
                .count();
    }
}
