package basalt.engine.backend.cpu;

import basalt.engine.Checks;
import basalt.engine.EngineException;
import basalt.engine.backend.Backend;
import basalt.engine.backend.Batch;
import basalt.engine.backend.RowSampling;
import basalt.engine.backend.StepResult;
import basalt.engine.model.ElementType;
import basalt.engine.model.ModelConfig;
import basalt.engine.model.Weights;
import basalt.engine.state.SavedState;
import basalt.engine.state.StateImage;
import basalt.engine.state.StateLayout;
import java.util.concurrent.CompletableFuture;

/**
 * The model on the CPU, by the Vector API. Confined to the engine thread, which is also one of the workers: a step is
 * computed in {@link #await}, so one step is in flight at most.
 */
public final class CpuBackend implements Backend {
    /** Fraction of the heap's maximum that states may take; the rest is for weights, buffers and the server. */
    private static final double STATE_SHARE = 0.9;

    private final ModelConfig config;
    private final StateLayout layout;
    private final CpuSlot[] slots;
    private final SlotSaver saver;
    private final int rowCountMax;
    private final int tokenCountMax;
    private final WorkerPool pool;
    private final Step step;
    private final CpuModel model;
    private final Batch batch;
    private final int[] tokens; // [tokenCountMax], ids by flat token of the step
    private final HeadRows headRows;
    private boolean isInFlight;

    private CpuBackend(
            ModelConfig config, Weights weights, int slotCount, int rowCountMax, int tokenCountMax, WorkerPool pool) {
        this.config = config;
        this.rowCountMax = rowCountMax;
        this.tokenCountMax = tokenCountMax;
        layout = StateLayout.of(config, ElementType.F32);
        this.pool = pool;
        step = new Step(rowCountMax, tokenCountMax);
        model = new CpuModel(config, weights, pool, step, tokenCountMax, rowCountMax);
        batch = new Batch(rowCountMax, tokenCountMax);
        tokens = new int[tokenCountMax];
        headRows = new HeadRows(config.vocabSize(), model, pool, step, rowCountMax);
        requireMemory(slotCount);
        saver = new SlotSaver(config, layout);
        slots = new CpuSlot[slotCount];
        for (int i = 0; i < slotCount; i++) {
            slots[i] = new CpuSlot(config);
        }
    }

    /**
     * Packs the weights and allocates every slot and buffer.
     *
     * @param slotCount S
     * @param rowCountMax rows of one step at most, not above S
     * @param tokenCountMax tokens of one step at most
     * @param threadCount threads that compute, the engine thread included
     * @throws EngineException.InsufficientMemory if the weights or the slots do not fit into the heap
     */
    public static CpuBackend open(
            ModelConfig config, Weights weights, int slotCount, int rowCountMax, int tokenCountMax, int threadCount) {
        Checks.argument(slotCount > 0, "slotCount", slotCount);
        Checks.argument(rowCountMax > 0 && rowCountMax <= slotCount, "rowCountMax", rowCountMax);
        Checks.argument(tokenCountMax >= rowCountMax, "tokenCountMax", tokenCountMax);
        Checks.argument(threadCount > 0, "threadCount", threadCount);
        requireRoom(config, weights, slotCount);
        var pool = new WorkerPool(threadCount);
        boolean isOpen = false;
        try {
            var backend = new CpuBackend(config, weights, slotCount, rowCountMax, tokenCountMax, pool);
            isOpen = true;
            return backend;
        } catch (OutOfMemoryError e) {
            throw new EngineException.InsufficientMemory(tooLittle(config, slotCount), e);
        } finally {
            if (!isOpen) {
                pool.close();
            }
        }
    }

    /** Refuses weights before they fill the heap: in that moment all other threads find it full too. */
    private static void requireRoom(ModelConfig config, Weights weights, int slotCount) {
        long needed = Packing.bytesMin(weights)
                + StateLayout.of(config, ElementType.F32).bytes();
        if (needed > freeHeap()) {
            System.gc(); // what is free does not count what could be
        }
        if (needed > freeHeap()) {
            throw new EngineException.InsufficientMemory(tooLittle(config, slotCount));
        }
    }

    private static String tooLittle(ModelConfig config, int slotCount) {
        return String.format(
                "a heap with room for %,d MB does not hold the weights, %,d parameters, beside %d slots of %,d bytes:"
                        + " raise it (-Xmx), or use a machine with more memory",
                Runtime.getRuntime().maxMemory() >> 20,
                config.parameterCount(),
                slotCount,
                StateLayout.of(config, ElementType.F32).bytes());
    }

