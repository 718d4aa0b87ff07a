package basalt.server;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import basalt.engine.backend.fake.FakeBackend;
import basalt.server.fixture.WordTokenizer;
import com.fasterxml.jackson.databind.JsonNode;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Optional;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Responses that are made in the background, and what is told of stored ones. */
class StoredResponsesIT {
    private static final String ENDLESS =
            "{\"input\":\"a\",\"background\":true,\"max_output_tokens\":10000000," + "\"ignore_eos\":true}";

    @TempDir
    private Path directory;

    private TestServer server = slow();

    private static TestServer slow(String... args) {
        var options = FakeBackend.Options.DEFAULT.withTimes(Duration.ofMillis(4).toNanos(), 0);
        return TestServer.start(options, Optional.of(new WordTokenizer(TestServer.VOCAB_SIZE)), args);
    }

    @AfterEach
    void stop() {
        server.awaitFree();
        server.close();
    }

    private TestServer.Answer send(String method, String path, String body, String key) {
        var headers = new HashMap<String, String>();
        if (!body.isEmpty()) {
            headers.put("Content-Type", "application/json");
        }
        if (!key.isEmpty()) {
            headers.put("Authorization", "Bearer " + key);
        }
        return server.send(method, "/v1/responses" + path, body, headers);
    }

    private JsonNode made(String body) {
        var answer = send("POST", "", body, "");
        assertEquals(200, answer.status(), answer.body());
        return answer.json();
    }

    private static String path(JsonNode response) {
        return "/" + response.path("id").asText();
    }

    private JsonNode ended(JsonNode response) {
        TestServer.await("the end", () -> !status(response).equals("in_progress"));
        return send("GET", path(response), "", "").json();
    }

    private String status(JsonNode response) {
        return send("GET", path(response), "", "").json().path("status").asText();
    }

    private static String text(JsonNode response) {
        return response.path("output")
                .path(0)
                .path("content")
                .path(0)
                .path("text")
                .asText();
    }

    @Test
    void backgroundResponseIsTheSameAsOneThatIsWaitedFor() {
        String body = "{\"input\":\"a\",\"seed\":1,\"max_output_tokens\":20,\"ignore_eos\":true}";
        var expected = made(body);

        var begun = made(body.replace("{\"input\"", "{\"background\":true,\"input\""));
        assertEquals("in_progress", begun.path("status").asText());
        assertTrue(begun.path("background").asBoolean());
        var ended = ended(begun);

        assertEquals("incomplete", ended.path("status").asText());
        assertEquals(text(expected), text(ended));
        assertEquals(expected.path("usage"), ended.path("usage"));
        String next = "{\"input\":\"b\",\"seed\":2,\"max_output_tokens\":5,\"previous_response_id\":\"%s\"}";
        assertEquals(
                text(made(next.formatted(expected.path("id").asText()))),
                text(made(next.formatted(ended.path("id").asText()))));
    }

    @Test
    void cancelledResponseShowsWhatItHasAndCannotBeFollowed() {
        var begun = made(ENDLESS);
        TestServer.await("a few tokens", () -> server.stats().sampledTokenCount() > 5);

        var cancelled = send("POST", path(begun) + "/cancel", "", "");

        assertEquals(200, cancelled.status());
        assertEquals("cancelled", cancelled.json().path("status").asText());
        assertNotEquals("", text(cancelled.json()));
        assertEquals(cancelled.json(), send("GET", path(begun), "", "").json());
        assertEquals(
                cancelled.json(), send("POST", path(begun) + "/cancel", "", "").json());
        server.awaitFree();
        var follower = send(
                "POST",
                "",
                "{\"input\":\"b\",\"previous_response_id\":\""
                        + begun.path("id").asText() + "\"}",
                "");
        assertEquals(400, follower.status());
        assertEquals("previous_response_id", follower.error().path("param").asText());
    }

    @Test
    void runningOneIsNotFollowedAndIsDroppedWithItsTurn() {
        var begun = made(ENDLESS);

        var follower = send(
                "POST",
                "",
                "{\"input\":\"b\",\"previous_response_id\":\""
                        + begun.path("id").asText() + "\"}",
                "");
        assertEquals(409, follower.status());
        assertEquals(200, send("DELETE", path(begun), "", "").status());

        assertEquals(404, send("GET", path(begun), "", "").status());
        server.awaitFree();
        assertTrue(server.get("/v1/sessions").json().path("data").isEmpty());
    }

    @Test
    void oneThatFailsSaysSo() {
        var begun = made(ENDLESS.replace("{", "{\"deadline_seconds\":0.2,"));

        var ended = ended(begun);

        assertEquals("failed", ended.path("status").asText());
        assertTrue(ended.path("error").path("message").asText().contains("deadline"), ended.toString());
    }

    @Test
    void backgroundCountsAsOpenOfItsKeyAndIsNobodyElses() {
        server.close();
        server = slow("--api-keys", "one,two", "--key-requests-max", "1");
        var begun = send("POST", "", ENDLESS, "one").json();

        assertEquals(429, send("POST", "", ENDLESS, "one").status());
        assertEquals(404, send("GET", path(begun), "", "two").status());
        assertEquals(404, send("POST", path(begun) + "/cancel", "", "two").status());
        assertEquals(200, send("POST", path(begun) + "/cancel", "", "one").status());
        TestServer.await(
                "room for another one",
                () -> send("POST", "", "{\"input\":\"a\",\"max_output_tokens\":1}", "one")
                                .status()
                        == 200);
    }

