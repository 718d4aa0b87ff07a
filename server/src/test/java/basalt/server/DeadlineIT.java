package basalt.server;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import basalt.engine.backend.fake.FakeBackend;
import basalt.server.fixture.WordTokenizer;
import com.fasterxml.jackson.databind.JsonNode;
import java.io.IOException;
import java.net.Socket;
import java.nio.charset.StandardCharsets;
import java.util.Map;
import java.util.Optional;
import java.util.function.DoubleFunction;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;

class DeadlineIT {
    private static final FakeBackend.Options SLOW =
            FakeBackend.Options.DEFAULT.withSlots(1, 1).withTimes(5_000_000, 1_000);
    private static final String ENDLESS = "\"prompt\":\"abc\",\"ignore_eos\":true,\"max_tokens\":1000000";
    private static TestServer server;

    @BeforeAll
    static void start() {
        server = TestServer.start(SLOW, Optional.of(new WordTokenizer(TestServer.VOCAB_SIZE)));
    }

    /** There is one slot, and an answer is read before its slot is free. */
    @BeforeEach
    void awaitFree() {
        server.awaitFree();
    }

    @AfterAll
    static void stop() {
        server.awaitFree();
        server.close();
    }

    /** The answer with the first of ever longer deadlines, in seconds, before which the request began to run. */
    private static TestServer.Answer begun(DoubleFunction<TestServer.Answer> request) {
        var answer = request.apply(0.3);
        for (double seconds = 1; answer.status() == 504 && seconds < 60; seconds *= 3) {
            answer = request.apply(seconds);
        }
        return answer;
    }

    private static String endless(double deadlineSeconds) {
        return "{" + ENDLESS + ",\"deadline_seconds\":" + deadlineSeconds + "}";
    }

    private static void assertCut(JsonNode choice) {
        assertEquals("length", choice.path("finish_reason").asText());
        assertEquals("deadline", choice.path("stop_reason").asText());
    }

    @Test
    void runningRequestShowsWhatItHas() {
        var answer = begun(seconds -> server.complete(endless(seconds))).json();

        assertCut(answer.path("choices").get(0));
        assertTrue(answer.path("usage").path("completion_tokens").asInt() > 0);
    }

    @Test
    void streamEndsWithTheReason() {
        var chunks = begun(seconds -> server.complete(endless(seconds).replace("{", "{\"stream\":true,")))
                .chunks();

        assertCut(chunks.getLast().path("choices").get(0));
    }

    @Test
    void shorterOneOfHeaderAndBodyCounts() {
        for (boolean isHeaderShorter : new boolean[] {false, true}) {
            var answer = begun(seconds -> server.send(
                    "POST",
                    "/v1/completions",
                    endless(isHeaderShorter ? 600 : seconds),
                    Map.of(
                            "Content-Type",
                            "application/json",
                            "X-Deadline-Seconds",
                            Double.toString(isHeaderShorter ? seconds : 600))));

            assertCut(answer.json().path("choices").get(0));
        }
    }

    @Test
    void waitingRequestIsTooLate() throws IOException {
        try (Socket blocker = server.connect()) {
            String body = "{" + ENDLESS + ",\"stream\":true}";
            blocker.getOutputStream().write(TestServer.wire(body).getBytes(StandardCharsets.UTF_8));
            TestServer.await("the slot taken", () -> server.stats().busySlotCount() == 1);

            var answer = server.complete("{\"prompt\":\"abc\",\"deadline_seconds\":0.1}");

            assertEquals(504, answer.status(), answer.body());
            assertEquals("deadline_exceeded", answer.error().path("code").asText());
            assertEquals("timeout_error", answer.error().path("type").asText());
            assertEquals(1, server.stats().busySlotCount());
        }
        server.awaitFree();
    }

    @Test
    void headerMustBeSeconds() {
        for (String value : new String[] {"soon", "-1", "NaN", "1e9"}) {
            var answer = server.send(
                    "POST",
                    "/v1/completions",
                    "{\"prompt\":\"a\"}",
                    Map.of("Content-Type", "application/json", "X-Deadline-Seconds", value));

            assertEquals(400, answer.status(), value);
            assertEquals("X-Deadline-Seconds", answer.error().path("param").asText());
        }
    }
}
