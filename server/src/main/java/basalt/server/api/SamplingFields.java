package basalt.server.api;

import basalt.engine.GenerationRequest;
import basalt.engine.SamplingParams;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.OptionalLong;

/** The fields of a request that say how tokens are drawn and when a choice ends. */
final class SamplingFields {
    static final int CHOICE_COUNT_MAX = 128;
    private static final int STOP_COUNT_MAX = 16;

    private final int vocabSize;
    private float temperature = 1;
    private int topK;
    private float topP = 1;
    private float minP;
    private float frequencyPenalty;
    private float presencePenalty;
    private float repetitionPenalty = 1;
    private Map<Integer, Float> logitBias = Map.of();
    private OptionalLong seed = OptionalLong.empty();
    private int choiceCount = 1;
    private int minTokens;
    private List<String> stopStrings = List.of();
    private int[] stopTokenIds = {};
    private boolean includesStopString;
    private boolean ignoresEndOfSequence;
    private int priority;

    SamplingFields(int vocabSize) {
        this.vocabSize = vocabSize;
    }

    /** Reads the field if it is one of these. */
    boolean read(String name, JsonReader json) {
        switch (name) {
            case "temperature" -> temperature = json.number(name, 0, 2);
            case "top_k" -> topK = Math.max(0, json.integer(name, -1, Integer.MAX_VALUE));
            // 0 asks for the fewest tokens whose probability is at least 0: the likeliest one.
            case "top_p" -> topP = Math.max(Float.MIN_VALUE, json.number(name, 0, 1));
            case "min_p" -> minP = json.number(name, 0, 1);
            case "frequency_penalty" -> frequencyPenalty = json.number(name, -2, 2);
            case "presence_penalty" -> presencePenalty = json.number(name, -2, 2);
            case "repetition_penalty" ->
                repetitionPenalty =
                        json.number(name, SamplingParams.REPETITION_PENALTY_MIN, SamplingParams.REPETITION_PENALTY_MAX);
            case "logit_bias" -> logitBias = logitBias(json);
            case "seed" -> seed = OptionalLong.of(json.wholeNumber(name, Long.MIN_VALUE, Long.MAX_VALUE));
            case "n" -> choiceCount = json.integer(name, 1, CHOICE_COUNT_MAX);
            case "min_tokens" -> minTokens = json.integer(name, 0, Integer.MAX_VALUE);
            case "stop" -> stopStrings = stops(json);
            case "stop_token_ids" -> stopTokenIds = stopTokenIds(json);
            case "include_stop_str_in_output" -> includesStopString = json.bool(name);
            case "ignore_eos" -> ignoresEndOfSequence = json.bool(name);
            case "priority" -> priority = json.integer(name, Integer.MIN_VALUE, Integer.MAX_VALUE);
            default -> {
                return false;
            }
        }
        return true;
    }

    private Map<Integer, Float> logitBias(JsonReader json) {
        var biases = new HashMap<Integer, Float>();
        json.object("logit_bias", (name, value) -> {
            if (biases.size() == SamplingParams.LOGIT_BIASES_MAX) {
                throw JsonReader.tooMany("logit_bias", SamplingParams.LOGIT_BIASES_MAX);
            }
            biases.put(biasedId(name), value.number(name, -100, 100));
        });
        return biases;
    }

    private int biasedId(String name) {
        String id = name.substring("logit_bias.".length());
        if (id.matches("[0-9]{1,9}") && Integer.parseInt(id) < vocabSize) {
            return Integer.parseInt(id);
        }
        throw new ProblemException(Problem.of(
                ProblemCode.INVALID_TOKEN,
                "logit_bias",
                "logit_bias has the key \"" + id + "\", which is no token; ids are 0 to " + (vocabSize - 1) + "."));
    }

    private static List<String> stops(JsonReader json) {
        List<String> stops = json.isText() ? List.of(json.text("stop")) : json.texts("stop", STOP_COUNT_MAX);
        for (String stop : stops) {
            int bytes = stop.getBytes(StandardCharsets.UTF_8).length;
            if (bytes == 0 || bytes > GenerationRequest.STOP_STRING_BYTES_MAX) {
                throw JsonReader.outOfBounds(
                        "stop", "strings of 1 to " + GenerationRequest.STOP_STRING_BYTES_MAX + " bytes each");
            }
        }
        return stops;
    }

    private int[] stopTokenIds(JsonReader json) {
        int[] ids = json.ids("stop_token_ids", vocabSize);
        if (ids.length > STOP_COUNT_MAX) {
            throw JsonReader.tooMany("stop_token_ids", STOP_COUNT_MAX);
        }
        return ids;
    }

    SamplingParams params() {
        return new SamplingParams(
                temperature, topK, topP, minP, frequencyPenalty, presencePenalty, repetitionPenalty, logitBias);
    }

    OptionalLong seed() {
        return seed;
    }

    int choiceCount() {
        return choiceCount;
    }

    int minTokens() {
        return minTokens;
    }

    List<String> stopStrings() {
        return stopStrings;
    }

    /** With those of the model's, up to the engine's bound. */
    int[] stopTokenIds(int[] more) {
        int[] all = Arrays.copyOf(stopTokenIds, stopTokenIds.length + more.length);
        System.arraycopy(more, 0, all, stopTokenIds.length, more.length);
        return all;
    }

    boolean includesStopString() {
        return includesStopString;
    }

    boolean ignoresEndOfSequence() {
        return ignoresEndOfSequence;
    }

    int priority() {
        return priority;
    }
}