    @Test
    void drainWaitsForTheBackground() throws Exception {
        server.close();
        server = slow("--sessions-dir", directory.toString(), "--drain-delay", "0s");
        var begun = made("{\"input\":\"a\",\"background\":true,\"max_output_tokens\":50,\"ignore_eos\":true}");

        server.application().drain();
        server.close();
        server = slow("--sessions-dir", directory.toString());

        assertEquals("incomplete", status(begun));
    }

    @Test
    void whatADrainHasNoTimeForSaysSoAfterTheNextStart() throws Exception {
        server.close();
        server = slow("--sessions-dir", directory.toString(), "--drain-delay", "0s", "--drain-timeout", "0s");
        var begun = made(ENDLESS);
        TestServer.await("a few tokens", () -> server.stats().sampledTokenCount() > 5);

        server.application().drain();
        server.close();
        server = slow("--sessions-dir", directory.toString());

        var ended = send("GET", path(begun), "", "").json();
        assertEquals("failed", ended.path("status").asText());
        assertTrue(ended.path("error").path("message").asText().contains("shutting down"), ended.toString());
        assertNotEquals("", text(ended));
        assertEquals(200, send("POST", path(begun) + "/cancel", "", "").status());
        assertEquals(200, send("DELETE", path(begun), "", "").status());
        assertTrue(server.get("/v1/sessions").json().path("data").isEmpty());
    }

    /** What a killed server leaves is what its directory holds. */
    @Test
    void whatAKilledServerHadBegunSaysSoAfterTheNextStart() throws Exception {
        server.close();
        Path left = directory.resolve("left");
        server = slow("--sessions-dir", directory.resolve("live").toString());
        String body = ENDLESS.replace("\"a\"", "\"abc\"");
        var begun = made(body);
        Files.createDirectory(left);
        try (var files = Files.newDirectoryStream(directory.resolve("live"))) {
            for (Path file : files) {
                Files.copy(file, left.resolve(file.getFileName()));
            }
        }
        send("POST", path(begun) + "/cancel", "", "");
        server.close();
        server = slow("--sessions-dir", left.toString());

        var ended = send("GET", path(begun), "", "").json();
        assertEquals("failed", ended.path("status").asText());
        assertTrue(ended.path("error").path("message").asText().contains("send its request again"), ended.toString());
        assertEquals(
                "abc",
                send("GET", path(begun) + "/input_items", "", "")
                        .json()
                        .path("data")
                        .path(0)
                        .path("content")
                        .path(0)
                        .path("text")
                        .asText());
        assertEquals(
                400,
                send(
                                "POST",
                                "",
                                "{\"input\":\"b\",\"previous_response_id\":\""
                                        + begun.path("id").asText() + "\"}",
                                "")
                        .status());
    }

    @Test
    void whatABackgroundCannotBeIsRefused() {
        var refused = new ArrayList<String>();
        for (String more : List.of("\"store\":false", "\"stream\":true")) {
            var answer = send("POST", "", "{\"input\":\"a\",\"background\":true," + more + "}", "");
            refused.add(answer.status() + " " + answer.error().path("param").asText());
        }
        var waited = made("{\"input\":\"a\",\"max_output_tokens\":1}");
        refused.add("" + send("POST", path(waited) + "/cancel", "", "").status());
        var streamed = send("GET", path(waited) + "?stream=true", "", "");
        refused.add(streamed.status() + " " + streamed.error().path("param").asText());

        assertEquals(List.of("400 store", "400 stream", "400", "400 stream"), refused);
        assertEquals(1, server.get("/v1/sessions").json().path("data").size());
    }

    @Test
    void inputItemsAreListedInPages() {
        var made = made("{\"input\":[{\"role\":\"user\",\"content\":\"one\\nline é\"},"
                + "{\"role\":\"assistant\",\"content\":\"two\"},"
                + "{\"role\":\"user\",\"content\":[{\"type\":\"input_text\",\"text\":\"three\"}]}],"
                + "\"max_output_tokens\":1}");
        String path = path(made) + "/input_items";

        var newest = send("GET", path, "", "").json();
        var first = send("GET", path + "?order=asc&limit=2", "", "").json();
        String last = first.path("last_id").asText();
        var second =
                send("GET", path + "?order=asc&limit=2&after=" + last, "", "").json();

        assertEquals(List.of("three", "two", "one\nline é"), texts(newest));
        assertEquals(List.of("one\nline é", "two"), texts(first));
        assertTrue(first.path("has_more").asBoolean());
        assertEquals(List.of("three"), texts(second));
        assertFalse(second.path("has_more").asBoolean());
        assertEquals(
                "output_text",
                first.path("data").path(1).path("content").path(0).path("type").asText());
        assertEquals(400, send("GET", path + "?after=msg_x", "", "").status());
        assertEquals(400, send("GET", path + "?order=up", "", "").status());
        assertEquals(400, send("GET", path + "?limit=101", "", "").status());
        assertEquals(404, send("GET", "/resp_x/input_items", "", "").status());
    }

    private static List<String> texts(JsonNode page) {
        var texts = new ArrayList<String>();
        page.path("data")
                .forEach(item ->
                        texts.add(item.path("content").path(0).path("text").asText()));
        return texts;
    }
}
