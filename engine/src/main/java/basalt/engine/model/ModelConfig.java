package basalt.engine.model;

import basalt.engine.Checks;
import basalt.engine.json.JsonFields;
import java.util.List;

/**
 * What a {@code config.json} means for inference, every default resolved.
 *
 * @param vocabSize ids that exist, N
 * @param paddedVocabSize rows of embedding and head
 * @param width d
 * @param mixers one per layer, L of them
 * @param mlp the same in every layer
 * @param isRmsNorm RMSNorm without bias; else LayerNorm with bias
 * @param normEpsilon inside the root of every norm
 * @param isHeadTied whether the head is the embedding
 * @param hasHeadBias whether the head has a bias
 * @param positionCount rows of the learned position embedding, 0 for none; a bound on the sequence length
 * @param endOfSequence id that ends a text, -1 for none
 */
public record ModelConfig(
        int vocabSize,
        int paddedVocabSize,
        int width,
        List<Mixer> mixers,
        Mlp mlp,
        boolean isRmsNorm,
        float normEpsilon,
        boolean isHeadTied,
        boolean hasHeadBias,
        int positionCount,
        int endOfSequence) {

    /** Checks what every reader relies on. */
    public ModelConfig {
        Checks.argument(vocabSize > 0 && vocabSize <= paddedVocabSize, "vocabSize", vocabSize);
        Checks.argument(width > 0, "width", width);
        Checks.argument(endOfSequence >= -1 && endOfSequence < vocabSize, "endOfSequence", endOfSequence);
        mixers = List.copyOf(mixers);
    }

    /**
     * What the text of a {@code config.json} means.
     *
     * @throws basalt.engine.EngineException.InvalidCheckpoint if it cannot be served
     */
    public static ModelConfig read(byte[] json) {
        return ConfigReader.read(JsonFields.parse("config.json", json));
    }

    /** Parameters of the model; those of a tied head count once. */
    public long parameterCount() {
        return ParameterShapes.of(this).values().stream()
                .mapToLong(shape -> shape.stream().mapToLong(Integer::longValue).reduce(1, Math::multiplyExact))
                .sum();
    }

    /** L. */
    public int layerCount() {
        return mixers.size();
    }

    /**
     * The MLP of every layer, gated: {@code fc2(value · activation(gate))}.
     *
     * @param innerWidth entries of value and of gate each
     * @param activation of the gate
     * @param isFused one fc1 of 2·innerWidth rows, value first, gate second; else fc1 is the gate and fc3 the value
     * @param hasInputBias whether fc1 (and fc3) have a bias
     * @param hasOutputBias whether fc2 has a bias
     */
    public record Mlp(
            int innerWidth, Activation activation, boolean isFused, boolean hasInputBias, boolean hasOutputBias) {}

    /** What is applied to the gate of an MLP. */
    public enum Activation {
        /** x · sigmoid(x), "swiglu". */
        SILU,
        /** x · Φ(x) by erf, "geglu". */
        GELU,
        /** sigmoid(x), "glu". */
        SIGMOID
    }
}