    private static long freeHeap() {
        Runtime runtime = Runtime.getRuntime();
        return runtime.maxMemory() - (runtime.totalMemory() - runtime.freeMemory());
    }

    private void requireMemory(int slotCount) {
        long available = (long) (freeHeap() * STATE_SHARE);
        long needed = slotCount * layout.bytes();
        if (needed > available) {
            long fitting = available / layout.bytes();
            throw new EngineException.InsufficientMemory(String.format(
                    "%,d slots of %,d bytes do not fit into the %,d that are free: %sraise the heap (-Xmx)",
                    slotCount, layout.bytes(), available, fitting > 0 ? "use at most " + fitting + " slots or " : ""));
        }
    }

    @Override
    public String name() {
        return "cpu";
    }

    @Override
    public StateLayout layout() {
        return layout;
    }

    @Override
    public int slotCount() {
        return slots.length;
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
        return 1;
    }

    @Override
    public void zero(int slot) {
        slots[slot].zero();
    }

    @Override
    public void configure(int slot, RowSampling sampling) {
        slots[slot].configure(sampling);
    }

    @Override
    public void copy(int fromSlot, int toSlot) {
        assert !isInFlight : "copy between enqueue and await";
        slots[toSlot].copyFrom(slots[fromSlot]);
    }

    @Override
    public void save(int slot, StateImage image) {
        assert !isInFlight : "save between enqueue and await";
        slots[slot].save(image);
    }

    @Override
    public CompletableFuture<SavedState> beginSave(int slot) {
        assert !isInFlight : "save between enqueue and await";
        return saver.begin(slots[slot]).orElseGet(() -> Backend.super.beginSave(slot));
    }

    @Override
    public void load(int slot, SavedState state) {
        var image = state.image();
        int index = 0;
        for (int layer = 0; layer < slots[slot].layerCount(); layer++) {
            index = slots[slot].layer(layer).load(image, index);
        }
        slots[slot].tokenCount(image.tokenCount());
        slots[slot].lastToken(-1);
    }

    @Override
    public void rollback(int slot, long tokenCount) {
        long current = slots[slot].tokenCount();
        Checks.argument(tokenCount >= 0 && tokenCount <= current, "tokenCount", tokenCount);
        Checks.argument(current - tokenCount <= StateLayout.ROLLBACK_TOKENS, "tokenCount", tokenCount);
        Checks.argument(!StateLayout.foldsBetween(tokenCount, current), "tokenCount", tokenCount);
        slots[slot].tokenCount(tokenCount);
        slots[slot].lastToken(tokenCount == current ? slots[slot].lastToken() : -1);
    }

    @Override
    public long tokenCount(int slot) {
        return slots[slot].tokenCount();
    }

    @Override
    public void enqueue(Batch rows) {
        Checks.argument(!isInFlight, "stepsInFlight", 1);
        batch.copyFrom(rows);
        isInFlight = true;
    }

    @Override
    public void await(StepResult result) {
        Checks.argument(isInFlight, "stepsInFlight", 0);
        isInFlight = false;
        long start = System.nanoTime();
        takeRows();
        if (step.tokenCount() > 0) {
            model.forward(tokens);
        }
        headRows.run(batch, result);
        for (int row = 0; row < step.rowCount(); row++) {
            CpuSlot slot = step.slot(row);
            slot.tokenCount(slot.tokenCount() + step.end(row) - step.start(row));
        }
        result.nanos(System.nanoTime() - start);
    }

    /** Lays the batch's rows out in the step; a frozen row has no tokens there. */
    private void takeRows() {
        step.clear();
        for (int row = 0; row < batch.rowCount(); row++) {
            CpuSlot slot = slots[batch.slot(row)];
            int count = slot.isFrozen() ? 0 : batch.tokenCount(row);
            int start = step.tokenCount();
            for (int i = 0; i < count; i++) {
                int token = batch.isContinuing(row) ? slot.lastToken() : batch.token(row, i);
                Checks.argument(token >= 0 && token < config.vocabSize(), "token", token);
                tokens[start + i] = token;
            }
            step.add(slot, count);
        }
    }

    @Override
    public void close() {
        saver.close();
        pool.close();
    }
}
