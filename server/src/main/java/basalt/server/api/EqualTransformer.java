package basalt.server.api;

import basalt.engine.model.ModelConfig;

/**
 * A Transformer as large as a model, to compare memory with: the same width, and as many layers as the weights outside
 * the embeddings make. One layer has 12·d² of them, 4·d² in attention and 8·d² in the MLP.
 *
 * @param layerCount L
 * @param bytesPerToken of its cache, 4·L·d: a key and a value of d numbers of 16 bits in each layer
 */
record EqualTransformer(int layerCount, long bytesPerToken) {
    private static final double WEIGHTS_PER_LAYER = 12; // of d²
    private static final long BYTES_PER_LAYER = 4; // of d

    /** Of a model with so many weights in all. */
    static EqualTransformer of(ModelConfig config, long parameterCount) {
        double width = config.width();
        double embeddings = width * config.paddedVocabSize() * (config.isHeadTied() ? 1 : 2);
        double positions = width * config.positionCount();
        double layers = (parameterCount - embeddings - positions) / (WEIGHTS_PER_LAYER * width * width);
        int layerCount = (int) Math.max(1, Math.round(layers));
        return new EqualTransformer(layerCount, BYTES_PER_LAYER * layerCount * config.width());
    }
}
