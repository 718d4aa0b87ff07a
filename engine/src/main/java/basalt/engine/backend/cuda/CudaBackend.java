package basalt.engine.backend.cuda;

import basalt.engine.Checks;
import basalt.engine.EngineException.InsufficientMemory;
import basalt.engine.backend.Backend;
import basalt.engine.backend.Batch;
import basalt.engine.backend.RowSampling;
import basalt.engine.backend.StepResult;
import basalt.engine.model.ElementType;
import basalt.engine.model.ModelConfig;
import basalt.engine.model.Weights;
import basalt.engine.state.EarlierState;
import basalt.engine.state.SavedState;
import basalt.engine.state.StateImage;
import basalt.engine.state.StateLayout;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;

/**
 * The model on an NVIDIA GPU. States of all slots, positions, last tokens and random numbers live on the device; a
 * step whose rows all decode is one graph launch, and so is one with rows of several tokens among them once its sizes
 * have occurred some times; that reads the weights once for both kinds. Two steps may be in flight: results come back
 * through mapped memory. Confined to the engine thread.
 */
public final class CudaBackend implements Backend {
    private static final int STEPS_IN_FLIGHT = 2;
    /** Left free beside the slots, for the driver's graphs and what the library allocates. */
    static final long RESERVED_BYTES = 768L << 20;

    private final Device device;
    private final StateLayout layout;
    private final SlotMemory slotMemory;
    private final SlotControls controls;
    private final long state; // bytes [S, slot bytes]
    private final int slotCount;
    private final int rowCountMax;
    private final int tokenCountMax;
    private final Forward forward;
    private final Pass decode;
    private final Pass mixed;
    private final RowBuckets buckets;
    private final PassGraphs graphs;
    private final SlotBlocks blocks;
    private final SlotSaver saver;
    private final SlotLoader loader;
    private final MemorySegment stagedSlot; // one slot, on its way to or from an image
    private final MemorySegment stagedLogits; // f32 [Npad]
    private final long[] tokenCounts; // [S], enqueued ones included
    private final int[] epochs; // [S], grows when a slot's count is set anew
    private final StepInFlight[] steps; // ring
    private int enqueuedSteps;
    private int awaitedSteps;

    /**
     * How a backend is opened.
     *
     * @param slotCount S; 0 takes as many as fit
     * @param rowCountMax rows of one step at most
     * @param tokenCountMax tokens of one step at most
     * @param isDeterministic whether the bits of a row depend on nothing but its own tokens, at a cost in speed
     * @param type of weights as used, activations and rings: bf16, or f32 for tests
     * @param hostBytesMax pinned host memory that saved states take at most
     */
    public record Options(
            int slotCount,
            int rowCountMax,
            int tokenCountMax,
            boolean isDeterministic,
            ElementType type,
            long hostBytesMax) {
        /** Hardly any pinned host memory. */
        public Options(int slotCount, int rowCountMax, int tokenCountMax, boolean isDeterministic, ElementType type) {
            this(slotCount, rowCountMax, tokenCountMax, isDeterministic, type, 0);
        }
    }

    private CudaBackend(
            Device device, ModelConfig config, Weights weights, Options options, Optional<Lane.Rule> laneRule) {
        this.device = device;
        rowCountMax = options.rowCountMax();
        tokenCountMax = options.tokenCountMax();
        layout = StateLayout.of(config, options.type());
        slotMemory = new SlotMemory(layout);
        var uploader = new WeightUploader(device, options.type());
        var model = DeviceModel.upload(device, uploader, config, weights);
        int passRows = PassGraphs.rowCountMax(rowCountMax);
        int passTokens = PassGraphs.tokenCountMax(rowCountMax, tokenCountMax);
        var buffers = StepBuffers.allocate(
                device, config, options.type(), new StepBuffers.Sizes(rowCountMax, passRows, passTokens));
        decode = new Pass(device, rowCountMax, rowCountMax, STEPS_IN_FLIGHT + 1);
        mixed = new Pass(device, passRows, passTokens, STEPS_IN_FLIGHT + 1);
        blocks = new SlotBlocks(device, slotMemory, layout, options.hostBytesMax());
        saver = new SlotSaver(device, blocks);
        loader = new SlotLoader(device, blocks);
        slotCount = options.slotCount() > 0 ? options.slotCount() : slotsThatFit(config);
        Checks.argument(rowCountMax <= slotCount, "rowCountMax", rowCountMax);
        controls = new SlotControls(device, slotCount, config.vocabSize());
        state = device.allocate(slotCount * slotMemory.bytes());
        stagedSlot = device.allocateMapped(slotMemory.bytes());
        stagedLogits = device.allocateMapped(4L * config.paddedVocabSize());
        tokenCounts = new long[slotCount];
        epochs = new int[slotCount];
        steps = new StepInFlight[STEPS_IN_FLIGHT];
        for (int i = 0; i < steps.length; i++) {
            steps[i] = new StepInFlight(device, rowCountMax, tokenCountMax);
        }
        buckets = new RowBuckets(rowCountMax);
        var limits = new Forward.Limits(
                options.type(), rowCountMax, tokenCountMax, passTokens, buckets, options.isDeterministic(), laneRule);
        forward = new Forward(device, model, buffers, slotMemory, controls, state, limits);
        graphs = new PassGraphs(
                device, forward, buckets, decode, steps[0].results().address());
        device.synchronize();
        blocks.start();
    }

