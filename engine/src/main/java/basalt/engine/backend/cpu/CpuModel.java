package basalt.engine.backend.cpu;

import basalt.engine.model.ModelConfig;
import basalt.engine.model.Weights;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.IntStream;

/**
 * A model over the rows of a {@link Step}. Owned by the engine thread.
 *
 * <p>There are two ways through the layers, with the same bits. Either all workers take part in every matrix, each with
 * some of its columns: that reads every weight once, and waits for the slowest worker some sixty times a step. Or each
 * worker takes some of the rows through all layers: that reads every weight once a worker and waits once, which is
 * faster for as long as the weights stay in the cache.
 */
final class CpuModel {
    /** Weights up to so many bytes are expected to stay in the last cache; a larger model never divides its rows. */
    private static final long CACHED_BYTES_MAX = 32L << 20;

    private final WorkerPool pool;
    private final Step step;
    private final LayerStack whole;
    private final StepShares shares;
    private final List<LayerStack> stacks = new ArrayList<>(); // of the shares; empty if there are none
    private final WorkerPool.Job forwardShare = (share, worker) -> forwardShare(share);
    private final Norm finalNorm;
    private final Activations headInput;
    private final Activations logits;
    private final Projection head;
    private boolean isDivided;

    CpuModel(ModelConfig config, Weights weights, WorkerPool pool, Step step, int tokenCountMax, int headRowsMax) {
        this.pool = pool;
        this.step = step;
        var packing = new Packing(pool);
        var layers = IntStream.range(0, config.layerCount())
                .mapToObj(
                        layer -> PackedLayer.of(config, layer, weights.layers().get(layer), packing))
                .toList();
        whole = new LayerStack(config, weights, layers, pool, step, tokenCountMax);
        shares = new StepShares(pool.workerCount(), headRowsMax, tokenCountMax);
        boolean isCached = layers.stream().mapToLong(PackedLayer::bytes).sum() <= CACHED_BYTES_MAX;
        for (int share = 0; isCached && pool.workerCount() > 1 && share < pool.workerCount(); share++) {
            stacks.add(new LayerStack(
                    config, weights, layers, new WorkerPool(1), shares.share(share), StepShares.TOKENS_MAX));
        }
        finalNorm = new Norm(config, weights.finalNorm());
        headInput = Activations.of(headRowsMax, config.width());
        logits = Activations.of(headRowsMax, config.paddedVocabSize());
        var route = new Projection.Route(headInput, headInput, logits);
        var packed = packing.of(weights.head());
        head = new Projection(pool, packed, null, route, (from, to, rows, worker) -> {});
    }

    /**
     * Advances the states of the step's rows by their tokens and leaves each token's residual behind.
     *
     * @param tokens ids by flat token
     */
    void forward(int[] tokens) {
        isDivided = !stacks.isEmpty() && shares.divide(step, tokens);
        if (isDivided) {
            pool.run(forwardShare, shares.count());
        } else {
            whole.forward(tokens);
        }
    }

    private void forwardShare(int share) {
        stacks.get(share).forward(shares.tokens(share));
    }

    /** Makes head row {@code row} the one of a flat token. */
    void selectHeadRow(int row, int token) {
        var residual = isDivided ? stacks.get(shares.shareOf(token)).residual() : whole.residual();
        int at = residual.at(isDivided ? shares.indexOf(token) : token);
        finalNorm.apply(residual.data(), at, headInput.data(), headInput.at(row));
    }

    /** Computes the logits of head rows [0, rows). */
    void runHead(int rows) {
        head.run(rows);
    }

    /** f32 [head rows, padded vocabulary]. */
    Activations logits() {
        return logits;
    }
}
