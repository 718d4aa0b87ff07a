package basalt.engine.backend.cpu;

import basalt.engine.model.Mixer;
import basalt.engine.model.ModelConfig;
import basalt.engine.model.Tensor;
import basalt.engine.model.Weights;
import java.util.List;
import java.util.stream.IntStream;

/**
 * Embedding and layers over the rows of a {@link Step}, with buffers of its own. Confined to the thread that runs it,
 * whose pool's workers help.
 *
 * <p>Residual stream and all sums are f32.
 */
final class LayerStack {
    private final WorkerPool pool;
    private final Step step;
    private final Tensor embedding;
    private final Tensor positions; // the embedding itself where there are none
    private final boolean hasPositions;
    private final int width;
    private final Activations residual;
    private final List<LayerMixer> mixers;
    private final List<GatedMlp> mlps;
    private final List<Rotary> rotaries;
    private final WorkerPool.Job embed = this::embed;
    private int[] tokens = new int[0];

    LayerStack(
            ModelConfig config,
            Weights weights,
            List<PackedLayer> packed,
            WorkerPool pool,
            Step step,
            int tokenCountMax) {
        this.pool = pool;
        this.step = step;
        embedding = weights.embedding();
        hasPositions = weights.positions().isPresent();
        positions = weights.positions().orElse(embedding);
        width = config.width();
        residual = Activations.of(tokenCountMax, width);
        var parts = new LayerParts(
                pool,
                step,
                residual,
                Activations.of(tokenCountMax, width),
                Activations.of(tokenCountMax, hiddenWidth(config)),
                Activations.of(tokenCountMax, mixedWidth(config)),
                weights.layers().stream()
                        .map(layer -> new Norm(config, layer.norm1()))
                        .toList(),
                packed,
                LayerParts.noRotaries(),
                tokenCountMax);
        mixers = IntStream.range(0, config.layerCount())
                .mapToObj(layer -> mixer(
                        parts,
                        layer,
                        config.mixers().get(layer),
                        weights.layers().get(layer)))
                .toList();
        mlps = IntStream.range(0, config.layerCount())
                .mapToObj(layer -> new GatedMlp(
                        parts,
                        layer,
                        new Norm(config, weights.layers().get(layer).norm2()),
                        config.mlp().activation()))
                .toList();
        rotaries = List.copyOf(parts.rotaries().values());
    }

    private static LayerMixer mixer(LayerParts parts, int layer, Mixer mixer, Weights.Layer weights) {
        return switch (mixer) {
            case Mixer.Convolution m ->
                new ConvolutionMixer(parts, layer, m, (Weights.MixerWeights.Convolution) weights.mixer());
            case Mixer.TaylorAttention m -> new TaylorMixer(parts, layer, m);
            case Mixer.WindowAttention m -> new WindowMixer(parts, layer, m);
        };
    }

    private static int hiddenWidth(ModelConfig config) {
        int panel = PackedMatrix.PANEL;
        int widest = Math.max(config.width(), pairsWidth(config.mlp().innerWidth()));
        for (var mixer : config.mixers()) {
            widest = Math.max(
                    widest,
                    switch (mixer) {
                        case Mixer.Convolution m -> pairsWidth(m.channelCount());
                        case Mixer.TaylorAttention m -> m.headCount() * (2 * m.featureDim() + m.headWidth());
                        case Mixer.WindowAttention m -> (m.headCount() + 2 * m.keyHeadCount()) * m.headWidth();
                    });
        }
        return widest + panel;
    }

    private static int pairsWidth(int width) {
        return 2 * ((width + PackedMatrix.PANEL - 1) / PackedMatrix.PANEL * PackedMatrix.PANEL);
    }

    private static int mixedWidth(ModelConfig config) {
        int widest = config.mlp().innerWidth();
        for (var mixer : config.mixers()) {
            widest = Math.max(
                    widest,
                    switch (mixer) {
                        case Mixer.Convolution m -> m.channelCount();
                        case Mixer.TaylorAttention m -> m.headCount() * m.headWidth();
                        case Mixer.WindowAttention m -> m.headCount() * m.headWidth();
                    });
        }
        return widest + PackedMatrix.PANEL;
    }

    /**
     * Advances the states of the step's rows by their tokens and leaves each token's residual behind.
     *
     * @param stepTokens ids by flat token
     */
    void forward(int[] stepTokens) {
        tokens = stepTokens;
        pool.run(embed, step.tokenCount());
        for (int layer = 0; layer < mixers.size(); layer++) {
            mixers.get(layer).run();
            mlps.get(layer).run();
        }
    }

    private void embed(int token, int worker) {
        int at = residual.at(token);
        long from = (long) tokens[token] * width;
        long position = step.position(token);
        for (int i = 0; i < width; i++) {
            float learned = hasPositions ? positions.at(position * width + i) : 0;
            residual.data()[at + i] = embedding.at(from + i) + learned;
        }
        for (int i = 0; i < rotaries.size(); i++) {
            rotaries.get(i).prepare(token, position);
        }
    }

    /** f32 [T, d], after {@link #forward}. */
    Activations residual() {
        return residual;
    }
}
