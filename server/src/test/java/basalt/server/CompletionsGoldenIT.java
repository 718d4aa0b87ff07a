package basalt.server;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.JsonNode;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** The authors' logits, as log-probabilities of prompts scored over HTTP by the real engine. */
class CompletionsGoldenIT {
    private static final Path FOLDER = Path.of("..", "engine", "src", "test", "resources", "golden");
    /** A logit may be off by 1e-4; the sum of exponentials adds as much, and the rest is room for other orders. */
    private static final double LOGPROB_TOLERANCE = 1e-3;

    @ParameterizedTest
    @ValueSource(
            strings = {"g03_deep", "g05_fla", "g08_bin_lightning", "p1_partial_rotary", "p2_grouped_heads", "p6_biases"
            })
    void scoredPromptsHaveTheLogprobsOfTheLogits(String name) throws IOException {
        Path directory = FOLDER.resolve(name);
        JsonNode expected =
                TestServer.JSON.readTree(directory.resolve("expected.json").toFile());
        var logits = new Logits(directory.resolve("expected.safetensors"));
        try (var server = TestServer.start(
                LoadedModel::load, "--model", directory.toString(), "--backend", "cpu", "--slots", "4")) {
            JsonNode model = server.get("/v1/models").json().path("data").get(0);
            int vocabSize = model.path("meta").path("n_vocab").asInt();
            for (JsonNode golden : expected.path("cases")) {
                var answer = server.complete(
                        "{\"prompt\":" + golden.path("input_ids") + ",\"max_tokens\":0,\"echo\":true,\"logprobs\":2}");

                assertEquals(200, answer.status(), answer.body());
                check(golden, vocabSize, answer.json().path("choices"), logits);
            }
            server.awaitFree();
        }
    }

    private static void check(JsonNode golden, int vocabSize, JsonNode choices, Logits logits) {
        int rows = golden.path("input_ids").size();
        assertEquals(rows, choices.size());
        for (int row = 0; row < rows; row++) {
            JsonNode ids = golden.path("input_ids").get(row);
            JsonNode logprobs = choices.get(row).path("logprobs").path("token_logprobs");
            assertEquals(ids.size(), logprobs.size());
            assertTrue(logprobs.get(0).isNull());
            for (int i = 1; i < ids.size(); i++) {
                double wanted = logits.logprob(golden, row, i - 1, ids.get(i).asInt(), vocabSize);
                assertEquals(
                        wanted,
                        logprobs.get(i).asDouble(),
                        LOGPROB_TOLERANCE,
                        golden.path("name").asText() + " row " + row + " token " + i);
            }
        }
    }

    /** The logits of a golden's file. */
    private static final class Logits {
        private final JsonNode header;
        private final ByteBuffer data;

        Logits(Path file) throws IOException {
            ByteBuffer all = ByteBuffer.wrap(Files.readAllBytes(file)).order(ByteOrder.LITTLE_ENDIAN);
            int headerBytes = Math.toIntExact(all.getLong());
            byte[] json = new byte[headerBytes];
            all.get(json);
            header = TestServer.parse(new String(json, StandardCharsets.UTF_8));
            data = all.slice().order(ByteOrder.LITTLE_ENDIAN);
        }

        /** Log-probability of an id after the tokens of a row up to a position. */
        double logprob(JsonNode golden, int row, int position, int id, int vocabSize) {
            int promptLength = golden.path("prompt_len").asInt();
            boolean isPrompt = position < promptLength;
            String name = golden.path("name").asText() + (isPrompt ? ".prefill_logits" : ".decode_logits");
            JsonNode tensor = header.path(name);
            int positions = tensor.path("shape").get(1).asInt();
            int padded = tensor.path("shape").get(2).asInt();
            int index = isPrompt ? position : position - promptLength + 1;
            int start = tensor.path("data_offsets").get(0).asInt() + (row * positions + index) * padded * Float.BYTES;
            double max = Double.NEGATIVE_INFINITY;
            for (int i = 0; i < vocabSize; i++) {
                max = Math.max(max, data.getFloat(start + i * Float.BYTES));
            }
            double sum = 0;
            for (int i = 0; i < vocabSize; i++) {
                sum += Math.exp(data.getFloat(start + i * Float.BYTES) - max);
            }
            return data.getFloat(start + id * Float.BYTES) - max - Math.log(sum);
        }
    }
}
