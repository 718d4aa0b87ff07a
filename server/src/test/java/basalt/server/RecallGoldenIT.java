package basalt.server;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.JsonNode;
import java.io.IOException;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;

/**
 * Numbers looked up in directories of the prompt, by the default model over HTTP: the tokens are those that the
 * training script's model gives without a state, so the share of right answers is the same too. A state that loses or
 * mixes what it read fails here.
 */
class RecallGoldenIT {
    private static final Path MODEL = Path.of("..", "models", "based-10m");
    /** {@code training/questions.py models/based-10m FILE} remakes it. */
    private static final Path GOLDEN = Path.of("src", "test", "resources", "golden", "recall.json");

    @Test
    void answersAreThoseOfTheTrainingScript() throws IOException {
        JsonNode cases = TestServer.JSON.readTree(GOLDEN.toFile()).path("cases");
        assertFalse(cases.isEmpty());
        try (var server =
                TestServer.start(LoadedModel::load, "--model", MODEL.toString(), "--backend", "cpu", "--slots", "2")) {
            for (JsonNode golden : cases) {
                var request = TestServer.JSON
                        .createObjectNode()
                        .put("max_tokens", golden.path("token_ids").size())
                        .put("temperature", 0)
                        .put("ignore_eos", true)
                        .put("return_token_ids", true);
                request.set("prompt", golden.path("prompt"));
                var answer = server.complete(request.toString());

                assertEquals(200, answer.status(), answer.body());
                JsonNode choice = answer.json().path("choices").path(0);
                assertTrue(choice.has("token_ids"), answer.body());
                assertEquals(
                        golden.path("token_ids"),
                        choice.path("token_ids"),
                        golden.path("prompt").asText());
            }
            server.awaitFree();
        }
    }
}
