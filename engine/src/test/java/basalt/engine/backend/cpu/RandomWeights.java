package basalt.engine.backend.cpu;

import basalt.engine.model.ElementType;
import basalt.engine.model.Mixer;
import basalt.engine.model.ModelConfig;
import basalt.engine.model.Tensor;
import basalt.engine.model.Weights;
import java.lang.foreign.Arena;
import java.lang.foreign.ValueLayout;
import java.util.List;
import java.util.Optional;
import java.util.SplittableRandom;

/** Weights of a configuration from a seed, for tests. */
final class RandomWeights {
    private final ModelConfig config;
    private final ElementType type;
    private final SplittableRandom random;

    private RandomWeights(ModelConfig config, ElementType type, long seed) {
        this.config = config;
        this.type = type;
        random = new SplittableRandom(seed);
    }

    static Weights of(ModelConfig config, ElementType type, long seed) {
        return new RandomWeights(config, type, seed).weights();
    }

    private Weights weights() {
        int d = config.width();
        Tensor embedding = tensor(1, config.paddedVocabSize(), d);
        Optional<Tensor> positions =
                config.positionCount() > 0 ? Optional.of(tensor(1, config.positionCount(), d)) : Optional.empty();
        List<Weights.Layer> layers = config.mixers().stream()
                .map(mixer -> new Weights.Layer(norm(), mixer(mixer), norm(), mlp()))
                .toList();
        Tensor head = config.isHeadTied() ? embedding : tensor(1, config.paddedVocabSize(), d);
        Optional<Tensor> bias =
                config.hasHeadBias() ? Optional.of(tensor(0.1, config.paddedVocabSize())) : Optional.empty();
        return new Weights(embedding, positions, layers, norm(), new Weights.Linear(head, bias));
    }

    private Weights.MlpWeights mlp() {
        var mlp = config.mlp();
        int rows = mlp.isFused() ? 2 * mlp.innerWidth() : mlp.innerWidth();
        var fc3 = mlp.isFused()
                ? Optional.<Weights.Linear>empty()
                : Optional.of(linear(rows, config.width(), mlp.hasInputBias()));
        return new Weights.MlpWeights(
                linear(rows, config.width(), mlp.hasInputBias()),
                fc3,
                linear(config.width(), mlp.innerWidth(), mlp.hasOutputBias()));
    }

    private Weights.MixerWeights mixer(Mixer mixer) {
        int d = config.width();
        return switch (mixer) {
            case Mixer.Convolution m ->
                new Weights.MixerWeights.Convolution(
                        linear(m.projectionWidth(), d, m.hasProjectionBias()),
                        tensor(0.5, m.channelCount(), 1, m.kernelSize()),
                        m.hasConvolutionBias() ? Optional.of(tensor(0.1, m.channelCount())) : Optional.empty(),
                        linear(d, m.channelCount(), m.hasProjectionBias()));
            case Mixer.TaylorAttention m ->
                new Weights.MixerWeights.TaylorAttention(
                        linear(m.headCount() * m.featureDim(), d, false),
                        linear(m.headCount() * m.featureDim(), d, false),
                        linear(m.headCount() * m.headWidth(), d, false),
                        linear(d, m.headCount() * m.headWidth(), false));
            case Mixer.WindowAttention m ->
                new Weights.MixerWeights.WindowAttention(
                        linear((m.headCount() + 2 * m.keyHeadCount()) * m.headWidth(), d, m.hasInputBias()),
                        linear(d, m.headCount() * m.headWidth(), m.hasOutputBias()));
        };
    }

    private Weights.Norm norm() {
        var bias = config.isRmsNorm() ? Optional.<Tensor>empty() : Optional.of(tensor(0.1, config.width()));
        return new Weights.Norm(tensor(1, config.width()), bias);
    }

    private Weights.Linear linear(int rows, int columns, boolean hasBias) {
        return new Weights.Linear(
                tensor(1 / Math.sqrt(columns), rows, columns),
                hasBias ? Optional.of(tensor(0.1, rows)) : Optional.empty());
    }

    private Tensor tensor(double scale, Integer... shape) {
        long count = 1;
        for (int length : shape) {
            count *= length;
        }
        var data = Arena.ofAuto().allocate(count * type.bytes(), 8);
        for (long i = 0; i < count; i++) {
            float value = (float) (random.nextGaussian() * scale);
            switch (type) {
                case F32 -> data.setAtIndex(ValueLayout.JAVA_FLOAT, i, value);
                case F16 -> data.setAtIndex(ValueLayout.JAVA_SHORT, i, Float.floatToFloat16(value));
                case BF16 ->
                    data.setAtIndex(ValueLayout.JAVA_SHORT, i, (short) (Float.floatToRawIntBits(value) >>> 16));
            }
        }
        return new Tensor("random", type, List.of(shape), data);
    }
}
