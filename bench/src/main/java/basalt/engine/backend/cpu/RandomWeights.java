package basalt.engine.backend.cpu;

import basalt.engine.model.ElementType;
import basalt.engine.model.Mixer;
import basalt.engine.model.ModelConfig;
import basalt.engine.model.Tensor;
import basalt.engine.model.Weights;
import basalt.engine.model.Weights.Linear;
import basalt.engine.model.Weights.MixerWeights;
import basalt.engine.model.Weights.Norm;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.Random;

/** Weights in bf16 from a seed, small enough that activations neither overflow nor vanish. */
final class RandomWeights {
    private static final float SCALE = 0.05f;

    private final Random random = new Random(1);

    /** A matrix [out, in] without bias. */
    Linear linear(int out, int in) {
        return new Linear(tensor(out, in), Optional.empty());
    }

    /** A tensor of any shape. */
    Tensor tensor(Integer... shape) {
        int count = 1;
        for (int length : shape) {
            count *= length;
        }
        var bits = new short[count];
        for (int i = 0; i < count; i++) {
            bits[i] = (short) (Float.floatToRawIntBits((float) random.nextGaussian() * SCALE) >>> 16);
        }
        return new Tensor("random", ElementType.BF16, List.of(shape), MemorySegment.ofArray(bits));
    }

    /** Weights of a model whose mixers have no biases, with a fused MLP and a tied head. */
    Weights of(ModelConfig config) {
        int width = config.width();
        var layers = new ArrayList<Weights.Layer>();
        for (var mixer : config.mixers()) {
            var mlp = new Weights.MlpWeights(
                    linear(2 * config.mlp().innerWidth(), width),
                    Optional.empty(),
                    linear(width, config.mlp().innerWidth()));
            layers.add(new Weights.Layer(norm(width), mixer(mixer, width), norm(width), mlp));
        }
        var embedding = tensor(config.paddedVocabSize(), width);
        return new Weights(embedding, Optional.empty(), layers, norm(width), new Linear(embedding, Optional.empty()));
    }

    private Norm norm(int width) {
        return new Norm(tensor(width), Optional.empty());
    }

    private MixerWeights mixer(Mixer mixer, int width) {
        return switch (mixer) {
            case Mixer.Convolution m ->
                new MixerWeights.Convolution(
                        linear(m.projectionWidth(), width),
                        tensor(m.channelCount(), 1, m.kernelSize()),
                        Optional.empty(),
                        linear(width, m.channelCount()));
            case Mixer.TaylorAttention m ->
                new MixerWeights.TaylorAttention(
                        linear(m.headCount() * m.featureDim(), width),
                        linear(m.headCount() * m.featureDim(), width),
                        linear(m.headCount() * m.headWidth(), width),
                        linear(width, m.headCount() * m.headWidth()));
            case Mixer.WindowAttention m ->
                new MixerWeights.WindowAttention(
                        linear((m.headCount() + 2 * m.keyHeadCount()) * m.headWidth(), width),
                        linear(width, m.headCount() * m.headWidth()));
        };
    }
}
