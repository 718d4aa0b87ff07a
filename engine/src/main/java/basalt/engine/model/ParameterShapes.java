package basalt.engine.model;

import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** Names and shapes of all parameters of a model, in the order in which a checkpoint is written. */
final class ParameterShapes {
    static final String EMBEDDING = "transformer.embeddings.word_embeddings.weight";
    static final String POSITIONS = "transformer.embeddings.position_embeddings.weight";
    static final String FINAL_NORM = "transformer.ln_f";
    static final String HEAD = "lm_head";

    private final Map<String, List<Integer>> shapes = new LinkedHashMap<>();
    private final ModelConfig config;

    private ParameterShapes(ModelConfig config) {
        this.config = config;
    }

    /** Shapes by name; a tied head is not listed, it is the embedding. */
    static Map<String, List<Integer>> of(ModelConfig config) {
        var shapes = new ParameterShapes(config);
        shapes.addAll();
        return shapes.shapes;
    }

    /** The prefix of one layer's names. */
    static String layer(int index) {
        return "transformer.layers." + index + ".";
    }

    private void addAll() {
        int width = config.width();
        shapes.put(EMBEDDING, List.of(config.paddedVocabSize(), width));
        if (config.positionCount() > 0) {
            shapes.put(POSITIONS, List.of(config.positionCount(), width));
        }
        for (int i = 0; i < config.layerCount(); i++) {
            addNorm(layer(i) + "norm1");
            addMixer(layer(i) + "mixer.", config.mixers().get(i));
            addNorm(layer(i) + "norm2");
            addMlp(layer(i) + "mlp.", config.mlp());
        }
        addNorm(FINAL_NORM);
        if (!config.isHeadTied()) {
            shapes.put(HEAD + ".weight", List.of(config.paddedVocabSize(), width));
        }
        if (config.hasHeadBias()) {
            shapes.put(HEAD + ".bias", List.of(config.paddedVocabSize()));
        }
    }

    private void addNorm(String name) {
        shapes.put(name + ".weight", List.of(config.width()));
        if (!config.isRmsNorm()) {
            shapes.put(name + ".bias", List.of(config.width()));
        }
    }

    private void addMixer(String prefix, Mixer mixer) {
        int width = config.width();
        switch (mixer) {
            case Mixer.Convolution m -> {
                addLinear(prefix + "in_proj", m.projectionWidth(), width, m.hasProjectionBias());
                shapes.put(prefix + "conv.conv.weight", List.of(m.channelCount(), 1, m.kernelSize()));
                if (m.hasConvolutionBias()) {
                    shapes.put(prefix + "conv.conv.bias", List.of(m.channelCount()));
                }
                addLinear(prefix + "out_proj", width, m.channelCount(), m.hasProjectionBias());
            }
            case Mixer.TaylorAttention m -> {
                addLinear(prefix + "proj_q", m.headCount() * m.featureDim(), width, false);
                addLinear(prefix + "proj_k", m.headCount() * m.featureDim(), width, false);
                addLinear(prefix + "proj_v", m.headCount() * m.headWidth(), width, false);
                addLinear(prefix + "out_proj", width, m.headCount() * m.headWidth(), false);
            }
            case Mixer.WindowAttention m -> {
                int rows = (m.headCount() + 2 * m.keyHeadCount()) * m.headWidth();
                addLinear(prefix + "Wqkv", rows, width, m.hasInputBias());
                addLinear(prefix + "out_proj", width, m.headCount() * m.headWidth(), m.hasOutputBias());
            }
        }
    }

    private void addMlp(String prefix, ModelConfig.Mlp mlp) {
        int width = config.width();
        int inner = mlp.innerWidth();
        addLinear(prefix + "fc1", mlp.isFused() ? 2 * inner : inner, width, mlp.hasInputBias());
        if (!mlp.isFused()) {
            addLinear(prefix + "fc3", inner, width, mlp.hasInputBias());
        }
        addLinear(prefix + "fc2", width, inner, mlp.hasOutputBias());
    }

    private void addLinear(String name, int outputs, int inputs, boolean hasBias) {
        shapes.put(name + ".weight", List.of(outputs, inputs));
        if (hasBias) {
            shapes.put(name + ".bias", List.of(outputs));
        }
    }
}
