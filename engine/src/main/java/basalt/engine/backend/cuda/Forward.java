package basalt.engine.backend.cuda;

import basalt.engine.model.ElementType;
import basalt.engine.model.Mixer;
import basalt.engine.model.ModelConfig;
import java.util.List;
import java.util.Optional;
import java.util.stream.IntStream;
import org.jspecify.annotations.Nullable;

/**
 * Launches the model over the rows of a pass. Three ways, chosen by the number of tokens: a few rows that decode go
 * through {@link PairProjections}, half a layer in a kernel; up to a batch that decodes through the project kernels,
 * which fuse norm, projection and what follows, and up to two such batches in two {@link Lane}s where that pays; more
 * go through the vendor's library with separate kernels between, in two lanes too where a pass is split. Confined to
 * the engine thread.
 */
final class Forward {
    /** Most tokens that go through the project kernels, where the library is free to be chosen. */
    private static final int PROJECT_TOKENS_MAX = 8;

    private final Device device;
    private final DeviceModel model;
    private final ModelConfig config;
    private final StepBuffers buffers;
    private final SlotControls controls;
    private final KernelArguments arguments;
    private final ElementType type;
    private final int rowCountMax;
    private final int tokenCountMax;
    private final int projectTokensMax; // more tokens go through the library
    private final Lane.Rule laneRule;
    private final ProjectKernels projectKernels;
    private final ProductKernels productKernels;
    private final MixerKernels mixerKernels;
    private final StepBuffers picked; // of the end of a last layer
    private final ProjectKernels pickedKernels;
    private final @Nullable PairProjections pairs; // for steps of few rows

    Forward(
            Device device,
            DeviceModel model,
            StepBuffers buffers,
            SlotMemory slotMemory,
            SlotControls controls,
            long state,
            Limits limits) {
        this.device = device;
        this.model = model;
        this.config = model.config();
        this.buffers = buffers;
        this.controls = controls;
        arguments = new KernelArguments();
        type = limits.type();
        rowCountMax = limits.rowCountMax();
        tokenCountMax = limits.tokenCountMax();
        boolean canProject = canProject(limits.type());
        int batched = canProject && !limits.isDeterministic() ? BatchProjections.tokensMax(device, model) : 0;
        int most = batched > 0 ? batched : PROJECT_TOKENS_MAX;
        projectTokensMax = !canProject ? 0 : limits.isDeterministic() ? Integer.MAX_VALUE : most;
        laneRule = limits.laneRule()
                .orElseGet(() ->
                        BatchProjections.laneRule(device.multiprocessorCount(), device.cacheBytes(), model, batched));
        var batch = batched > 0
                ? new BatchProjections(
                        device, model, buffers, rowCountMax, limits.passTokenCountMax(), secondLanes(limits.buckets()))
                : null;
        projectKernels = new ProjectKernels(device, config, buffers, slotMemory, state, arguments, batch);
        productKernels = new ProductKernels(device, config, buffers, arguments);
        picked = buffers.picked();
        pickedKernels = new ProjectKernels(device, config, picked, slotMemory, state, arguments, batch);
        pairs = batched > 0 && PairProjections.fits(device.multiprocessorCount(), model)
                ? new PairProjections(device, model, buffers, slotMemory, state, arguments)
                : null;
        mixerKernels = new MixerKernels(device, model, buffers, slotMemory, state, limits.isDeterministic(), arguments);
    }

    /**
     * Sizes that kernels are told.
     *
     * @param rowCountMax rows of the results
     * @param tokenCountMax tokens of the results
     * @param passTokenCountMax tokens of a padded pass
     * @param buckets rows of passes that decode
     * @param isDeterministic whether the bits of a row must depend on its own tokens alone
     * @param laneRule when there are two lanes; empty chooses for the device and the model
     */
    record Limits(
            ElementType type,
            int rowCountMax,
            int tokenCountMax,
            int passTokenCountMax,
            RowBuckets buckets,
            boolean isDeterministic,
            Optional<Lane.Rule> laneRule) {}

    private List<Lane> secondLanes(RowBuckets buckets) {
        return IntStream.range(0, buckets.count())
                .map(buckets::size)
                .filter(laneRule::holds)
                .mapToObj(Lane::secondHalf)
                .toList();
    }

