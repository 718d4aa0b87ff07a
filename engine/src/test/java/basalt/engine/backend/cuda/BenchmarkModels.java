package basalt.engine.backend.cuda;

import basalt.engine.model.ElementType;
import basalt.engine.model.Mixer;
import basalt.engine.model.ModelConfig;
import basalt.engine.model.Tensor;
import basalt.engine.model.Weights;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.SplittableRandom;

/**
 * The shapes of the published models with random bf16 weights from a seed. All matrices are windows of one block of
 * random numbers, so that a model of any size is there at once.
 */
final class BenchmarkModels {
    private static final int BLOCK_ELEMENTS = 128 << 20;
    private static final int STEP = 1 << 16; // windows begin at different multiples of it
    private static final double SCALE = 0.03; // keeps activations of d about 1,000 near 1

    private final MemorySegment random; // bf16 [BLOCK_ELEMENTS]
    private final MemorySegment ones; // bf16 [8192]
    private int next;

    BenchmarkModels(Arena arena, long seed) {
        random = arena.allocate(BLOCK_ELEMENTS * 2L, 64);
        var numbers = new SplittableRandom(seed);
        for (int i = 0; i < BLOCK_ELEMENTS; i++) {
            float value = (float) ((numbers.nextDouble() * 2 - 1) * SCALE * 1.7);
            random.setAtIndex(ValueLayout.JAVA_SHORT, i, SlotMemory.bf16(value));
        }
        ones = arena.allocate(8192 * 2L, 64);
        for (int i = 0; i < 8192; i++) {
            ones.setAtIndex(ValueLayout.JAVA_SHORT, i, SlotMemory.bf16(1));
        }
    }

    /** 1.3B: d 1,792, 36 layers, heads of 112. */
    static ModelConfig large() {
        return config(1792, 36, List.of(1, 6, 11, 16, 21, 27, 33), List.of(2, 7, 12, 17, 22, 28, 34));
    }

    /** 360M: d 1,024, 27 layers, heads of 64. */
    static ModelConfig small() {
        return config(1024, 27, List.of(1, 6, 11, 16, 21), List.of(2, 7, 12, 17, 22));
    }

    /** One for the checks: d 512, 4 layers, heads of 32. */
    static ModelConfig narrow() {
        return config(512, 4, List.of(1), List.of(2));
    }

    private static ModelConfig config(int width, int layers, List<Integer> taylor, List<Integer> window) {
        int headWidth = width / 16;
        var mixers = new ArrayList<Mixer>();
        for (int layer = 0; layer < layers; layer++) {
            if (taylor.contains(layer)) {
                mixers.add(new Mixer.TaylorAttention(16, 16, headWidth, 16, 1e-12f));
            } else if (window.contains(layer)) {
                float scale = (float) (1 / Math.sqrt(headWidth));
                mixers.add(new Mixer.WindowAttention(
                        16, 16, headWidth, 128, scale, headWidth, 10_000, false, false, false));
            } else {
                mixers.add(new Mixer.Convolution(2 * width, 3, 4 * width, true, false));
            }
        }
        var mlp = new ModelConfig.Mlp(2 * width, ModelConfig.Activation.SILU, true, false, false);
        return new ModelConfig(50_257, 50_264, width, mixers, mlp, true, 1e-5f, true, false, 0, -1);
    }

    Weights weights(ModelConfig config) {
        int d = config.width();
        int inner = config.mlp().innerWidth();
        var layers = new ArrayList<Weights.Layer>();
        for (Mixer mixer : config.mixers()) {
            Weights.MixerWeights weights = switch (mixer) {
                case Mixer.Convolution m ->
                    new Weights.MixerWeights.Convolution(
                            biased(m.projectionWidth(), d),
                            tensor(m.channelCount(), 1, m.kernelSize()),
                            Optional.empty(),
                            biased(d, m.channelCount()));
                case Mixer.TaylorAttention m ->
                    new Weights.MixerWeights.TaylorAttention(
                            linear(m.headCount() * m.featureDim(), d),
                            linear(m.headCount() * m.featureDim(), d),
                            linear(m.headCount() * m.headWidth(), d),
                            linear(d, m.headCount() * m.headWidth()));
                case Mixer.WindowAttention m ->
                    new Weights.MixerWeights.WindowAttention(
                            linear(3 * m.headCount() * m.headWidth(), d), linear(d, m.headCount() * m.headWidth()));
            };
            var mlp = new Weights.MlpWeights(linear(2 * inner, d), Optional.empty(), linear(d, inner));
            layers.add(new Weights.Layer(norm(d), weights, norm(d), mlp));
        }
        var embedding = tensor(config.paddedVocabSize(), d);
        return new Weights(
                embedding, Optional.empty(), layers, norm(d), new Weights.Linear(embedding, Optional.empty()));
    }

    private Weights.Linear linear(int rows, int columns) {
        return new Weights.Linear(tensor(rows, columns), Optional.empty());
    }

    private Weights.Linear biased(int rows, int columns) {
        return new Weights.Linear(tensor(rows, columns), Optional.of(tensor(rows)));
    }

    private Weights.Norm norm(int width) {
        var data = ones.asSlice(0, width * 2L);
        return new Weights.Norm(new Tensor("ones", ElementType.BF16, List.of(width), data), Optional.empty());
    }

    private Tensor tensor(Integer... shape) {
        long count = 1;
        for (int length : shape) {
            count *= length;
        }
        long room = (BLOCK_ELEMENTS - count) / STEP;
        long from = (next++ * 37L) % (room + 1) * STEP;
        return new Tensor("random", ElementType.BF16, List.of(shape), random.asSlice(from * 2, count * 2));
    }
}
