package basalt.engine.backend.cpu;

import basalt.engine.model.Mixer;
import basalt.engine.model.ModelConfig;
import basalt.engine.model.Weights;

/** One layer's matrices, packed once for all that go through it. Immutable. */
record PackedLayer(PackedMatrix mixerInput, PackedMatrix mixerOutput, PackedMatrix mlpInput, PackedMatrix mlpOutput) {

    static PackedLayer of(ModelConfig config, int layer, Weights.Layer w) {
        return new PackedLayer(
                mixerInput(config.mixers().get(layer), w.mixer()),
                mixerOutput(w.mixer()),
                GatedMlp.packInput(config.mlp(), w.mlp()),
                Packing.of(w.mlp().fc2()));
    }

    private static PackedMatrix mixerInput(Mixer mixer, Weights.MixerWeights weights) {
        return switch (weights) {
            case Weights.MixerWeights.Convolution w -> ConvolutionMixer.packInput((Mixer.Convolution) mixer, w);
            case Weights.MixerWeights.TaylorAttention w -> Packing.of(w.query(), w.key(), w.value());
            case Weights.MixerWeights.WindowAttention w -> Packing.of(w.input());
        };
    }

    private static PackedMatrix mixerOutput(Weights.MixerWeights weights) {
        return Packing.of(
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