    /** N. */
    int vocabSize() {
        return config.vocabSize();
    }

    /** f32 [P, Npad], of the last pass. */
    long logits() {
        return buffers.logits();
    }

    /** The MLP's activation as the kernels number them. */
    static int activation(ModelConfig config) {
        return switch (config.mlp().activation()) {
            case SILU -> 0;
            case GELU -> 1;
            case SIGMOID -> 2;
        };
    }

    private boolean canProject(ElementType type) {
        boolean isEven = config.isRmsNorm() && type == ElementType.BF16;
        for (var layer : model.layers()) {
            isEven &= layer.input().depth() % ProjectKernels.DEPTH_STEP == 0
                    && layer.output().depth() % ProjectKernels.DEPTH_STEP == 0
                    && layer.fc2().depth() % ProjectKernels.DEPTH_STEP == 0;
        }
        return isEven;
    }

    /** Whether a padded pass with longer rows and so many tokens is worth two lanes. */
    boolean isWorthLanes(int tokenCount) {
        return tokenCount >= laneRule.promptTokensMin() && tokenCount > projectTokensMax;
    }

    /** Consumes the tokens of all rows, scores, samples, and moves the slots' positions on. */
    void run(Pass pass) {
        boolean isProjecting = pass.tokenCount() <= projectTokensMax;
        boolean hasLanes = pass.isDecode() && laneRule.holds(pass.rowCount());
        boolean endsWithPicks = !isProjecting && !pass.isDecode() && pass.scoreCount() == 0;
        begin(pass);
        if (pairs != null && pass.isDecode() && pairs.holds(pass.rowCount())) {
            projectKernels.logits(model.head(), pairLayers(pass, pairs), pass.rowCount());
            sample(pass);
            return;
        }
        if (hasLanes) {
            device.beginBranch();
            projectLayers(pass, Lane.secondHalf(pass.rowCount()));
            device.endBranch();
            projectLayers(pass, Lane.firstHalf(pass.rowCount()));
            device.joinBranches();
        } else if (isProjecting) {
            projectLayers(pass, Lane.all(pass.tokenCount()));
        } else {
            multiplyLayers(pass, endsWithPicks);
        }
        long lateBias = hasLanes ? 0 : model.layers().getLast().fc2().bias();
        for (int from = 0; from < pass.scoreCount(); from += rowCountMax) {
            int count = Math.min(rowCountMax, pass.scoreCount() - from);
            head(pass.tokenCount(), pass.scorePicks() + 4L * from, count, isProjecting, lateBias);
            score(pass, from, count);
        }
        if (pass.pickCount() > 0 && !endsWithPicks) {
            boolean isEveryToken = pass.isDecode() && isProjecting;
            head(pass.tokenCount(), isEveryToken ? 0 : pass.picks(), pass.pickCount(), isProjecting, lateBias);
        }
        sample(pass);
    }

    private void begin(Pass pass) {
        arguments
                .clear()
                .add(pass.rowSlots())
                .add(pass.rowStarts())
                .add(pass.tokenRows())
                .add(pass.tokens())
                .add(controls.controls())
                .add(buffers.activeSlots())
                .add(buffers.rowPositions())
                .add(model.embedding())
                .add(model.positions())
                .add(config.positionCount())
                .add(model.frequencies())
                .add(model.rotaryDim())
                .add(buffers.rotary())
                .add(buffers.residual())
                .add(model.layers().getFirst().norm1().weight())
                .add(buffers.x())
                .add(buffers.firstSquares())
                .add(config.width());
        device.launch(Kernel.BEGIN, pass.tokenCount(), 1, 256, 0, arguments);
    }

    // ---- few rows

    /** Returns what the head reads. */
    private ProjectKernels.Input pairLayers(Pass pass, PairProjections pairs) {
        int rows = pass.rowCount();
        pairs.start();
        for (int index = 0; index < model.layers().size(); index++) {
            var layer = model.layers().get(index);
            if (layer.mixer() instanceof Mixer.Convolution m) {
                pairs.convolution(layer, m, mixerKernels.stateOffset(index), rows);
            } else {
                pairs.plain(layer.input(), layer.norm1(), rows);
                mixerKernels.mix(pass, Lane.all(rows), index, 0);
                pairs.residual(layer.output(), rows);
            }
            pairs.gate(layer, rows);
        }
        return pairs.finish(model.finalNorm(), rows);
    }

