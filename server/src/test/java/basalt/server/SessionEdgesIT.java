package basalt.server;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import basalt.engine.backend.fake.FakeBackend;
import basalt.server.fixture.WordTokenizer;
import com.fasterxml.jackson.databind.JsonNode;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.net.Socket;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.atomic.AtomicReference;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** What sessions and stored responses do at their bounds, and with what nobody should send. */
class SessionEdgesIT {
    private static final Map<String, String> JSON = Map.of("Content-Type", "application/json");

    @TempDir
    private Path directory;

    private TestServer server = TestServer.start();

    @AfterEach
    void stop() {
        server.awaitFree();
        server.close();
    }

    private void restart(String... args) {
        server.close();
        server = TestServer.start(args);
    }

    private void restartSlow(String... args) {
        server.close();
        server = TestServer.start(
                FakeBackend.Options.DEFAULT.withTimes(Duration.ofMillis(200).toNanos(), 0),
                Optional.of(new WordTokenizer(TestServer.VOCAB_SIZE)),
                args);
    }

    private TestServer.Answer post(String path, String body) {
        return server.send("POST", path, body, JSON);
    }

    private String create(String body) {
        var answer = post("/v1/sessions", body);
        assertEquals(200, answer.status(), answer.body());
        return answer.json().path("id").asText();
    }

    private JsonNode sessions() {
        return server.get("/v1/sessions").json().path("data");
    }

    private Socket send(String path, String body) {
        return sendWire(TestServer.wire(body).replace("/v1/completions", path));
    }

