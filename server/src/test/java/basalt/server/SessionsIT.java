package basalt.server;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import basalt.engine.backend.fake.FakeBackend;
import basalt.server.fixture.WordTokenizer;
import basalt.server.observe.Metrics;
import com.fasterxml.jackson.databind.JsonNode;
import java.io.IOException;
import java.net.Socket;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class SessionsIT {
    private static final Map<String, String> JSON = Map.of("Content-Type", "application/json");

    @TempDir
    private Path directory;

    private final HttpClient client = HttpClient.newHttpClient();
    private TestServer server = TestServer.start();

    @AfterEach
    void stop() {
        server.awaitFree();
        server.close();
        client.close();
    }

    private void restart(String... args) {
        server.close();
        server = TestServer.start(args);
    }

    /** A server on a device that is slow until it is hurried. */
    private FakeBackend restartSlow(Duration step) {
        server.close();
        var options = FakeBackend.Options.DEFAULT.withSlots(8, 8).withTimes(step.toNanos(), 0);
        var backend = new FakeBackend(options);
        server = TestServer.start(backend, Optional.of(new WordTokenizer(TestServer.VOCAB_SIZE)));
        return backend;
    }

    private TestServer.Answer post(String path, String body) {
        return server.send("POST", path, body, JSON);
    }

    private String create(String body) {
        var answer = post("/v1/sessions", body);
        assertEquals(200, answer.status(), answer.body());
        return answer.json().path("id").asText();
    }

    private JsonNode session(String id) {
        return server.get("/v1/sessions/" + id).json();
    }

    private static String turn(String id, String prompt, int seed) {
        return "{\"session\":\"" + id + "\",\"prompt\":\"" + prompt + "\",\"max_tokens\":12,\"ignore_eos\":true,"
                + "\"return_token_ids\":true,\"seed\":" + seed + "}";
    }

    private static List<Integer> ids(JsonNode answer) {
        var ids = new ArrayList<Integer>();
        answer.path("choices").path(0).path("token_ids").forEach(id -> ids.add(id.asInt()));
        return ids;
    }

    /** What a request with the whole history answers. */
    private List<Integer> whole(List<Integer> history, int seed) {
        return ids(server.complete("{\"prompt\":" + history + ",\"max_tokens\":12,\"ignore_eos\":true,"
                        + "\"return_token_ids\":true,\"seed\":" + seed + "}")
                .json());
    }

    private static List<Integer> bytes(String text) {
        var ids = new ArrayList<Integer>();
        for (byte value : text.getBytes(StandardCharsets.UTF_8)) {
            ids.add(value & 0xff);
        }
        return ids;
    }

    @Test
    void turnsAnswerAsRequestsWithTheWholeHistory() {
        String id = create("{\"prompt\":\"Once upon\"}");
        var history = bytes("Once upon");
        assertEquals(9, session(id).path("tokens").asInt());

        for (int i = 0; i < 5; i++) {
            String prompt = i == 3 ? "" : " a time " + i;
            history.addAll(bytes(prompt));
            var expected = whole(history, i);
            var answer = server.complete(turn(id, prompt, i)).json();

            assertEquals(expected, ids(answer));
            var usage = answer.path("usage");
            assertEquals(history.size(), usage.path("prompt_tokens").asInt());
            int cached = history.size() - prompt.length() - 1;
            assertEquals(
                    cached,
                    usage.path("prompt_tokens_details").path("cached_tokens").asInt());
            history.addAll(expected);
        }

        assertEquals(history.size(), session(id).path("tokens").asInt());
        assertEquals(6, session(id).path("turns").asInt());
        assertEquals(60, session(id).path("usage").path("completion_tokens").asInt());
    }

    @Test
    void streamedTurnIsCommittedBeforeItsEnd() {
        String id = create("{}");
        String body = turn(id, "abc", 1).replace("{\"session\"", "{\"stream\":true,\"session\"");

        var chunks = server.complete(body).chunks();

        assertEquals(
                "length",
                chunks.getLast().path("choices").path(0).path("finish_reason").asText());
        assertEquals(15, session(id).path("tokens").asInt());
        assertFalse(session(id).path("busy").asBoolean());
    }

    @Test
    void chatGoesOnWithNewMessagesOnly() {
        String id = create("{}");
        String message = "{\"session\":\"" + id
                + "\",\"messages\":[{\"role\":\"user\",\"content\":\"Hi\"}],\"max_tokens\":3,\"ignore_eos\":true}";

        var first = post("/v1/chat/completions", message).json();
        var second = post("/v1/chat/completions", message).json();

        int prompt = "User: Hi\nAssistant:".length();
        assertEquals(prompt, first.path("usage").path("prompt_tokens").asInt());
        assertEquals(
                prompt + 3 + 1 + prompt,
                second.path("usage").path("prompt_tokens").asInt());
        assertEquals(
                prompt + 2,
                second.path("usage")
                        .path("prompt_tokens_details")
                        .path("cached_tokens")
                        .asInt());
        assertEquals(2, session(id).path("turns").asInt());
    }

    @Test
    void emptySessionNeedsNoPromptWhereADocumentCanBegin() {
        String id = create("{}");

        var answer = server.complete("{\"session\":\"" + id + "\",\"max_tokens\":1,\"ignore_eos\":true}");

        assertEquals(200, answer.status(), answer.body());
        assertEquals(2, session(id).path("tokens").asInt());
    }

    @Test
    void whatATurnCannotBeIsRefusedAndTheSessionStays() {
        String id = create("{\"prompt\":\"abc\"}");
        for (String fields : List.of(
                "\"prompt\":\"a\",\"n\":2",
                "\"prompt\":[\"a\",\"b\"]",
                "\"prompt\":\"a\",\"echo\":true,\"logprobs\":1")) {
            var answer = server.complete("{\"session\":\"" + id + "\"," + fields + "}");

            assertEquals(400, answer.status());
            assertEquals("unsupported_parameter", answer.error().path("code").asText());
            assertEquals("session", answer.error().path("param").asText());
        }
        assertEquals(3, session(id).path("tokens").asInt());
    }

    @Test
    void unknownAndForeignSessionsAreNotThere() {
        restart("--api-keys", "one,two");
        var mine = Map.of("Content-Type", "application/json", "Authorization", "Bearer one");
        var foreign = Map.of("Content-Type", "application/json", "Authorization", "Bearer two");
        String id = server.send("POST", "/v1/sessions", "{}", mine)
                .json()
                .path("id")
                .asText();

        assertEquals(200, server.send("GET", "/v1/sessions/" + id, "", mine).status());
        for (String[] request : new String[][] {
            {"GET", "/v1/sessions/" + id, ""},
            {"DELETE", "/v1/sessions/" + id, ""},
            {"POST", "/v1/sessions/" + id + "/fork", "{}"},
            {"POST", "/v1/sessions/" + id + "/rewind", "{\"tokens\":0}"},
            {"GET", "/v1/sessions/" + id + "/state", ""},
            {"POST", "/v1/sessions", "{\"from\":\"" + id + "\"}"},
            {"POST", "/v1/completions", turn(id, "abc", 1)},
            {"GET", "/v1/sessions/sess_00000000000000000000000000000000", ""}
        }) {
            var answer = server.send(request[0], request[1], request[2], foreign);

            assertEquals(404, answer.status(), request[1]);
            assertEquals("session_not_found", answer.error().path("code").asText());
        }
        assertEquals(
                0,
                server.send("GET", "/v1/sessions", "", foreign)
                        .json()
                        .path("data")
                        .size());
        assertEquals(
                1,
                server.send("GET", "/v1/sessions", "", mine).json().path("data").size());
    }

    @Test
    void oneTurnAtATime() {
        var backend = restartSlow(Duration.ofSeconds(2));
        String id = create("{}");
        var first = CompletableFuture.supplyAsync(() -> server.complete(turn(id, "abc", 1)));
        TestServer.await("a turn", () -> session(id).path("busy").asBoolean());

        String patient = turn(id, "abc", 1).replace("{\"session\"", "{\"session_wait\":60,\"session\"");
        var next = CompletableFuture.supplyAsync(() -> server.complete(patient));
        var refused = server.complete(turn(id, "abc", 1));
        backend.hurry();
        assertEquals(200, first.join().status());
        var waiting = next.join();

        assertEquals(409, refused.status());
        assertEquals("session_busy", refused.error().path("code").asText());
        assertEquals(200, waiting.status());
        assertEquals(2, session(id).path("turns").asInt());
    }

    @Test
    void clientThatGoesInATurnLeavesTheSessionAsItWas() throws IOException {
        restartSlow(Duration.ofMillis(4));
        String id = create("{\"prompt\":\"abc\"}");
        var before = session(id);
        String endless = "{\"session\":\"" + id + "\",\"prompt\":\"x\",\"max_tokens\":100000,\"stream\":true}";

        try (Socket socket = server.connect()) {
            socket.getOutputStream().write(TestServer.wire(endless).getBytes(StandardCharsets.UTF_8));
            TestServer.await("a turn", () -> session(id).path("busy").asBoolean());
            assertEquals('H', socket.getInputStream().read());
        }
        TestServer.await("no turn", () -> !session(id).path("busy").asBoolean());

        assertEquals(before.path("digest"), session(id).path("digest"));
        assertEquals(200, server.complete(turn(id, "abc", 1)).status());
    }

    @Test
    void runningTurnIsForkedAtItsToken() throws Exception {
        var backend = restartSlow(Duration.ofMillis(100));
        String id = create("{\"prompt\":\"abc\"}");
        String body = "{\"session\":\"" + id + "\",\"prompt\":\"de\",\"max_tokens\":120,\"ignore_eos\":true,"
                + "\"return_token_ids\":true,\"seed\":3}";
        var running = CompletableFuture.supplyAsync(() -> server.complete(body));
        TestServer.await("a turn", () -> server.stats().sampledTokenCount() > 1);

        var forks = post("/v1/sessions/" + id + "/fork", "{\"count\":3}").json().path("data");
        backend.hurry();

        var answer = ids(running.join().json());
        assertEquals(120, answer.size());
        assertEquals(3, forks.size());
        int tokens = forks.path(0).path("tokens").asInt();
        assertTrue(tokens > 5 && tokens < 125, "forked at " + tokens);
        var history = bytes("abcde");
        history.addAll(answer.subList(0, tokens - 5));
        for (JsonNode fork : forks) {
            history.addAll(bytes("!"));
            assertEquals(
                    whole(history, 8),
                    ids(server.complete(turn(fork.path("id").asText(), "!", 8)).json()));
            history.removeLast();
        }
    }

    @Test
    void rewindListAndDelete() {
        String id = create("{\"prompt\":\"abc\"}");
        server.complete(turn(id, "def", 1));
        assertEquals(18, session(id).path("tokens").asInt());

        var rewound = post("/v1/sessions/" + id + "/rewind", "{\"tokens\":3}").json();
        var tooFar = post("/v1/sessions/" + id + "/rewind", "{\"tokens\":4}");

        assertEquals(3, rewound.path("tokens").asInt());
        assertEquals(List.of(3), List.of(rewound.path("checkpoints").path(0).asInt()));
        assertEquals(400, tooFar.status());
        var history = bytes("abcx");
        assertEquals(whole(history, 2), ids(server.complete(turn(id, "x", 2)).json()));
        String other = create("{\"from\":\"" + id + "\"}");
        var page = server.get("/v1/sessions?limit=1").json();
        assertTrue(page.path("has_more").asBoolean());
        String first = page.path("data").path(0).path("id").asText();
        var next = server.get("/v1/sessions?limit=1&after=" + first).json();
        assertFalse(next.path("has_more").asBoolean());
        assertEquals(400, server.get("/v1/sessions?limit=0").status());
        assertEquals(
                200, server.send("DELETE", "/v1/sessions/" + id, "", Map.of()).status());
        assertEquals(404, server.get("/v1/sessions/" + id).status());
        assertEquals(16, session(other).path("tokens").asInt());
    }

    private HttpResponse<byte[]> state(String method, String id, byte[] body, String key) throws Exception {
        var request = HttpRequest.newBuilder(
                        URI.create("http://127.0.0.1:" + server.port() + "/v1/sessions/" + id + "/state"))
                .header("Authorization", "Bearer " + key)
                .header("Content-Type", "application/octet-stream")
                .method(method, HttpRequest.BodyPublishers.ofByteArray(body));
        return client.send(request.build(), HttpResponse.BodyHandlers.ofByteArray());
    }

    @Test
    void stateGoesToAnotherServerWithTheSameSecretAndKeyOnly() throws Exception {
        restart("--api-keys", "one,two", "--state-secret", "s3cret");
        var mine = Map.of("Content-Type", "application/json", "Authorization", "Bearer one");
        String id = server.send("POST", "/v1/sessions", "{\"prompt\":\"abc\"}", mine)
                .json()
                .path("id")
                .asText();
        server.send("POST", "/v1/completions", turn(id, "de", 1), mine);
        byte[] sealed = state("GET", id, new byte[0], "one").body();
        var next = ids(
                server.send("POST", "/v1/completions", turn(id, "f", 2), mine).json());

        restart("--api-keys", "one,two", "--state-secret", "s3cret");
        String copy = server.send("POST", "/v1/sessions", "{}", mine)
                .json()
                .path("id")
                .asText();
        assertEquals(200, state("PUT", copy, sealed, "one").statusCode());
        assertEquals(
                next,
                ids(server.send("POST", "/v1/completions", turn(copy, "f", 2), mine)
                        .json()));

        var theirs = Map.of("Content-Type", "application/json", "Authorization", "Bearer two");
        String foreign = server.send("POST", "/v1/sessions", "{}", theirs)
                .json()
                .path("id")
                .asText();
        assertRefused("of another tenant", state("PUT", foreign, sealed, "two"));
        byte[] flipped = sealed.clone();
        flipped[flipped.length / 2] ^= 1;
        assertRefused("was changed", state("PUT", copy, flipped, "one"));
        assertRefused("was changed", state("PUT", copy, java.util.Arrays.copyOf(sealed, 100), "one"));
        assertRefused(
                "unsealed-states is off", state("PUT", copy, java.util.Arrays.copyOfRange(sealed, 40, 90), "one"));
        assertRefused("unsealed-states is off", state("PUT", copy, new byte[0], "one"));
        restart("--api-keys", "one,two", "--state-secret", "other");
        String last = server.send("POST", "/v1/sessions", "{}", mine)
                .json()
                .path("id")
                .asText();
        assertRefused("another state-secret", state("PUT", last, sealed, "one"));
    }

    private static void assertRefused(String reason, HttpResponse<byte[]> response) {
        String body = new String(response.body(), StandardCharsets.UTF_8);
        assertEquals(400, response.statusCode(), body);
        assertTrue(body.contains(reason) && body.contains("invalid_state"), body);
    }

    @Test
    void restartedServerGoesOn() {
        restart("--sessions-dir", directory.toString());
        String id = create("{\"prompt\":\"abc\"}");
        var answer = ids(server.complete(turn(id, "de", 1)).json());
        var before = session(id);

        restart("--sessions-dir", directory.toString());

        assertEquals(before.path("digest"), session(id).path("digest"));
        assertEquals(before.path("tokens"), session(id).path("tokens"));
        var history = bytes("abcde");
        history.addAll(answer);
        history.addAll(bytes("f"));
        assertEquals(whole(history, 2), ids(server.complete(turn(id, "f", 2)).json()));
    }

    @Test
    void directoryThatCannotBeHadStopsTheStart() {
        restart("--sessions-dir", directory.toString());
        try {
            TestServer.start("--sessions-dir", directory.toString()).close();
        } catch (StartException e) {
            assertTrue(String.valueOf(e.getMessage()).contains("another process uses it"), e.getMessage());
            return;
        }
        throw new AssertionError("two servers have one directory");
    }

    @Test
    void sessionsAreBounded() {
        restart("--sessions-max", "1");
        create("{}");

        var answer = post("/v1/sessions", "{}");

        assertEquals(429, answer.status());
        assertEquals("sessions_full", answer.error().path("code").asText());
        assertEquals("60", answer.header("retry-after"));
    }

    private double metric(String name, String tier) {
        var search = server.application().metrics().registry().get(name);
        if (!tier.isEmpty()) {
            search = search.tag("tier", tier);
        }
        return search.meter().measure().iterator().next().getValue();
    }

    /** Not by metrics: those are remembered for a while, and a state may leave memory while a turn runs, too. */
    private void awaitArchived(String id) {
        TestServer.await(
                "in the archive alone", () -> session(id).path("tier").asText().equals("archive"));
    }

    @Test
    void metricsTellOfTurnsAndTiers() {
        restart("--sessions-dir", directory.toString(), "--sessions-memory-max", "0B");
        String id = create("{\"prompt\":\"abc\"}");
        awaitArchived(id);
        server.complete(turn(id, "de", 1));
        awaitArchived(id);
        server.complete(turn(id, "f", 1));
        awaitArchived(id);
        create("{}");

        TestServer.await("a session of tokens alone", () -> metric(Metrics.SESSIONS, "tokens") == 1);
        TestServer.await("each demotion", () -> metric(Metrics.SESSION_DEMOTIONS, "") >= 3);
        assertEquals(1, metric(Metrics.SESSIONS, "archive"));
        assertEquals(3, metric(Metrics.SESSION_COMMITS, ""));
        assertEquals(0, metric(Metrics.SESSIONS, "memory"));
        assertTrue(metric(Metrics.SESSION_BYTES, "archive") > 0);
        assertEquals(2, metric(Metrics.SESSION_TURNS, "archive"));
        assertEquals(2, metric(Metrics.SESSION_PROMOTIONS, ""));
        assertEquals(0, metric(Metrics.SESSION_RESTORE_FAILURES, ""));
    }

    @Test
    void turnThatEndsByItsDeadlineAnswersAndLeavesTheSessionAsItWas() {
        restartSlow(Duration.ofMillis(4));
        String id = create("{\"prompt\":\"abc\"}");
        var before = session(id);
        String endless = "{\"session\":\"" + id + "\",\"prompt\":\"x\",\"max_tokens\":1000000,\"ignore_eos\":true";

        var late = server.complete(endless + ",\"deadline_seconds\":0.3}");
        for (double seconds = 1; late.status() == 504 && seconds < 60; seconds *= 3) {
            late = server.complete(endless + ",\"deadline_seconds\":" + seconds + "}"); // it had not begun
        }

        var choice = late.json().path("choices").path(0);
        assertEquals(200, late.status());
        assertEquals("length", choice.path("finish_reason").asText());
        assertEquals("deadline", choice.path("stop_reason").asText());
        assertFalse(choice.path("text").asText().isEmpty());
        assertEquals(before.path("digest"), session(id).path("digest"));
        assertFalse(session(id).path("busy").asBoolean());
        assertEquals(
                whole(bytes("abcde"), 4), ids(server.complete(turn(id, "de", 4)).json()));
    }

    @Test
    void stateLargerThanOtherBodiesIsUploaded() throws Exception {
        restart("--body-bytes-max", "1KiB", "--state-secret", "s3cret");
        String id = create("{\"prompt\":\"" + "abcd".repeat(100) + "\"}");
        server.complete(turn(id, "de", 1));
        byte[] sealed = state("GET", id, new byte[0], "").body();
        String copy = create("{}");

        assertTrue(sealed.length > 1_024, "only " + sealed.length);
        assertEquals(200, state("PUT", copy, sealed, "").statusCode());
        assertEquals(session(id).path("digest"), session(copy).path("digest"));
        assertEquals(413, state("PUT", copy, new byte[5 << 20], "").statusCode());
        assertEquals(
                413,
                post("/v1/sessions", "{\"prompt\":\"" + "x".repeat(2_000) + "\"}")
                        .status());
    }
}
