package basalt.bench;

import com.fasterxml.jackson.databind.ObjectMapper;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;

/** The requests of a run: prompts of token ids from a seed, so that two runs ask the same. */
final class PromptSet {
    private final String model;
    private final int promptTokens;
    private final int maxTokens;
    private final Sampling sampling;
    private final List<byte[]> bodies = new ArrayList<>();

    /** How the answers are drawn. */
    record Sampling(double temperature, double topP) {
        static final Sampling GREEDY = new Sampling(0, 1);
    }

    PromptSet(String model, int count, int promptTokens, int maxTokens, int vocabSize, Sampling sampling) {
        this.model = model;
        this.promptTokens = promptTokens;
        this.maxTokens = maxTokens;
        this.sampling = sampling;
        var random = new Random(1);
        for (int i = 0; i < count; i++) {
            bodies.add(body(random.ints(promptTokens, 0, vocabSize).toArray(), i));
        }
    }

    private byte[] body(int[] prompt, int seed) {
        var request = new ObjectMapper().createObjectNode();
        request.put("model", model);
        var ids = request.putArray("prompt");
        for (int id : prompt) {
            ids.add(id);
        }
        request.put("max_tokens", maxTokens)
                .put("temperature", sampling.temperature())
                .put("top_p", sampling.topP())
                .put("seed", seed)
                .put("stream", true)
                .put("ignore_eos", true)
                .put("return_token_ids", true)
                .putObject("stream_options")
                .put("include_usage", true);
        return request.toString().getBytes(StandardCharsets.UTF_8);
    }

    String model() {
        return model;
    }

    int promptTokens() {
        return promptTokens;
    }

    int maxTokens() {
        return maxTokens;
    }

    int count() {
        return bodies.size();
    }

    /** JSON of a request. */
    byte[] body(int index) {
        return bodies.get(index);
    }
}