    /**
     * How many GPUs there are, at least 1.
     *
     * @throws basalt.engine.EngineException.DeviceFailure saying why there is none
     */
    public static int deviceCount() {
        return JcudaDevice.count();
    }

    /**
     * Opens a GPU and uploads a model.
     *
     * @param deviceOrdinal of the driver's devices
     * @throws basalt.engine.EngineException.DeviceFailure saying what is missing
     * @throws InsufficientMemory if the model and the slots do not fit
     */
    public static CudaBackend open(ModelConfig config, Weights weights, Options options, int deviceOrdinal) {
        return open(new JcudaDevice(deviceOrdinal, options.type()), config, weights, options);
    }

    /** On a device that is open; closes it when this fails. */
    static CudaBackend open(Device device, ModelConfig config, Weights weights, Options options) {
        return open(device, config, weights, options, Optional.empty());
    }

    /** The same with lanes where a test wants them. */
    static CudaBackend open(
            Device device, ModelConfig config, Weights weights, Options options, Optional<Lane.Rule> laneRule) {
        Checks.argument(options.slotCount() >= 0, "slotCount", options.slotCount());
        Checks.argument(options.rowCountMax() > 0, "rowCountMax", options.rowCountMax());
        Checks.argument(options.tokenCountMax() >= options.rowCountMax(), "tokenCountMax", options.tokenCountMax());
        boolean isOpen = false;
        try {
            var backend = new CudaBackend(device, config, weights, options, laneRule);
            isOpen = true;
            return backend;
        } finally {
            if (!isOpen) {
                device.close();
            }
        }
    }

    /** Device memory of one slot of a model: its state in bf16, and what sampling keeps. */
    public static long bytesPerSlot(ModelConfig config) {
        return bytesPerSlot(config, ElementType.BF16);
    }

    /**
     * About how many slots a GPU holds beside a model, for {@link Options#slotCount} of 0.
     *
     * @param memoryBytes of the whole card
     */
    public static long slotsWithin(long memoryBytes, ModelConfig config, Options options) {
        long bytes = memoryBytes - FixedMemory.bytes(config, options);
        return Math.max(0, bytes / bytesPerSlot(config, options.type()));
    }

    private static long bytesPerSlot(ModelConfig config, ElementType type) {
        return new SlotMemory(StateLayout.of(config, type)).bytes() + SlotControls.bytesPerSlot(config.vocabSize());
    }

    private int slotsThatFit(ModelConfig config) {
        long perSlot = bytesPerSlot(config, layout.tensors().getLast().type());
        long free = device.freeBytes();
        long fitting = (free - RESERVED_BYTES) / perSlot;
        if (fitting < rowCountMax) {
            throw new InsufficientMemory(String.format(
                    "%s: beside the model %,d MB are free, room for %d slots of %,d bytes, but %d rows are asked for:"
                            + " use a smaller batch",
                    device.name(), free >> 20, Math.max(fitting, 0), perSlot, rowCountMax));
        }
        return (int) Math.min(fitting, Integer.MAX_VALUE / 1024);
    }

    /** Records the graph of a decode step with room for so many rows, having run it once, for a test; returns it. */
    int capture(int rows) {
        decode.clear(steps[0].results().address());
        decode.padSingles(buckets.atLeast(rows), true);
        return graphs.record(decode);
    }

