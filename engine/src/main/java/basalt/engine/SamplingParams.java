package basalt.engine;

import java.util.Map;

/**
 * How the next token is drawn from the logits. Order: penalties and bias, temperature, {@code topK}, {@code topP},
 * {@code minP}; then the largest {@code logit / temperature + Gumbel(seed, choice, position, id)} over the ids that
 * are left, ties to the lowest id.
 *
 * @param temperature 0 to 2; below {@link #TEMPERATURE_MIN} it is 0, which is greedy and ignores {@code topK}, {@code
 *     topP} and {@code minP}
 * @param topK the number of most likely ids kept; 0 keeps all
 * @param topP 0 to 1; keeps the fewest most likely ids whose probability sums to at least this; 1 keeps all
 * @param minP 0 to 1; keeps ids at least this times as likely as the likeliest; 0 keeps all
 * @param frequencyPenalty -2 to 2; subtracted once for every occurrence among the sampled tokens
 * @param presencePenalty -2 to 2; subtracted once if the id was sampled before
 * @param repetitionPenalty 0.01 to 100; positive logits of ids in prompt or output are divided by it, negative
 *     multiplied; 1 is off
 * @param logitBias token id to the value added to its logit, -100 to 100; at most {@link #LOGIT_BIASES_MAX} ids
 */
public record SamplingParams(
        float temperature,
        int topK,
        float topP,
        float minP,
        float frequencyPenalty,
        float presencePenalty,
        float repetitionPenalty,
        Map<Integer, Float> logitBias) {

    /** The least temperature by which logits can be divided. */
    public static final float TEMPERATURE_MIN = 1e-5f;
    /** The least repetition penalty. */
    public static final double REPETITION_PENALTY_MIN = 0.01;
    /** The largest repetition penalty. */
    public static final double REPETITION_PENALTY_MAX = 100;
    /** Biased ids at most. */
    public static final int LOGIT_BIASES_MAX = 1024;

    /** The largest id always wins. */
    public static final SamplingParams GREEDY = new SamplingParams(0, 0, 1, 0, 0, 0, 1, Map.of());

    /** Draws from the model's own distribution. */
    public static final SamplingParams DEFAULT = GREEDY.withTemperature(1);

    /** Checks each value against its bounds. */
    public SamplingParams {
        Checks.argument(temperature >= 0 && temperature <= 2, "temperature", temperature);
        Checks.argument(topK >= 0, "topK", topK);
        Checks.argument(topP > 0 && topP <= 1, "topP", topP);
        Checks.argument(minP >= 0 && minP <= 1, "minP", minP);
        Checks.argument(frequencyPenalty >= -2 && frequencyPenalty <= 2, "frequencyPenalty", frequencyPenalty);
        Checks.argument(presencePenalty >= -2 && presencePenalty <= 2, "presencePenalty", presencePenalty);
        Checks.argument(
                repetitionPenalty >= (float) REPETITION_PENALTY_MIN && repetitionPenalty <= REPETITION_PENALTY_MAX,
                "repetitionPenalty",
                repetitionPenalty);
        Checks.argument(logitBias.size() <= LOGIT_BIASES_MAX, "logitBias", logitBias.size());
        for (var entry : logitBias.entrySet()) {
            Checks.argument(entry.getKey() >= 0, "logitBias", entry.getKey());
            Checks.argument(Math.abs(entry.getValue()) <= 100, "logitBias", entry.getValue());
        }
        temperature = temperature < TEMPERATURE_MIN ? 0 : temperature;
        logitBias = Map.copyOf(logitBias);
    }

    /** These parameters with another temperature. */
    public SamplingParams withTemperature(float value) {
        return new SamplingParams(
                value, topK, topP, minP, frequencyPenalty, presencePenalty, repetitionPenalty, logitBias);
    }

    /** These parameters with another set of kept ids. */
    public SamplingParams withFilters(int newTopK, float newTopP, float newMinP) {
        return new SamplingParams(
                temperature,
                newTopK,
                newTopP,
                newMinP,
                frequencyPenalty,
                presencePenalty,
                repetitionPenalty,
                logitBias);
    }

    /** Whether a logit depends on which tokens came before, so that counts must be kept. */
    public boolean isPenalized() {
        return frequencyPenalty != 0 || presencePenalty != 0 || repetitionPenalty != 1;
    }
}