    private Socket sendWire(String request) {
        try {
            var socket = server.connect();
            socket.getOutputStream().write(request.getBytes(StandardCharsets.UTF_8));
            return socket;
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    private static boolean isAnswered(Socket socket) {
        try {
            return socket.getInputStream().available() > 0;
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    /** As a deadline does, it ends the wait that the client allowed for. */
    @Test
    void fieldThatNamesNoSessionIsAtFault() {
        var copy = post("/v1/sessions", "{\"from\":\"nope\"}");
        var list = server.get("/v1/sessions?after=nope");

        assertEquals(404, copy.status());
        assertEquals("from", copy.json().path("error").path("param").asText());
        assertEquals(404, list.status());
        assertEquals("after", list.json().path("error").path("param").asText());
    }

    @Test
    void clientThatGoesWhileItWaitsHoldsNoPlace() throws IOException {
        restartSlow("--api-keys", "one", "--key-requests-max", "2");
        var key = Map.of("Authorization", "Bearer one", "Content-Type", "application/json");
        String id =
                server.send("POST", "/v1/sessions", "{}", key).json().path("id").asText();
        String endless = "{\"session\":\"" + id + "\",\"prompt\":\"x\",\"max_tokens\":100000,\"stream\":true}";
        String waiting = endless.replace("{", "{\"session_wait\":600,");

        try (Socket running = server.connect()) {
            running.getOutputStream().write(wire(endless).getBytes(StandardCharsets.UTF_8));
            assertEquals('H', running.getInputStream().read());
            var waits = new AtomicReference<>(sendWire(wire(waiting)));
            TestServer.await("both places taken", () -> {
                if (server.send("POST", "/v1/sessions", "{}", key).status() == 429) {
                    return true;
                }
                if (isAnswered(waits.get())) { // refused: this one came first to the place
                    waits.set(sendWire(wire(waiting)));
                }
                return false;
            });
            waits.get().close();
            TestServer.await(
                    "a place free again",
                    () -> server.send("POST", "/v1/sessions", "{}", key).status() == 200);
            var late = server.send("POST", "/v1/completions", waiting.replace("{", "{\"deadline_seconds\":0.2,"), key);
            assertEquals(409, late.status());
        }
        TestServer.await(
                "no turn",
                () -> !server.send("GET", "/v1/sessions/" + id, "", key)
                        .json()
                        .path("busy")
                        .asBoolean());
    }

    private static String wire(String body) {
        return TestServer.wire(body).replace("Host:", "Authorization: Bearer one\r\nHost:");
    }

    @Test
    void clientThatGoesWhileItsPromptIsReadLeavesNoSession() throws IOException {
        restartSlow();
        String body = "{\"prompt\":\"" + "long ".repeat(20_000) + "\"}";

        try (Socket socket = send("/v1/sessions", body)) {
            TestServer.await("a prompt that is read", () -> server.stats().busySlotCount() > 0);
            assertEquals(0, socket.getInputStream().available());
        }

        TestServer.await("no session", () -> sessions().isEmpty());
    }

    @Test
    void fieldsOfOtherRequestsAreRefused() {
        String id = create("{\"prompt\":\"abc\"}");
        for (String[] wrong : new String[][] {
            {"", "count", "2"},
            {"", "tokens", "1"},
            {"/" + id + "/fork", "prompt", "\"a\""},
            {"/" + id + "/fork", "tokens", "1"},
            {"/" + id + "/fork", "from", "\"a\""},
            {"/" + id + "/rewind", "count", "2"},
            {"/" + id + "/rewind", "ttl_seconds", "2"},
        }) {
            var answer = post("/v1/sessions" + wrong[0], "{\"" + wrong[1] + "\":" + wrong[2] + ",\"model\":\"test\"}");

            assertEquals(400, answer.status(), wrong[0]);
            assertEquals("unknown_parameter", answer.error().path("code").asText());
            assertEquals(wrong[1], answer.error().path("param").asText());
        }
        assertEquals(1, sessions().size());
    }

    @Test
    void pageAfterASessionThatIsGoneIsNotTheFirstOne() {
        String gone = create("{}");
        create("{}");
        server.send("DELETE", "/v1/sessions/" + gone, "", Map.of());

        var answer = server.get("/v1/sessions?after=" + gone);

        assertEquals(404, answer.status());
        assertEquals("session_not_found", answer.error().path("code").asText());
    }

    /** The header is for load balancers. */
    @Test
    void sessionIdInAHeaderMeansNothing() {
        String id = create("{\"prompt\":\"abc\"}");
        String other = create("{\"prompt\":\"abcdef\"}");
        var headers = Map.of("Content-Type", "application/json", "X-Session-Id", other);

        var turn = server.send(
                "POST",
                "/v1/completions",
                "{\"session\":\"" + id + "\",\"prompt\":\"x\",\"max_tokens\":2,\"ignore_eos\":true}",
                headers);
        var none = server.send("POST", "/v1/completions", "{\"prompt\":\"x\",\"max_tokens\":2}", headers);

        assertEquals(4, turn.json().path("usage").path("prompt_tokens").asInt());
        assertEquals(1, none.json().path("usage").path("prompt_tokens").asInt());
        assertEquals(
                6, server.get("/v1/sessions/" + other).json().path("tokens").asInt());
        assertEquals(6, server.get("/v1/sessions/" + id).json().path("tokens").asInt());
    }

    @Test
    void responseIsGoneOnceItsSessionGoesOn() {
        String response = post("/v1/responses", "{\"input\":\"a\",\"max_output_tokens\":2}")
                .json()
                .path("id")
                .asText();
        String session = response.replace("resp_", "sess_");
        assertEquals(200, server.get("/v1/responses/" + response).status());

        var turn = server.complete("{\"session\":\"" + session + "\",\"prompt\":\"b\",\"max_tokens\":2}");

        assertEquals(200, turn.status());
        assertEquals(404, server.get("/v1/responses/" + response).status());
        assertEquals(
                404,
                post("/v1/responses", "{\"input\":\"c\",\"previous_response_id\":\"" + response + "\"}")
                        .status());
        assertEquals(200, server.get("/v1/sessions/" + session).status());
    }

    @Test
    void oldestResponsesMakeRoomAndSessionsThatWereAskedForStay() {
        restart("--sessions-max", "4");
        String kept = create("{\"prompt\":\"abc\"}");
        List<String> responses = new ArrayList<>();
        for (int i = 0; i < 6; i++) {
            var answer = post("/v1/responses", "{\"input\":\"a\",\"max_output_tokens\":2}");
            assertEquals(200, answer.status(), answer.body());
            responses.add(answer.json().path("id").asText());
        }

        assertEquals(404, server.get("/v1/responses/" + responses.getFirst()).status());
        assertEquals(200, server.get("/v1/responses/" + responses.getLast()).status());
        assertEquals(200, server.get("/v1/sessions/" + kept).status());
        assertEquals(4, sessions().size());
    }

    @Test
    void stateIsKeptAtABreakpointOfALaterMessageOfASession() {
        String parts = "{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"abcdef\","
                + "\"prompt_cache_breakpoint\":{\"mode\":\"explicit\"}},{\"type\":\"text\",\"text\":\"x\"}]}";
        String end = ",\"max_tokens\":3,\"ignore_eos\":true,\"seed\":1,\"return_token_ids\":true}";
        String session = "{\"session\":\"" + create("{}") + "\",\"messages\":[";
        var opened = server.chat(session + "{\"role\":\"user\",\"content\":\"Hi\"}]" + end)
                .json();

        var turn = server.chat(session + parts + "]" + end);
        var tokens = bytes("User: Hi\nAssistant:");
        opened.path("choices").path(0).path("token_ids").forEach(id -> tokens.add(id.asInt()));
        int before = tokens.size();
        tokens.addAll(bytes("\nUser: abcdef"));
        int breakpoint = tokens.size();
        tokens.addAll(bytes(" and more"));
        var other = server.complete("{\"prompt\":" + tokens + end);
        var alone = server.complete("{\"cache_salt\":\"none\",\"prompt\":" + tokens + end);

        assertEquals(breakpoint, details(turn, "cache_write_tokens"));
        assertEquals(before - 1, details(turn, "cached_tokens"));
        assertEquals(breakpoint, details(other, "cached_tokens"));
        assertEquals(0, details(alone, "cached_tokens"));
        assertEquals(alone.json().path("choices"), other.json().path("choices"));
    }

    private static List<Integer> bytes(String text) {
        var ids = new ArrayList<Integer>();
        for (byte value : text.getBytes(StandardCharsets.UTF_8)) {
            ids.add(value & 0xff);
        }
        return ids;
    }

    private static int details(TestServer.Answer answer, String field) {
        return answer.json()
                .path("usage")
                .path("prompt_tokens_details")
                .path(field)
                .asInt();
    }

    @Test
    void secretIsWrittenWholeOrNotAtAll() throws IOException {
        Files.write(directory.resolve("secret.new"), new byte[3]);

        restart("--sessions-dir", directory.toString());

        assertEquals(32, Files.size(directory.resolve("secret")));
        assertTrue(Files.notExists(directory.resolve("secret.new")));
    }

    @Test
    void cacheThatCannotHoldOneStateStopsTheStart() {
        var refusal = assertThrows(StartException.class, () -> TestServer.start("--prefix-cache-max", "100B"));

        assertTrue(String.valueOf(refusal.getMessage()).contains("prefix-cache-max: 100 bytes"), refusal.getMessage());
    }
}
