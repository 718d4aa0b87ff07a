package basalt.server;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.IOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.file.Path;
import java.util.Map;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;

/**
 * Numbers looked up in directories of the prompt, by the default model over HTTP: the tokens are those that the
 * training script's model gives without a state, so the share of right answers is the same too. A state that loses or
 * mixes what it read fails here: as it is, moved to another server, and forked.
 */
class RecallGoldenIT {
    private static final Path MODEL = Path.of("..", "models", "based-10m");
    /** {@code training/questions.py models/based-10m FILE} remakes it. */
    private static final Path GOLDEN = Path.of("src", "test", "resources", "golden", "recall.json");

    private static final Map<String, String> JSON_BODY = Map.of("Content-Type", "application/json");
    private static final int CASES = 12;
    private static final int FORKS = 16;

    private static JsonNode cases;
    private static TestServer server;
    private static TestServer other;

    @BeforeAll
    static void start() throws IOException {
        cases = TestServer.JSON.readTree(GOLDEN.toFile()).path("cases");
        assertEquals(CASES, cases.size());
        server = startServer();
        other = startServer();
    }

    private static TestServer startServer() {
        return TestServer.start(
                LoadedModel::load,
                "--model",
                MODEL.toString(),
                "--backend",
                "cpu",
                "--slots",
                "2",
                "--state-secret",
                "shared by both");
    }

    @AfterAll
    static void stop() {
        server.awaitFree();
        other.awaitFree();
        server.close();
        other.close();
    }

    @Test
    void answersAreThoseOfTheTrainingScript() {
        int rightCount = 0;
        for (JsonNode golden : cases) {
            String text = check(
                    golden,
                    complete(server, request(golden, golden.path("prompt").asText())));
            rightCount += text.startsWith(" " + golden.path("number").asText()) ? 1 : 0;
        }

        assertTrue(rightCount >= CASES - 1, rightCount + " of " + CASES + " numbers are right: the model recalls");
    }

    @Test
    void movedSessionAnswersTheSame() throws Exception {
        try (var client = HttpClient.newHttpClient()) {
            for (JsonNode golden : cases) {
                String id = read(golden);
                byte[] state = state(client, server, "GET", id, new byte[0]);
                String moved = create(other, TestServer.JSON.createObjectNode());
                state(client, other, "PUT", moved, state);

                answerFromState(other, golden, moved);
            }
        }
    }

    @Test
    void eachForkAnswersTheSame() {
        for (JsonNode golden : cases) {
            var answer = server.send(
                    "POST", "/v1/sessions/" + read(golden) + "/fork", "{\"count\":" + FORKS + "}", JSON_BODY);
            assertEquals(200, answer.status(), answer.body());
            JsonNode forks = answer.json().path("data");
            assertEquals(FORKS, forks.size());

            for (JsonNode fork : forks) {
                answerFromState(server, golden, fork.path("id").asText());
            }
        }
    }

    /** A session of the server that has read the directory, without the question. */
    private static String read(JsonNode golden) {
        String prompt = golden.path("prompt").asText();
        String directory = prompt.substring(0, prompt.length() - ask(golden).length());
        return create(server, TestServer.JSON.createObjectNode().put("prompt", directory));
    }

    /** The question, from its line end on, so that its tokens are those that it has in the whole prompt. */
    private static String ask(JsonNode golden) {
        String prompt = golden.path("prompt").asText();
        return prompt.substring(prompt.lastIndexOf('\n'));
    }

    private static String create(TestServer where, ObjectNode request) {
        var answer = where.send("POST", "/v1/sessions", request.toString(), JSON_BODY);
        assertEquals(200, answer.status(), answer.body());
        return answer.json().path("id").asText();
    }

    private static ObjectNode request(JsonNode golden, String prompt) {
        return TestServer.JSON
                .createObjectNode()
                .put("prompt", prompt)
                .put("max_tokens", golden.path("token_ids").size())
                .put("temperature", 0)
                .put("ignore_eos", true)
                .put("return_token_ids", true);
    }

    /** Checks a session's answer, and that it comes from its state: the directory read again would answer as well. */
    private static void answerFromState(TestServer where, JsonNode golden, String session) {
        JsonNode answer = complete(where, request(golden, ask(golden)).put("session", session));

        check(golden, answer);
        var usage = answer.path("usage").path("prompt_tokens_details");
        assertTrue(usage.path("cached_tokens").asInt() > 0, answer::toString);
    }

    private static JsonNode complete(TestServer where, ObjectNode request) {
        var answer = where.complete(request.toString());
        assertEquals(200, answer.status(), answer.body());
        return answer.json();
    }

    /** Checks the tokens of an answer; its text. */
    private static String check(JsonNode golden, JsonNode answer) {
        JsonNode choice = answer.path("choices").path(0);
        assertTrue(choice.has("token_ids"), answer::toString);
        assertEquals(
                golden.path("token_ids"),
                choice.path("token_ids"),
                golden.path("prompt").asText());
        return choice.path("text").asText();
    }

    private static byte[] state(HttpClient client, TestServer where, String method, String id, byte[] body)
            throws IOException, InterruptedException {
        var request = HttpRequest.newBuilder(
                        URI.create("http://127.0.0.1:" + where.port() + "/v1/sessions/" + id + "/state"))
                .header("Content-Type", "application/octet-stream")
                .method(method, HttpRequest.BodyPublishers.ofByteArray(body));
        var answer = client.send(request.build(), HttpResponse.BodyHandlers.ofByteArray());
        assertEquals(200, answer.statusCode());
        return answer.body();
    }
}