    // ---- few tokens

    private void projectLayers(Pass pass, Lane lane) {
        for (int layer = 0; layer < model.layers().size(); layer++) {
            projectLayer(pass, lane, layer);
        }
    }

    private void projectLayer(Pass pass, Lane lane, int index) {
        var layer = model.layers().get(index);
        boolean isFirst = index == 0;
        var next = index + 1 < model.layers().size()
                ? model.layers().get(index + 1).norm1()
                : model.finalNorm();
        boolean isSingle = pass.singleCount() == pass.rowCount();
        if (layer.mixer() instanceof Mixer.Convolution m && isSingle && projectKernels.canConvolve(m)) {
            projectKernels.convolution(layer, m, mixerKernels.stateOffset(index), lane, isFirst);
        } else {
            projectKernels.plain(layer.input(), lane, isFirst);
            mixerKernels.mix(pass, lane, index, 0);
        }
        projectKernels.residual(layer.output(), layer.norm2(), lane);
        if (lane.isAlone()) {
            device.joinBranches();
        }
        projectKernels.gate(layer.fc1(), lane);
        projectKernels.residual(layer.fc2(), next, lane);
    }

    // ---- many tokens

    /** In two lanes where the pass is split. */
    private void multiplyLayers(Pass pass, boolean endsWithPicks) {
        boolean hasTails = endsWithPicks && buffers.tails().areFew(pass);
        if (pass.isSplit()) {
            device.beginBranch();
            multiplyLayers(pass, pass.secondLane(), endsWithPicks, hasTails);
            device.endBranch();
            multiplyLayers(pass, pass.firstLane(), endsWithPicks, hasTails);
            device.joinBranches();
        } else {
            multiplyLayers(pass, Lane.all(pass.tokenCount()), endsWithPicks, hasTails);
        }
        if (hasTails) {
            mixTails(pass, model.layers().getLast());
        }
        if (endsWithPicks) {
            endWithPicks(pass, model.layers().getLast());
        }
    }

    /**
     * Of the last layer, where it ends with picks, only what changes slots and the picked tokens of it, since nothing
     * reads what the rest would make of others; where tails are enough for that, nothing.
     */
    private void multiplyLayers(Pass pass, Lane lane, boolean endsWithPicks, boolean hasTails) {
        var part = Part.of(lane, buffers, type, config.width());
        int last = model.layers().size() - 1;
        int wholeCount = endsWithPicks ? last : last + 1;
        for (int layer = 0; layer < wholeCount; layer++) {
            mixLayer(pass, lane, part, layer);
            productKernels.end(model.layers().get(layer), part);
        }
        if (endsWithPicks && !hasTails) {
            mixLayer(pass, lane, part, last);
            gatherPicks(pass, lane, model.layers().get(last).output().depth());
        }
    }

    /** The first half of a layer: all of it that changes slots. */
    private void mixLayer(Pass pass, Lane lane, Part part, int index) {
        var layer = model.layers().get(index);
        productKernels.begin(layer, part, model.precedingBias(index));
        boolean isBiasLate = layer.mixer() instanceof Mixer.Convolution;
        if (!isBiasLate) {
            productKernels.addBias(layer.input(), part);
        }
        mixerKernels.mix(pass, lane, index, isBiasLate ? layer.input().bias() : 0);
    }

    /** What the mixer of the last layer left of a lane's picked tokens, and their residual stream. */
    private void gatherPicks(Pass pass, Lane lane, int depth) {
        int first = lane.first() == 0 ? 0 : pass.splitPick();
        int end = lane.isAlone() || lane.first() > 0 ? pass.pickCount() : pass.splitPick();
        long stride = (long) type.bytes() * depth;
        gather(
                pass.picks() + (long) Integer.BYTES * first,
                end - first,
                new Gathered(buffers.narrow(lane, stride), picked.narrow() + stride * first, depth),
                new Gathered(
                        buffers.residual(),
                        picked.residual() + (long) Float.BYTES * config.width() * first,
                        config.width()));
    }