    /** Lets graphs of steps with prompts be recorded anew, for a test that changes what is launched. */
    void forgetGraphs() {
        graphs.forget();
    }

    /** Uploads a decode step of the first slots, for graphs that a test replays by itself. */
    void uploadRows(int rows) {
        decode.clear(steps[0].results().address());
        for (int slot = 0; slot < rows; slot++) {
            decode.addToken(decode.addRow(slot, 1, slot, true, true), -1);
        }
        decode.padSingles(buckets.atLeast(rows), true);
        decode.upload();
    }

    @Override
    public String name() {
        return device.name();
    }

    @Override
    public StateLayout layout() {
        return layout;
    }

    /** Device memory that one more slot takes, controls included. */
    public long bytesPerSlot() {
        return slotMemory.bytes() + SlotControls.bytesPerSlot(forward.vocabSize());
    }

    @Override
    public int slotCount() {
        return slotCount;
    }

    @Override
    public int rowCountMax() {
        return rowCountMax;
    }

    @Override
    public int tokenCountMax() {
        return tokenCountMax;
    }

    @Override
    public int stepsInFlightMax() {
        return STEPS_IN_FLIGHT;
    }

    @Override
    public void zero(int slot) {
        device.bind();
        device.fill(address(slot), 0, slotMemory.bytes());
        controls.zero(slot);
        setTokenCount(slot, 0);
    }

    /** Fills a slot's state with NaN, so that a test sees who reads it. */
    void poison(int slot) {
        device.bind();
        device.fill(address(slot), 0xff, slotMemory.bytes());
    }

    /** Reads logits that the last step left, by the index of the pick; for tests. */
    void readLogits(int pick, float[] logits) {
        device.bind();
        long bytes = 4L * logits.length;
        device.download(stagedLogits, forward.logits() + pick * bytes, bytes);
        device.synchronize();
        MemorySegment.copy(stagedLogits, ValueLayout.JAVA_FLOAT, 0, logits, 0, logits.length);
    }

    @Override
    public void configure(int slot, RowSampling sampling) {
        device.bind();
        controls.configure(slot, sampling);
    }

    @Override
    public void copy(int fromSlot, int toSlot) {
        device.bind();
        device.copy(address(toSlot), address(fromSlot), slotMemory.bytes());
        controls.copy(fromSlot, toSlot);
        setTokenCount(toSlot, tokenCounts[fromSlot]);
        // What a row in flight turns out not to have consumed is taken back from the copy too.
        for (int step = awaitedSteps; step != enqueuedSteps; step++) {
            steps[step % STEPS_IN_FLIGHT].follow(fromSlot, epochs[fromSlot], toSlot, epochs[toSlot]);
        }
    }

    @Override
    public void save(int slot, StateImage image) {
        device.bind();
        device.synchronize();
        device.download(stagedSlot, address(slot), slotMemory.bytes());
        device.synchronize();
        slotMemory.read(stagedSlot, image);
        image.tokenCount(deviceTokenCount(slot));
    }

    @Override
    public boolean canBeginSave() {
        return saver.hasRoom();
    }

    @Override
    public CompletableFuture<SavedState> beginSave(int slot) {
        device.bind();
        return saver.begin(address(slot), deviceTokenCount(slot)).orElseGet(() -> Backend.super.beginSave(slot));
    }

    /** The count with what steps in flight, as far as they have rows of the slot all done, have really consumed. */
    private long deviceTokenCount(int slot) {
        long count = tokenCounts[slot];
        for (int step = awaitedSteps; step != enqueuedSteps; step++) {
            count -= steps[step % STEPS_IN_FLIGHT].unconsumed(slot, epochs[slot]);
        }
        return count;
    }

    @Override
    public SavedState prepare(SavedState state) {
        var whole = EarlierState.whole(state);
        var prepared = blocks.prepare(whole);
        return prepared.tokenCount() == state.tokenCount() ? prepared : new EarlierState(prepared, state.tokenCount());
    }

    @Override
    public void load(int slot, SavedState state) {
        device.bind();
        var whole = EarlierState.whole(state);
        boolean isMine = whole instanceof SlotBlock block && block.blocks() == blocks;
        if (!isMine || !loader.load((SlotBlock) whole, address(slot))) {
            device.synchronize(); // the staged slot may still be read
            slotMemory.write(state.image(), stagedSlot);
            device.upload(address(slot), stagedSlot, 0, slotMemory.bytes());
        }
        controls.position(slot, state.tokenCount(), false);
        setTokenCount(slot, state.tokenCount());
    }

