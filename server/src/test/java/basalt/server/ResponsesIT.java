package basalt.server;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import basalt.engine.backend.fake.FakeBackend;
import basalt.server.fixture.WordTokenizer;
import com.fasterxml.jackson.databind.JsonNode;
import java.io.IOException;
import java.net.Socket;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class ResponsesIT {
    private static final Map<String, String> JSON = Map.of("Content-Type", "application/json");
    private static final String SETTINGS = ",\"seed\":5,\"max_output_tokens\":12,\"ignore_eos\":true";

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

    private TestServer.Answer post(String body) {
        return server.send("POST", "/v1/responses", body, JSON);
    }

    private JsonNode respond(String fields) {
        var answer = post("{" + fields + SETTINGS + "}");
        assertEquals(200, answer.status(), answer.body());
        return answer.json();
    }

    private static String id(JsonNode response) {
        return response.path("id").asText();
    }

    private static String text(JsonNode response) {
        return response.path("output")
                .path(0)
                .path("content")
                .path(0)
                .path("text")
                .asText();
    }

    private static String following(JsonNode response) {
        return ",\"previous_response_id\":\"" + id(response) + "\"";
    }

    private static String message(String role, String content) {
        return "{\"role\":\"" + role + "\",\"content\":\"" + content + "\"}";
    }

    /** What a chat answers, on a session or on none. */
    private String chat(String session, String... messages) {
        String body =
                "{\"messages\":[" + String.join(",", messages) + "],\"seed\":5,\"max_tokens\":12,\"ignore_eos\":true"
                        + (session.isEmpty() ? "" : ",\"session\":\"" + session + "\"") + "}";
        var answer = server.chat(body).json();
        return answer.path("choices").path(0).path("message").path("content").asText();
    }

    private String session() {
        return server.send("POST", "/v1/sessions", "{}", JSON).json().path("id").asText();
    }

    @Test
    void answersAsAChatDoes() {
        var response =
                respond("\"input\":\"How deep?\",\"instructions\":\"Be brief.\",\"metadata\":{\"a\":\"b\",\"c\":\""
                        + "\ud83d\ude42".repeat(512) + "\"}");

        assertEquals(chat("", message("system", "Be brief."), message("user", "How deep?")), text(response));
        assertEquals("incomplete", response.path("status").asText());
        assertEquals(
                "max_output_tokens",
                response.path("incomplete_details").path("reason").asText());
        assertEquals("Be brief.", response.path("instructions").asText());
        assertEquals("b", response.path("metadata").path("a").asText());
        assertEquals(12, response.path("usage").path("output_tokens").asInt());
    }

    @Test
    void messagesAndPartsAreOneInput() {
        String answer = "{\"type\":\"message\",\"id\":\"msg_1\",\"status\":\"completed\",\"role\":\"assistant\","
                + "\"content\":[{\"type\":\"output_text\",\"text\":\"b\",\"annotations\":[]}]}";
        String question = "{\"role\":\"user\",\"content\":[{\"type\":\"input_text\",\"text\":\"c\"}]}";
        String said = message("user", "a") + "," + answer + "," + question;

        var response = respond("\"input\":[" + said + "]");

        assertEquals(chat("", message("user", "a"), message("assistant", "b"), message("user", "c")), text(response));
    }

    @Test
    void followingReadsOnlyWhatIsNewAndAnswersAsWithTheWholePast() {
        var first = respond("\"input\":\"a\"");
        var second = respond("\"input\":\"b\"" + following(first));
        var branch = respond("\"input\":\"c\"" + following(first));

        assertEquals(3, server.get("/v1/sessions").json().path("data").size());
        for (String next : List.of("b", "c")) {
            String session = session();
            assertEquals(text(first), chat(session, message("user", "a")));
            assertEquals(text(next.equals("b") ? second : branch), chat(session, message("user", next)));
        }
        var usage = second.path("usage");
        long firstTokens = first.path("usage").path("total_tokens").asLong();
        assertEquals(
                firstTokens - 1,
                usage.path("input_tokens_details").path("cached_tokens").asLong());
        assertTrue(usage.path("input_tokens").asLong() > firstTokens);
        assertEquals(id(first), second.path("previous_response_id").asText());
    }

    @Test
    void sameInstructionsAreReadOnceAndOthersWhereTheyAreGiven() {
        var first = respond("\"input\":\"a\",\"instructions\":\"X.\"");
        var same = respond("\"input\":\"b\",\"instructions\":\"X.\"" + following(first));
        var none = respond("\"input\":\"b\"" + following(first));
        var other = respond("\"input\":\"b\",\"instructions\":\"Y.\"" + following(first));

        assertEquals(text(same), text(none));
        assertEquals("X.", none.path("instructions").asText());
        String session = session();
        assertEquals(text(first), chat(session, message("system", "X."), message("user", "a")));
        assertEquals(text(other), chat(session, message("system", "Y."), message("user", "b")));
    }

    @Test
    void storedOneIsLookedAtAndDroppedAndOutlivesARestart() {
        restart("--sessions-dir", directory.toString());
        var first = respond("\"input\":\"a\"");
        var second = respond("\"input\":\"b\"" + following(first));

        assertEquals(first, server.get("/v1/responses/" + id(first)).json());
        restart("--sessions-dir", directory.toString());
        assertEquals(second, server.get("/v1/responses/" + id(second)).json());
        var third = respond("\"input\":\"c\"" + following(second));
        var deleted = server.send("DELETE", "/v1/responses/" + id(second), "", Map.of());

        assertEquals(200, deleted.status());
        var gone = server.get("/v1/responses/" + id(second));
        assertEquals(404, gone.status());
        assertEquals("response_not_found", gone.error().path("code").asText());
        assertEquals(200, server.get("/v1/responses/" + id(third)).status());
        assertEquals(404, post("{\"input\":\"d\"" + following(second) + "}").status());
    }

    @Test
    void unstoredOneLeavesNothing() {
        var first = respond("\"input\":\"a\"");
        var second = respond("\"input\":\"b\",\"store\":false" + following(first));
        var alone = respond("\"input\":\"a\",\"store\":false");

        assertEquals(text(first), text(alone));
        assertEquals(404, server.get("/v1/responses/" + id(second)).status());
        assertEquals(404, server.get("/v1/responses/" + id(alone)).status());
        assertEquals(
                "previous_response_id",
                post("{\"input\":\"d\"" + following(alone) + "}")
                        .error()
                        .path("param")
                        .asText());
        TestServer.await(
                "one session",
                () -> server.get("/v1/sessions").json().path("data").size() == 1);
    }

    @Test
    void anothersIsNotFound() {
        restart("--api-keys", "one,two");
        var one = Map.of("Content-Type", "application/json", "Authorization", "Bearer one");
        var two = Map.of("Content-Type", "application/json", "Authorization", "Bearer two");
        var mine = server.send("POST", "/v1/responses", "{\"input\":\"a\",\"max_output_tokens\":2}", one)
                .json();

        assertEquals(
                404, server.send("GET", "/v1/responses/" + id(mine), "", two).status());
        assertEquals(
                404, server.send("DELETE", "/v1/responses/" + id(mine), "", two).status());
        String following = "{\"input\":\"a\"" + following(mine) + "}";
        assertEquals(404, server.send("POST", "/v1/responses", following, two).status());
        assertEquals(200, server.send("POST", "/v1/responses", following, one).status());
    }

    @Test
    void streamTellsTheSameInNamedEvents() {
        var whole = respond("\"input\":\"a\"");
        var stream = post("{\"input\":\"a\",\"stream\":true" + SETTINGS + "}");

        var events = stream.chunks();
        var types = events.stream().map(event -> event.path("type").asText()).toList();
        assertEquals(
                List.of(
                        "response.created",
                        "response.in_progress",
                        "response.output_item.added",
                        "response.content_part.added"),
                types.subList(0, 4));
        assertEquals(
                List.of(
                        "response.output_text.done",
                        "response.content_part.done",
                        "response.output_item.done",
                        "response.incomplete"),
                types.subList(types.size() - 4, types.size()));
        var text = new StringBuilder();
        for (int i = 0; i < events.size(); i++) {
            assertEquals(i, events.get(i).path("sequence_number").asInt());
            text.append(events.get(i).path("delta").asText());
        }
        assertEquals(text(whole), text.toString());
        var last = events.getLast().path("response");
        assertEquals(text(whole), text(last));
        assertEquals(whole.path("usage"), last.path("usage"));
        assertEquals(last, server.get("/v1/responses/" + id(last)).json());
    }

    @Test
    void resumableStreamIsReadAgain() {
        var stream = post("{\"input\":\"a\",\"stream\":true,\"resumable\":true" + SETTINGS + "}");

        var again = server.get("/v1/streams/" + stream.header("x-stream-id"));

        assertEquals(stream.chunks(), again.chunks());
    }

    @Test
    void clientThatGoesLeavesNothing() throws IOException {
        server.close();
        server = TestServer.start(
                FakeBackend.Options.DEFAULT.withTimes(Duration.ofMillis(4).toNanos(), 0),
                Optional.of(new WordTokenizer(TestServer.VOCAB_SIZE)));
        String body = "{\"input\":\"a\",\"stream\":true,\"max_output_tokens\":1000000,\"ignore_eos\":true}";
        try (Socket socket = server.connect()) {
            String request = TestServer.wire(body).replace("/v1/completions", "/v1/responses");
            socket.getOutputStream().write(request.getBytes(StandardCharsets.UTF_8));
            TestServer.await("a turn", () -> server.stats().busySlotCount() > 0);
            assertEquals('H', socket.getInputStream().read());
        }

        TestServer.await(
                "no session",
                () -> server.get("/v1/sessions").json().path("data").isEmpty());
    }

    @Test
    void deadlineBeforeTheEndIsAFailureThatIsNotStored() {
        server.close();
        server = TestServer.start(
                FakeBackend.Options.DEFAULT.withTimes(Duration.ofMillis(4).toNanos(), 0),
                Optional.of(new WordTokenizer(TestServer.VOCAB_SIZE)));
        String body = "{\"input\":\"a\",\"max_output_tokens\":1000000,\"ignore_eos\":true,\"deadline_seconds\":";

        double seconds = 0.2;
        var response = post(body + seconds + "}").json();
        while (text(response).isEmpty() && seconds < 60) {
            seconds *= 4; // it had not begun
            response = post(body + seconds + "}").json();
        }
        var stream =
                post(body.replace("{", "{\"stream\":true,") + 4 * seconds + "}").chunks();

        assertEquals("failed", response.path("status").asText());
        assertTrue(response.path("error").path("message").asText().contains("deadline"), response.toString());
        assertNotEquals("", text(response));
        assertEquals("response.failed", stream.getLast().path("type").asText());
        assertTrue(server.get("/v1/sessions").json().path("data").isEmpty());
    }

    @ParameterizedTest(name = "{0}")
    @CsvSource(
            delimiter = '|',
            value = {
                "tools                | [{\"type\":\"function\"}]",
                "tool_choice          | {\"type\":\"function\"}",
                "tool_choice          | \"required\"",
                "include              | [\"reasoning.encrypted_content\"]",
                "conversation         | \"conv_1\"",
                "reasoning            | {}",
                "text.format          | X{\"format\":{\"type\":\"json_object\"}}",
                "text.verbosity       | X{\"verbosity\":\"low\"}",
                "max_tokens           | 3",
                "session              | \"sess_1\"",
                "n                    | 2",
                "input[0].type        | I[{\"type\":\"function_call\"}]",
                "input[0].content[0].type | I[{\"role\":\"user\",\"content\":[{\"type\":\"input_image\"}]}]",
            })
    void whatCannotWorkIsRefusedByName(String param, String value) {
        String field = value.startsWith("X") ? "\"text\":" + value.substring(1) : "\"" + param + "\":" + value;
        String body =
                value.startsWith("I") ? "{\"input\":" + value.substring(1) + "}" : "{\"input\":\"a\"," + field + "}";

        var answer = post(body);

        assertEquals(400, answer.status(), answer.body());
        assertEquals("unsupported_parameter", answer.error().path("code").asText());
        assertEquals(param, answer.error().path("param").asText());
    }

    @Test
    void badInputIsRefusedAndLeavesNothing() {
        var refused = new ArrayList<String>();
        for (String body : List.of(
                "{}",
                "{\"input\":[]}",
                "{\"input\":3}",
                "{\"input\":\"a\",\"max_output_tokens\":0}",
                "{\"input\":\"a\",\"previous_response_id\":\"resp_zz\"}",
                "{\"input\":\"a\",\"previous_response_id\":\"sess_zz\"}",
                "{\"input\":[{\"role\":\"user\"}]}",
                "{\"input\":\"a\",\"resumable\":true}")) {
            refused.add(
                    post(body).status() + " " + post(body).error().path("param").asText());
        }

        assertEquals(
                List.of(
                        "400 input",
                        "400 input",
                        "400 input",
                        "400 max_output_tokens",
                        "404 previous_response_id",
                        "404 previous_response_id",
                        "400 input[0].content",
                        "400 resumable"),
                refused);
        assertTrue(server.get("/v1/sessions").json().path("data").isEmpty());
    }
}