    /** What the last layer's convolution changes in slots, and what it leaves of the picked tokens. */
    private void mixTails(Pass pass, DeviceModel.Layer layer) {
        var tails = buffers.tails();
        tails.gather(device, arguments, pass, buffers);
        var part = Part.first(buffers, tails.count(pass)).withResidual(tails.residual());
        productKernels.begin(layer, part, model.precedingBias(model.layers().size() - 1));
        mixerKernels.mixTails(pass, layer.input().bias());
        gather(
                tails.picks(),
                pass.pickCount(),
                new Gathered(part.narrow(), picked.narrow(), layer.output().depth()),
                new Gathered(part.residual(), picked.residual(), config.width()));
    }

    /** The rest of the last layer and the head, of the gathered tokens alone. */
    private void endWithPicks(Pass pass, DeviceModel.Layer layer) {
        int count = pass.pickCount();
        if (count == 0) {
            device.joinBranches();
        } else if (count > projectTokensMax) {
            productKernels.end(layer, Part.first(picked, count));
            productKernels.head(model, picked.residual(), 0, count, layer.fc2().bias());
        } else {
            var lane = Lane.all(count);
            pickedKernels.residual(layer.output(), layer.norm2(), lane);
            device.joinBranches();
            pickedKernels.gate(layer.fc1(), lane);
            pickedKernels.residual(layer.fc2(), model.finalNorm(), lane);
            pickedKernels.logits(model.head(), pickedInput(), count);
        }
    }

    /**
     * A tensor whose picked tokens are copied.
     *
     * @param width entries of a token
     */
    private record Gathered(long from, long to, int width) {}

    private void gather(long picks, int count, Gathered elements, Gathered floats) {
        if (count == 0) {
            return;
        }
        arguments
                .clear()
                .add(picks)
                .add(elements.from())
                .add(floats.from())
                .add(elements.to())
                .add(floats.to())
                .add(elements.width())
                .add(floats.width());
        device.launch(Kernel.GATHER, count, 1, 256, 0, arguments);
    }

    // ---- the end of a step

    /** Logits of picked tokens, or of every token where {@code picks} is 0 and the project kernels are used. */
    private void head(int tokens, long picks, int count, boolean isProjecting, long lateBias) {
        if (!isProjecting) {
            productKernels.head(model, buffers.residual(), picks, count, lateBias);
            return;
        }
        var linear = model.head();
        int squareCount = projectKernels.squareCount();
        if (picks == 0) {
            var every = new ProjectKernels.Input(buffers.x(), buffers.squares(), squareCount);
            projectKernels.logits(linear, every, tokens);
            return;
        }
        gather(
                picks,
                count,
                new Gathered(buffers.x(), buffers.headX(), config.width()),
                new Gathered(buffers.squares(), buffers.headSquares(), squareCount));
        projectKernels.logits(linear, pickedInput(), count);
    }

    private ProjectKernels.Input pickedInput() {
        return new ProjectKernels.Input(buffers.headX(), buffers.headSquares(), projectKernels.squareCount());
    }

    private void score(Pass pass, int from, int count) {
        arguments
                .clear()
                .add(buffers.logits())
                .add(config.paddedVocabSize())
                .add(config.vocabSize())
                .add(pass.scoreTargets() + 4L * from)
                .add(pass.scoreTopCounts() + 4L * from)
                .add(pass.scoreTokens() + 4L * from)
                .add(pass.results())
                .add(rowCountMax)
                .add(tokenCountMax);
        device.launch(Kernel.SCORE, count, 1, 1024, 0, arguments);
    }

    private void sample(Pass pass) {
        arguments
                .clear()
                .add(buffers.logits())
                .add(buffers.adjusted())
                .add(config.paddedVocabSize())
                .add(config.vocabSize())
                .add(buffers.activeSlots())
                .add(pass.rowCounts())
                .add(pass.rowPicks())
                .add(pass.resultRows())
                .add(controls.controls())
                .add(controls.stops())
                .add(controls.biasIds())
                .add(controls.biasValues())
                .add(controls.counts())
                .add(pass.results())
                .add(rowCountMax)
                .add(tokenCountMax);
        device.launch(Kernel.SAMPLE, pass.rowCount(), 1, 1024, 0, arguments);
    }
}
