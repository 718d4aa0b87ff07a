package basalt.engine.model;

import java.util.List;
import java.util.Optional;
import java.util.stream.Stream;

/**
 * The weights of a model by their place. Matrices are [out, in]: y = x Wᵀ + b.
 *
 * @param embedding [paddedVocabSize, d]
 * @param positions [positionCount, d]
 * @param layers L of them
 * @param finalNorm before the head
 * @param head [paddedVocabSize, d]; the embedding itself when tied
 */
public record Weights(Tensor embedding, Optional<Tensor> positions, List<Layer> layers, Norm finalNorm, Linear head) {

    /** Copies the list. */
    public Weights {
        layers = List.copyOf(layers);
    }

    /** All matrices by which activations are multiplied, the head's last. */
    public Stream<Linear> linears() {
        return Stream.concat(
                layers.stream()
                        .flatMap(layer -> Stream.concat(
                                layer.mixer().linears(), layer.mlp().linears())),
                Stream.of(head));
    }

    /**
     * y = x Wᵀ + b.
     *
     * @param weight [out, in]
     * @param bias [out]
     */
    public record Linear(Tensor weight, Optional<Tensor> bias) {}

    /**
     * RMSNorm or LayerNorm.
     *
     * @param weight [d]
     * @param bias [d], LayerNorm only
     */
    public record Norm(Tensor weight, Optional<Tensor> bias) {}

    /** {@code r += mixer(norm1(r)); r += mlp(norm2(r))}. */
    public record Layer(Norm norm1, MixerWeights mixer, Norm norm2, MlpWeights mlp) {}

    /**
     * Of a gated MLP.
     *
     * @param fc3 only where the MLP is not fused
     */
    public record MlpWeights(Linear fc1, Optional<Linear> fc3, Linear fc2) {
        Stream<Linear> linears() {
            return Stream.concat(Stream.of(fc1, fc2), fc3.stream());
        }
    }

    /** Of one layer's mixer. */
    public sealed interface MixerWeights {
        /** Its matrices. */
        default Stream<Linear> linears() {
            return switch (this) {
                case Convolution w -> Stream.of(w.input(), w.output());
                case TaylorAttention w -> Stream.of(w.query(), w.key(), w.value(), w.output());
                case WindowAttention w -> Stream.of(w.input(), w.output());
            };
        }

        /**
         * Of a {@link Mixer.Convolution}.
         *
         * @param taps [C, 1, K]
         * @param tapsBias [C]
         */
        record Convolution(Linear input, Tensor taps, Optional<Tensor> tapsBias, Linear output)
                implements MixerWeights {}

        /** Of a {@link Mixer.TaylorAttention}: query and key [H·f, d], value [H·e, d], output [d, H·e]. */
        record TaylorAttention(Linear query, Linear key, Linear value, Linear output) implements MixerWeights {}

        /** Of a {@link Mixer.WindowAttention}: input rows are all queries, all keys, all values, head-major. */
        record WindowAttention(Linear input, Linear output) implements MixerWeights {}
    }
}
