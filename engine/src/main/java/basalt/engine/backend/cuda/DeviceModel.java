package basalt.engine.backend.cuda;

import basalt.engine.EngineException.InvalidCheckpoint;
import basalt.engine.model.ElementType;
import basalt.engine.model.Mixer;
import basalt.engine.model.ModelConfig;
import basalt.engine.model.Tensor;
import basalt.engine.model.Weights;
import java.lang.foreign.ValueLayout;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.stream.Stream;

/**
 * The weights on the device. Projections that read the same input are one matrix: queries, keys and values; value and
 * gate of the MLP. Addresses of absent biases are 0.
 */
record DeviceModel(
        ModelConfig config,
        long embedding, // element [Npad, d]
        long positions, // element [positionCount, d] or 0
        long frequencies, // f64 [r/2], turns per position
        int rotaryDim, // r, the same in every layer
        List<Layer> layers,
        Norm finalNorm,
        Linear head,
        long bytes) {
    private static final int FEATURE_DIM_MAX = 16;
    private static final int VECTOR = 8; // elements that kernels take at a time
    private static final int VOCAB_SIZE_MAX = 1 << 18; // equal masses of so many ids fill a bin of prefix.cuh

    /** y = x Wᵀ + b. */
    record Linear(long weight, long bias, int rows, int depth) {}

    /** Norm over d entries. */
    record Norm(long weight, long bias) {}

    /** One layer; taps are those of a convolution. */
    record Layer(
            Mixer mixer,
            Norm norm1,
            Linear input,
            long taps,
            long tapsBias,
            Linear output,
            Norm norm2,
            Linear fc1,
            Linear fc2) {
        /** Of its matrices, in bf16. */
        long bytes() {
            return Stream.of(input, output, fc1, fc2)
                    .mapToLong(linear -> (long) ElementType.BF16.bytes() * linear.rows() * linear.depth())
                    .sum();
        }
    }

    DeviceModel {
        layers = List.copyOf(layers);
    }

    /** Bias of the projection before a layer, which the layer's first norm adds. */
    long precedingBias(int index) {
        return index == 0 ? 0 : layers.get(index - 1).fc2().bias();
    }

    /** Uploads the weights. */
    static DeviceModel upload(Device device, WeightUploader uploader, ModelConfig config, Weights weights) {
        requireServable(config);
        long embedding = uploader.upload(weights.embedding());
        long positions = uploadOptional(uploader, weights.positions());
        var layers = new ArrayList<Layer>();
        for (int i = 0; i < config.layerCount(); i++) {
            layers.add(uploadLayer(
                    uploader, config, config.mixers().get(i), weights.layers().get(i)));
        }
        long frequencies =
                rotary(config).map(mixer -> uploadFrequencies(device, mixer)).orElse(0L);
        var head = new Linear(
                config.isHeadTied() ? embedding : uploader.upload(weights.head().weight()),
                uploadOptional(uploader, weights.head().bias()),
                config.paddedVocabSize(),
                config.width());
        var finalNorm = uploadNorm(uploader, weights.finalNorm());
        device.synchronize();
        return new DeviceModel(
                config,
                embedding,
                positions,
                frequencies,
                rotaryDim(config),
                layers,
                finalNorm,
                head,
                uploader.totalBytes());
    }

    /** r. */
    static int rotaryDim(ModelConfig config) {
        return rotary(config).map(Mixer.WindowAttention::rotaryDim).orElse(0);
    }

    private static Optional<Mixer.WindowAttention> rotary(ModelConfig config) {
        return config.mixers().stream()
                .filter(mixer -> mixer instanceof Mixer.WindowAttention m && m.rotaryDim() > 0)
                .map(Mixer.WindowAttention.class::cast)
                .findFirst();
    }

    /** Rows of a mixer's input projection, as far as they are used. */
    static int inputRows(Mixer mixer) {
        return switch (mixer) {
            case Mixer.Convolution m -> 2 * m.channelCount();
            case Mixer.TaylorAttention m -> m.headCount() * (2 * m.featureDim() + m.headWidth());
            case Mixer.WindowAttention m -> (m.headCount() + 2 * m.keyHeadCount()) * m.headWidth();
        };
    }

    private static void requireServable(ModelConfig config) {
        require(config.mlp().innerWidth() % VECTOR == 0, "n_inner", config.mlp().innerWidth());
        require(config.vocabSize() <= VOCAB_SIZE_MAX, "vocab_size", config.vocabSize());
        Optional<Mixer.WindowAttention> window = Optional.empty();
        for (Mixer mixer : config.mixers()) {
            switch (mixer) {
                case Mixer.Convolution m -> require(m.channelCount() % VECTOR == 0, "expand_proj", m.channelCount());
                case Mixer.TaylorAttention m ->
                    require(m.featureDim() <= FEATURE_DIM_MAX, "alt_mixer.feature_dim", m.featureDim());
                case Mixer.WindowAttention m -> {
                    boolean isSame = window.isEmpty()
                            || (window.get().rotaryDim() == m.rotaryDim()
                                    && window.get().rotaryBase() == m.rotaryBase());
                    require(isSame, "rotary_emb_base", m.rotaryBase());
                    window = Optional.of(m);
                }
            }
        }
    }

    private static void require(boolean isServable, String field, Object value) {
        if (!isServable) {
            throw new InvalidCheckpoint(
                    "config.json: " + field + " = " + value + " cannot be served by the CUDA backend; use the CPU");
        }
    }

    private static Layer uploadLayer(WeightUploader uploader, ModelConfig config, Mixer mixer, Weights.Layer layer) {
        int width = config.width();
        var mlp = config.mlp();
        Linear input;
        Linear output;
        long taps = 0;
        long tapsBias = 0;
        switch (layer.mixer()) {
            case Weights.MixerWeights.Convolution w -> {
                var m = (Mixer.Convolution) mixer;
                int rows = inputRows(m); // the projection's further rows are not used
                input = new Linear(
                        uploader.upload(List.of(w.input().weight()), List.of((long) rows * width)),
                        w.input().bias().isPresent()
                                ? uploader.upload(List.of(w.input().bias().get()), List.of((long) rows))
                                : 0,
                        rows,
                        width);
                taps = uploader.upload(w.taps());
                tapsBias = uploadOptional(uploader, w.tapsBias());
                output = uploadLinear(uploader, w.output(), width, m.channelCount());
            }
            case Weights.MixerWeights.TaylorAttention w -> {
                var m = (Mixer.TaylorAttention) mixer;
                input = uploadStacked(uploader, List.of(w.query(), w.key(), w.value()), width);
                output = uploadLinear(uploader, w.output(), width, m.headCount() * m.headWidth());
            }
            case Weights.MixerWeights.WindowAttention w -> {
                var m = (Mixer.WindowAttention) mixer;
                input = uploadLinear(uploader, w.input(), inputRows(m), width);
                output = uploadLinear(uploader, w.output(), width, m.headCount() * m.headWidth());
            }
        }
        Linear fc1 = layer.mlp().fc3().isPresent()
                ? uploadStacked(
                        uploader, List.of(layer.mlp().fc3().get(), layer.mlp().fc1()), width)
                : uploadLinear(uploader, layer.mlp().fc1(), 2 * mlp.innerWidth(), width);
        return new Layer(
                mixer,
                uploadNorm(uploader, layer.norm1()),
                input,
                taps,
                tapsBias,
                output,
                uploadNorm(uploader, layer.norm2()),
                fc1,
                uploadLinear(uploader, layer.mlp().fc2(), width, mlp.innerWidth()));
    }

    private static Norm uploadNorm(WeightUploader uploader, Weights.Norm norm) {
        return new Norm(uploader.upload(norm.weight()), uploadOptional(uploader, norm.bias()));
    }

    private static long uploadOptional(WeightUploader uploader, Optional<Tensor> tensor) {
        return tensor.isPresent() ? uploader.upload(tensor.get()) : 0;
    }

    private static Linear uploadLinear(WeightUploader uploader, Weights.Linear linear, int rows, int depth) {
        return new Linear(uploader.upload(linear.weight()), uploadOptional(uploader, linear.bias()), rows, depth);
    }

    /** Several matrices of the same depth as one; all have a bias or none. */
    private static Linear uploadStacked(WeightUploader uploader, List<Weights.Linear> parts, int depth) {
        var tensors = parts.stream().map(Weights.Linear::weight).toList();
        var biases = parts.stream().flatMap(part -> part.bias().stream()).toList();
        int rows =
                Math.toIntExact(tensors.stream().mapToLong(Tensor::elementCount).sum() / depth);
        return new Linear(
                uploader.upload(
                        tensors, tensors.stream().map(Tensor::elementCount).toList()),
                biases.isEmpty()
                        ? 0
                        : uploader.upload(
                                biases,
                                biases.stream().map(Tensor::elementCount).toList()),
                rows,
                depth);
    }

    private static long uploadFrequencies(Device device, Mixer.WindowAttention mixer) {
        int half = mixer.rotaryDim() / 2;
        var staged = device.allocateMapped(half * 8L);
        for (int i = 0; i < half; i++) {
            double radians = Math.pow(mixer.rotaryBase(), -2.0 * i / mixer.rotaryDim());
            staged.setAtIndex(ValueLayout.JAVA_DOUBLE, i, radians / (2 * Math.PI));
        }
        long address = device.allocate(half * 8L);
        device.upload(address, staged, 0, half * 8L);
        return address;
    }
}