    @Override
    public void rollback(int slot, long tokenCount) {
        long current = tokenCounts[slot];
        Checks.argument(tokenCount >= 0 && tokenCount <= current, "tokenCount", tokenCount);
        Checks.argument(current - tokenCount <= StateLayout.ROLLBACK_TOKENS, "tokenCount", tokenCount);
        Checks.argument(!StateLayout.foldsBetween(tokenCount, current), "tokenCount", tokenCount);
        device.bind();
        controls.position(slot, tokenCount, tokenCount == current);
        setTokenCount(slot, tokenCount);
    }

    @Override
    public long tokenCount(int slot) {
        return tokenCounts[slot];
    }

    @Override
    public void enqueue(Batch batch) {
        Checks.argument(enqueuedSteps - awaitedSteps < STEPS_IN_FLIGHT, "stepsInFlight", STEPS_IN_FLIGHT);
        Checks.argument(batch.rowCount() > 0 && batch.rowCount() <= rowCountMax, "rowCount", batch.rowCount());
        Checks.argument(batch.tokenCount() <= tokenCountMax, "tokenCount", batch.tokenCount());
        device.bind();
        var step = steps[enqueuedSteps % STEPS_IN_FLIGHT];
        step.clear();
        int longCount = 0;
        boolean isScoring = false;
        for (int row = 0; row < batch.rowCount(); row++) {
            int slot = batch.slot(row);
            int count = batch.tokenCount(row);
            step.add(slot, epochs[slot], count);
            tokenCounts[slot] += count;
            longCount += isSingle(batch, row) ? 0 : 1;
            isScoring |= batch.scoreCount(row) >= 0;
        }
        var pass = longCount == 0 ? decode : mixed;
        boolean isPadded = PassGraphs.canPad(longCount, isScoring);
        pass.clear(step.results().address());
        addRows(pass, batch, true);
        if (isPadded) {
            pass.padSingles(buckets.atLeast(pass.rowCount()), longCount == 0);
        }
        addRows(pass, batch, false);
        if (isPadded && longCount > 0) {
            graphs.padLong(pass);
        }
        int graph = graphs.graphOf(pass);
        device.record(step.startEvent());
        pass.upload();
        graphs.run(pass, graph);
        device.record(step.endEvent());
        enqueuedSteps++;
    }

    private static boolean isSingle(Batch batch, int row) {
        return batch.tokenCount(row) == 1 && batch.scoreCount(row) < 0;
    }

    /** Adds the rows of one token, or all others. */
    private void addRows(Pass pass, Batch batch, boolean areSingle) {
        int flatToken = 0;
        for (int row = 0; row < batch.rowCount(); row++) {
            if (isSingle(batch, row) == areSingle) {
                addRow(pass, batch, row, flatToken);
            }
            flatToken += batch.tokenCount(row);
        }
    }

    private void addRow(Pass pass, Batch batch, int row, int flatToken) {
        int count = batch.tokenCount(row);
        boolean isSampling = batch.isSampling(row);
        int passRow = pass.addRow(batch.slot(row), count, row, isSampling || pass == decode, isSampling);
        for (int i = 0; i < count; i++) {
            pass.addToken(passRow, batch.isContinuing(row) ? -1 : batch.token(row, i));
            if (batch.scoreCount(row) >= 0) {
                int target = i + 1 < count ? batch.token(row, i + 1) : batch.target(row);
                pass.addScore(target, batch.scoreCount(row), flatToken + i);
            }
        }
    }

    @Override
    public void await(StepResult result) {
        Checks.argument(enqueuedSteps > awaitedSteps, "stepsInFlight", 0);
        device.bind();
        var step = steps[awaitedSteps % STEPS_IN_FLIGHT];
        device.await(step.endEvent());
        awaitedSteps++;
        step.read(result, tokenCounts, epochs);
        result.nanos(device.nanosBetween(step.startEvent(), step.endEvent()));
    }

    @Override
    public void close() {
        try {
            saver.close();
            blocks.close();
        } finally {
            device.close();
        }
    }

    private long address(int slot) {
        return state + slot * slotMemory.bytes();
    }

    private void setTokenCount(int slot, long count) {
        tokenCounts[slot] = count;
        epochs[slot]++;
    }
}
