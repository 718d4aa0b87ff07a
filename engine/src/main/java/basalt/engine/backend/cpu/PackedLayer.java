package basalt.engine.backend.cpu;

import basalt.engine.model.Mixer;
import basalt.engine.model.ModelConfig;
import basalt.engine.model.Weights;

/** One layer's matrices, packed once for all that go through it. Immutable. */
record PackedLayer(PackedMatrix mixerInput, PackedMatrix mixerOutput, PackedMatrix mlpInput, PackedMatrix mlpOutput) {

    static PackedLayer of(ModelConfig config, int layer, Weights.Layer w, Packing packing) {
        return new PackedLayer(
                mixerInput(config.mixers().get(layer), w.mixer(), packing),
                mixerOutput(w.mixer(), packing),
                GatedMlp.packInput(config.mlp(), w.mlp(), packing),
                packing.of(w.mlp().fc2()));
    }

    private static PackedMatrix mixerInput(Mixer mixer, Weights.MixerWeights weights, Packing packing) {
        return switch (weights) {
            case Weights.MixerWeights.Convolution w ->
                ConvolutionMixer.packInput((Mixer.Convolution) mixer, w, packing);
            case Weights.MixerWeights.TaylorAttention w -> packing.of(w.query(), w.key(), w.value());
            case Weights.MixerWeights.WindowAttention w -> packing.of(w.input());
        };
    }

    private static PackedMatrix mixerOutput(Weights.MixerWeights weights, Packing packing) {
        return packing.of(
                switch (weights) {
                    case Weights.MixerWeights.Convolution w -> w.output();
                    case Weights.MixerWeights.TaylorAttention w -> w.output();
                    case Weights.MixerWeights.WindowAttention w -> w.output();
                });
    }

    long bytes() {
        return mixerInput.bytes() + mixerOutput.bytes() + mlpInput.bytes() + mlpOutput.bytes();
    }
}
