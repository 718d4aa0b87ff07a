package basalt.engine.backend.cuda;

import basalt.engine.model.ElementType;
import basalt.engine.model.Tensor;
import basalt.engine.model.Weights;
import java.lang.foreign.Arena;
import java.lang.foreign.ValueLayout;

/** Weights rounded to another element type, as the device rounds them. */
final class RoundedWeights {
    private RoundedWeights() {}

    static Weights of(Weights weights, boolean isTied, ElementType type) {
        if (type != ElementType.BF16) {
            throw new IllegalArgumentException("type = " + type);
        }
        var embedding = round(weights.embedding());
        var head = isTied ? embedding : round(weights.head().weight());
        return new Weights(
                embedding,
                weights.positions().map(RoundedWeights::round),
                weights.layers().stream().map(RoundedWeights::layer).toList(),
                norm(weights.finalNorm()),
                new Weights.Linear(head, weights.head().bias().map(RoundedWeights::round)));
    }

    private static Weights.Layer layer(Weights.Layer layer) {
        var mixer = switch (layer.mixer()) {
            case Weights.MixerWeights.Convolution m ->
                new Weights.MixerWeights.Convolution(
                        linear(m.input()),
                        round(m.taps()),
                        m.tapsBias().map(RoundedWeights::round),
                        linear(m.output()));
            case Weights.MixerWeights.TaylorAttention m ->
                new Weights.MixerWeights.TaylorAttention(
                        linear(m.query()), linear(m.key()), linear(m.value()), linear(m.output()));
            case Weights.MixerWeights.WindowAttention m ->
                new Weights.MixerWeights.WindowAttention(linear(m.input()), linear(m.output()));
        };
        var mlp = layer.mlp();
        return new Weights.Layer(
                norm(layer.norm1()),
                mixer,
                norm(layer.norm2()),
                new Weights.MlpWeights(linear(mlp.fc1()), mlp.fc3().map(RoundedWeights::linear), linear(mlp.fc2())));
    }

    private static Weights.Linear linear(Weights.Linear linear) {
        return new Weights.Linear(round(linear.weight()), linear.bias().map(RoundedWeights::round));
    }

    private static Weights.Norm norm(Weights.Norm norm) {
        return new Weights.Norm(round(norm.weight()), norm.bias().map(RoundedWeights::round));
    }

    private static Tensor round(Tensor tensor) {
        var data = Arena.ofAuto().allocate(tensor.elementCount() * 2, 8);
        for (long i = 0; i < tensor.elementCount(); i++) {
            data.setAtIndex(ValueLayout.JAVA_SHORT, i, SlotMemory.bf16(tensor.at(i)));
        }
        return new Tensor(tensor.name(), ElementType.BF16, tensor.shape(), data);
    }
}
