package basalt.server;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import basalt.engine.backend.fake.FakeBackend;
import basalt.server.fixture.WordTokenizer;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.logging.Handler;
import java.util.logging.Level;
import java.util.logging.LogRecord;
import java.util.logging.Logger;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;

/** What clients are told whose session is deleted while they wait for an answer. */
class SessionDeletionIT {
    private static final Map<String, String> JSON = Map.of("Content-Type", "application/json");
    private static final String CODE = "session_deleted";
    private static final Logger LOGGER = Logger.getLogger("basalt.server");

    private final TestServer server = TestServer.start(
            FakeBackend.Options.DEFAULT.withTimes(Duration.ofMillis(4).toNanos(), 0),
            Optional.of(new WordTokenizer(TestServer.VOCAB_SIZE)));
    private final Complaints complaints = new Complaints();

    /** Keeps what an operator would be warned of. */
    private static final class Complaints extends Handler {
        private final ConcurrentLinkedQueue<String> messages = new ConcurrentLinkedQueue<>();

        @Override
        public void publish(LogRecord complaint) {
            if (complaint.getLevel().intValue() >= Level.WARNING.intValue()) {
                messages.add(complaint.getMessage());
            }
        }

        @Override
        public void flush() {}

        @Override
        public void close() {}
    }

    @BeforeEach
    void listen() {
        LOGGER.addHandler(complaints);
    }

    @AfterEach
    void stop() {
        LOGGER.removeHandler(complaints);
        server.awaitFree();
        server.close();
    }

    private CompletableFuture<TestServer.Answer> begin(String path, String body) {
        var answer = CompletableFuture.supplyAsync(() -> server.send("POST", path, body, JSON));
        TestServer.await("a turn that runs", () -> server.stats().sampledTokenCount() > 0);
        return answer;
    }

    private String create() {
        return server.send("POST", "/v1/sessions", "{}", JSON).json().path("id").asText();
    }

    /** The only session there is. */
    private void deleteAny() {
        TestServer.await(
                "a session",
                () -> !server.get("/v1/sessions").json().path("data").isEmpty());
        String id = server.get("/v1/sessions").json().at("/data/0/id").asText();
        assertEquals(
                200, server.send("DELETE", "/v1/sessions/" + id, "", Map.of()).status());
    }

    private static void assertDeleted(TestServer.Answer answer) {
        assertEquals(410, answer.status(), answer.body());
        assertEquals(CODE, answer.error().path("code").asText());
    }

    private static String endless(String id, String rest) {
        return "{\"session\":\"" + id + "\",\"max_tokens\":10000000,\"ignore_eos\":true," + rest + "}";
    }

    @Test
    void turnThatIsWaitedForIsGone() {
        var answer = begin("/v1/completions", endless(create(), "\"prompt\":\"a\""));

        deleteAny();

        assertDeleted(answer.join());
    }

    @Test
    void streamEndsWithTheReason() {
        var answer = begin(
                "/v1/chat/completions",
                endless(create(), "\"stream\":true,\"messages\":[{\"role\":\"user\",\"content\":\"a\"}]"));

        deleteAny();

        assertEquals(200, answer.join().status());
        assertEquals(CODE, answer.join().chunks().getLast().at("/error/code").asText());
        assertTrue(answer.join().body().endsWith("data: [DONE]\n\n"));
    }

    @Test
    void resumableStreamEndsWithTheReason() {
        var answer = begin("/v1/completions", endless(create(), "\"prompt\":\"a\",\"stream\":true,\"resumable\":true"));

        deleteAny();

        assertEquals(CODE, answer.join().chunks().getLast().at("/error/code").asText());
    }

    @Test
    void responseIsGoneAndNobodyIsWarned() {
        String body = "{\"input\":\"a\",\"max_output_tokens\":10000000,\"ignore_eos\":true}";
        var whole = begin("/v1/responses", body);
        deleteAny();
        assertDeleted(whole.join());

        var stream = begin("/v1/responses", body.replace("{", "{\"stream\":true,"));
        deleteAny();
        var last = stream.join().chunks().getLast();
        assertEquals("response.failed", last.path("type").asText());
        assertTrue(last.at("/response/error/message").asText().contains("The session was deleted"), last.toString());

        server.awaitFree();
        assertEquals(List.of(), List.copyOf(complaints.messages));
    }

    @Test
    void sessionWhosePromptIsReadIsGone() {
        String body = "{\"prompt\":\"" + "long ".repeat(100_000) + "\"}";
        var answer = CompletableFuture.supplyAsync(() -> server.send("POST", "/v1/sessions", body, JSON));
        TestServer.await("a prompt that is read", () -> server.stats().busySlotCount() > 0);

        deleteAny();

        assertDeleted(answer.join());
    }
}
