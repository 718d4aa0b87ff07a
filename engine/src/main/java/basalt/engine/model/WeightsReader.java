package basalt.engine.model;

import basalt.engine.EngineException.InvalidCheckpoint;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;

/** Puts the tensors of a checkpoint in their places, checking that all are there with the right shape. */
final class WeightsReader {
    private final ModelConfig config;
    private final TensorSet set;

    private WeightsReader(ModelConfig config, TensorSet set) {
        this.config = config;
        this.set = set;
    }

    /**
     * Finds every parameter of the model.
     *
     * @param set under clean names
     * @throws InvalidCheckpoint naming the tensor that is missing, misshapen, of a wrong type or not of this model
     */
    static Weights read(ModelConfig config, TensorSet set) {
        var reader = new WeightsReader(config, withBothEmbeddings(config, set));
        reader.check();
        return reader.weights();
    }

    /** A tied head and the embedding are one tensor, stored under either name or both. */
    private static TensorSet withBothEmbeddings(ModelConfig config, TensorSet set) {
        Optional<Tensor> head = set.tensor(ParameterShapes.HEAD + ".weight");
        if (config.isHeadTied() && head.isPresent()) {
            Tensor embedding = head.get().named(ParameterShapes.EMBEDDING);
            Tensor other = set.tensors().putIfAbsent(ParameterShapes.EMBEDDING, embedding);
            if (other != null && !isSame(other, head.get())) {
                throw new InvalidCheckpoint("tensor " + ParameterShapes.HEAD
                        + ".weight differs from the embedding, but tie_word_embeddings is true");
            }
            set.tensors().remove(ParameterShapes.HEAD + ".weight");
        }
        return set;
    }

    private static boolean isSame(Tensor one, Tensor other) {
        return one.type() == other.type()
                && one.shape().equals(other.shape())
                && (one.data().address() == other.data().address() || one.data().mismatch(other.data()) == -1);
    }

    private void check() {
        Map<String, List<Integer>> shapes = ParameterShapes.of(config);
        refuseUnknown(shapes);
        shapes.forEach((name, shape) -> {
            String otherType = set.otherTypes().get(name);
            if (otherType != null) {
                throw new InvalidCheckpoint(
                        "tensor " + name + ": type " + otherType + " is not supported; F32, F16 and BF16 are");
            }
            Tensor tensor = set.tensor(name)
                    .orElseThrow(() -> new InvalidCheckpoint("tensor " + name + " " + shape + " is missing"));
            if (!tensor.shape().equals(shape)) {
                throw new InvalidCheckpoint(
                        "tensor " + name + ": shape " + tensor.shape() + ", but config.json asks for " + shape);
            }
        });
    }

    /** A parameter that the model does not have means that the weights belong to another one. */
    private void refuseUnknown(Map<String, List<Integer>> shapes) {
        for (Map<String, ?> stored : List.of(set.tensors(), set.otherTypes())) {
            for (String name : stored.keySet()) {
                if (name.endsWith("g_norm.weight")) {
                    throw new InvalidCheckpoint(
                            "tensor " + name + " belongs to the ThunderKittens variant, which is not supported");
                }
                if (!shapes.containsKey(name)) {
                    throw new InvalidCheckpoint("tensor " + name + " is not a parameter of the model of config.json");
                }
            }
        }
    }

    private Weights weights() {
        var layers = new ArrayList<Weights.Layer>(config.layerCount());
        for (int i = 0; i < config.layerCount(); i++) {
            String prefix = ParameterShapes.layer(i);
            layers.add(new Weights.Layer(
                    norm(prefix + "norm1"),
                    mixer(prefix + "mixer.", config.mixers().get(i)),
                    norm(prefix + "norm2"),
                    new Weights.MlpWeights(
                            linear(prefix + "mlp.fc1"), fc3(prefix + "mlp.fc3"), linear(prefix + "mlp.fc2"))));
        }
        Tensor embedding = tensor(ParameterShapes.EMBEDDING);
        Tensor head = config.isHeadTied() ? embedding : tensor(ParameterShapes.HEAD + ".weight");
        return new Weights(
                embedding,
                set.tensor(ParameterShapes.POSITIONS),
                layers,
                norm(ParameterShapes.FINAL_NORM),
                new Weights.Linear(head, set.tensor(ParameterShapes.HEAD + ".bias")));
    }

    private Weights.MixerWeights mixer(String prefix, Mixer mixer) {
        return switch (mixer) {
            case Mixer.Convolution m ->
                new Weights.MixerWeights.Convolution(
                        linear(prefix + "in_proj"),
                        tensor(prefix + "conv.conv.weight"),
                        set.tensor(prefix + "conv.conv.bias"),
                        linear(prefix + "out_proj"));
            case Mixer.TaylorAttention m ->
                new Weights.MixerWeights.TaylorAttention(
                        linear(prefix + "proj_q"),
                        linear(prefix + "proj_k"),
                        linear(prefix + "proj_v"),
                        linear(prefix + "out_proj"));
            case Mixer.WindowAttention m ->
                new Weights.MixerWeights.WindowAttention(linear(prefix + "Wqkv"), linear(prefix + "out_proj"));
        };
    }

    private Optional<Weights.Linear> fc3(String name) {
        return config.mlp().isFused() ? Optional.empty() : Optional.of(linear(name));
    }

    private Weights.Norm norm(String name) {
        return new Weights.Norm(tensor(name + ".weight"), set.tensor(name + ".bias"));
    }

    private Weights.Linear linear(String name) {
        return new Weights.Linear(tensor(name + ".weight"), set.tensor(name + ".bias"));
    }

    private Tensor tensor(String name) {
        return set.tensor(name).orElseThrow(() -> new IllegalStateException(name));
    }
}
