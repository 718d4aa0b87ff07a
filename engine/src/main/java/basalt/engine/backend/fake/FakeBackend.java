package basalt.engine.backend.fake;

import basalt.engine.Checks;
import basalt.engine.EngineException;
import basalt.engine.backend.Backend;
import basalt.engine.backend.Batch;
import basalt.engine.backend.RowSampling;
import basalt.engine.backend.StepResult;
import basalt.engine.model.ElementType;
import basalt.engine.model.ModelConfig;
import basalt.engine.state.EarlierState;
import basalt.engine.state.SavedState;
import basalt.engine.state.StateImage;
import basalt.engine.state.StateLayout;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.Executor;
import java.util.concurrent.locks.LockSupport;
import org.jspecify.annotations.Nullable;

/**
 * A deterministic backend that speaks {@link FakeLanguage} and takes as long as it is told. Confined to the engine
 * thread, but for {@link #failAtStep} and the like. Allocates nothing per step.
 *
 * <p>A slot's state is the hash of its history, with the last hashes in a ring so that it rolls back. It checks what it
 * is asked as a device cannot: rows of one slot twice, sampling in a slot that was not configured, use of a poisoned or
 * empty state.
 */
public final class FakeBackend implements Backend {
    private static final int RING = 2 * StateLayout.FOLD_INTERVAL;
    private static final int HASH_WORDS = 4; // of 16 bits, each exact in an f32

    private final Options options;
    private final StateLayout layout;
    private final long[][] rings; // [S, RING]: hash after n tokens in entry n mod RING
    private final boolean[] isPoisoned; // [S]
    private final long[] tokenCounts; // [S]
    private final int[] lastTokens; // [S]; -1 none
    private final @Nullable RowSampling[] samplings; // [S]
    private final int[] sampledCounts; // [S]; since configured
    private final boolean[] isFrozen; // [S]
    private final long[] lastSteps; // [S]; the step that used the slot last
    private final StepResult[] results; // [stepsInFlightMax]
    private final long[] dueNanos; // [stepsInFlightMax]
    private final int[] rowCounts; // [stepsInFlightMax]
    private final int[] flatCounts; // [stepsInFlightMax]; scored tokens
    private volatile long failingStep = Long.MAX_VALUE;
    private volatile Executor saver = Runnable::run;
    private volatile boolean areSavesHeld;
    private volatile boolean isHurried;
    private volatile @Nullable Thread waiter; // for the end of a step
    private long enqueuedCount;
    private long awaitedCount;
    private boolean isClosed;

    /** All slots empty. */
    public FakeBackend(Options options) {
        this.options = options;
        layout = layoutOfHashes();
        int slots = options.slotCount();
        rings = new long[slots][RING];
        isPoisoned = new boolean[slots];
        tokenCounts = new long[slots];
        lastTokens = new int[slots];
        samplings = new RowSampling[slots];
        sampledCounts = new int[slots];
        isFrozen = new boolean[slots];
        lastSteps = new long[slots];
        Arrays.fill(lastTokens, -1);
        Arrays.fill(lastSteps, -1);
        int depth = options.stepsInFlightMax();
        results = new StepResult[depth];
        for (int i = 0; i < depth; i++) {
            results[i] = new StepResult(options.rowCountMax(), options.tokenCountMax());
        }
        dueNanos = new long[depth];
        rowCounts = new int[depth];
        flatCounts = new int[depth];
    }

    private static StateLayout layoutOfHashes() {
        var tensor = new StateLayout.StateTensor(
                0, StateLayout.Role.TAYLOR_SUMS, ElementType.F32, List.of(RING, HASH_WORDS));
        return new StateLayout(List.of(tensor), tensor.bytes());
    }

    /** A configuration with this vocabulary and nothing else to it; learned positions only if above 0. */
    public static ModelConfig modelConfig(int vocabSize, int positionCount, int endOfSequence) {
        var mlp = new ModelConfig.Mlp(1, ModelConfig.Activation.SILU, true, false, false);
        return new ModelConfig(
                vocabSize, vocabSize, 1, List.of(), mlp, true, 1e-5f, true, false, positionCount, endOfSequence);
    }

    /**
     * Sizes and speed.
     *
     * @param vocabSize N
     * @param slotCount S
     * @param stepNanos time of a step
     * @param tokenNanos time that each of its tokens adds
     */
    public record Options(
            int vocabSize,
            int slotCount,
            int rowCountMax,
            int tokenCountMax,
            int stepsInFlightMax,
            long stepNanos,
            long tokenNanos) {
        /** Two steps deep, 32 slots and rows, in no time. */
        public static final Options DEFAULT = new Options(4_096, 32, 32, 512, 2, 0, 0);

        /** Checks the sizes. */
        public Options {
            Checks.argument(vocabSize > StepResult.TOP_COUNT_MAX, "vocabSize", vocabSize);
            Checks.argument(slotCount > 0, "slotCount", slotCount);
            Checks.argument(stepsInFlightMax > 0, "stepsInFlightMax", stepsInFlightMax);
        }

        /** With another vocabulary. */
        public Options withVocabSize(int value) {
            return new Options(value, slotCount, rowCountMax, tokenCountMax, stepsInFlightMax, stepNanos, tokenNanos);
        }

        /** With as many slots and rows. */
        public Options withSlots(int slots, int rows) {
            return new Options(vocabSize, slots, rows, tokenCountMax, stepsInFlightMax, stepNanos, tokenNanos);
        }

        /** With another speed. */
        public Options withTimes(long newStepNanos, long newTokenNanos) {
            return new Options(
                    vocabSize, slotCount, rowCountMax, tokenCountMax, stepsInFlightMax, newStepNanos, newTokenNanos);
        }

        /** With another depth. */
        public Options withStepsInFlight(int value) {
            return new Options(vocabSize, slotCount, rowCountMax, tokenCountMax, value, stepNanos, tokenNanos);
        }
    }

    /** Makes the step of this number, counted from 0, and all later ones fail. May be called by any thread. */
    public void failAtStep(long step) {
        failingStep = step;
    }

    /** Steps enqueued so far. */
    public long enqueuedCount() {
        return enqueuedCount;
    }

    /** Whether {@link #close} was called. */
    public boolean isClosed() {
        return isClosed;
    }

    @Override
    public String name() {
        return "fake";
    }

    @Override
    public StateLayout layout() {
        return layout;
    }

    @Override
    public int slotCount() {
        return options.slotCount();
    }

    @Override
    public int rowCountMax() {
        return options.rowCountMax();
    }

    @Override
    public int tokenCountMax() {
        return options.tokenCountMax();
    }

    @Override
    public int stepsInFlightMax() {
        return options.stepsInFlightMax();
    }

    @Override
    public void zero(int slot) {
        Arrays.fill(rings[slot], 0);
        rings[slot][0] = FakeLanguage.EMPTY;
        isPoisoned[slot] = false;
        tokenCounts[slot] = 0;
        lastTokens[slot] = -1;
    }

    @Override
    public void configure(int slot, RowSampling sampling) {
        samplings[slot] = sampling;
        sampledCounts[slot] = 0;
        isFrozen[slot] = false;
    }

    @Override
    public void copy(int fromSlot, int toSlot) {
        Checks.argument(fromSlot != toSlot, "toSlot", toSlot);
        System.arraycopy(rings[fromSlot], 0, rings[toSlot], 0, RING);
        isPoisoned[toSlot] = isPoisoned[fromSlot];
        tokenCounts[toSlot] = tokenCounts[fromSlot];
        lastTokens[toSlot] = lastTokens[fromSlot];
    }

    /** The form that the fake keeps by itself: the hashes as they are. */
    @SuppressWarnings("ArrayRecordComponent") // told apart by identity
    private record SavedHashes(StateLayout layout, long tokenCount, long[] ring) implements SavedState {
        @Override
        public long bytes() {
            return (long) Long.BYTES * ring.length;
        }

        @Override
        public StateImage image() {
            var image = new StateImage(layout);
            write(ring, tokenCount, image);
            return image;
        }
    }

    private static void write(long[] ring, long tokenCount, StateImage image) {
        var words = image.tensor(0);
        for (int i = 0; i < RING * HASH_WORDS; i++) {
            words[i] = (ring[i / HASH_WORDS] >>> (16 * (i % HASH_WORDS))) & 0xffff;
        }
        image.tokenCount(tokenCount);
    }

    @Override
    public void save(int slot, StateImage image) {
        requireState(slot);
        write(rings[slot], tokenCounts[slot], image);
    }

    /** Lets states that are begun to be saved be ready only when the executor runs; may be called by any thread. */
    public void saveLate(Executor executor) {
        saver = executor;
    }

    @Override
    public CompletableFuture<SavedState> beginSave(int slot) {
        requireState(slot);
        var state = new SavedHashes(layout, tokenCounts[slot], rings[slot].clone());
        var saved = new CompletableFuture<SavedState>();
        saver.execute(() -> saved.complete(state));
        return saved;
    }

    /** Lets saves wait until told otherwise; may be called by any thread. */
    public void holdSaves(boolean value) {
        areSavesHeld = value;
    }

    /** Ends the step that runs, and lets all later ones take no time; may be called by any thread. */
    public void hurry() {
        isHurried = true;
        LockSupport.unpark(waiter);
    }

    @Override
    public boolean canBeginSave() {
        return !areSavesHeld;
    }

    @Override
    public void load(int slot, SavedState state) {
        if (EarlierState.whole(state) instanceof SavedHashes hashes) {
            System.arraycopy(hashes.ring(), 0, rings[slot], 0, RING);
            isPoisoned[slot] = false;
        } else {
            read(slot, state.image());
        }
        tokenCounts[slot] = state.tokenCount();
        lastTokens[slot] = -1;
    }

    private void read(int slot, StateImage image) {
        var words = image.tensor(0);
        boolean hasNan = false;
        Arrays.fill(rings[slot], 0);
        for (int i = 0; i < RING * HASH_WORDS; i++) {
            hasNan |= Float.isNaN(words[i]);
            rings[slot][i / HASH_WORDS] |= (long) words[i] << (16 * (i % HASH_WORDS));
        }
        isPoisoned[slot] = hasNan;
    }

    @Override
    public void rollback(int slot, long tokenCount) {
        requireState(slot);
        long current = tokenCounts[slot];
        Checks.argument(tokenCount >= 0 && tokenCount <= current, "tokenCount", tokenCount);
        Checks.argument(current - tokenCount <= StateLayout.ROLLBACK_TOKENS, "tokenCount", tokenCount);
        Checks.argument(!StateLayout.foldsBetween(tokenCount, current), "tokenCount", tokenCount);
        tokenCounts[slot] = tokenCount;
        lastTokens[slot] = -1;
    }

    @Override
    public long tokenCount(int slot) {
        return tokenCounts[slot];
    }

    @Override
    public void enqueue(Batch batch) {
        if (enqueuedCount >= failingStep) {
            throw new EngineException.DeviceFailure("fake: step " + enqueuedCount + " failed as told");
        }
        Checks.argument(
                batch.rowCount() > 0 && batch.rowCount() <= options.rowCountMax(), "rowCount", batch.rowCount());
        Checks.argument(batch.tokenCount() <= options.tokenCountMax(), "tokenCount", batch.tokenCount());
        Checks.argument(enqueuedCount - awaitedCount < results.length, "stepsInFlight", enqueuedCount - awaitedCount);
        int index = (int) (enqueuedCount % results.length);
        int flat = 0;
        for (int row = 0; row < batch.rowCount(); row++) {
            Checks.argument(lastSteps[batch.slot(row)] != enqueuedCount, "slot", batch.slot(row));
            runRow(batch, row, flat, results[index]);
            lastSteps[batch.slot(row)] = enqueuedCount;
            flat += batch.tokenCount(row);
        }
        rowCounts[index] = batch.rowCount();
        flatCounts[index] = isScored(batch) ? flat : 0;
        long stepNanos = options.stepNanos() + options.tokenNanos() * flat;
        results[index].nanos(stepNanos);
        if (stepNanos > 0) {
            long start = System.nanoTime();
            if (enqueuedCount > awaitedCount) {
                start = Math.max(start, dueNanos[(int) ((enqueuedCount - 1) % results.length)]);
            }
            dueNanos[index] = start + stepNanos;
        }
        enqueuedCount++;
    }

    private static boolean isScored(Batch batch) {
        for (int row = 0; row < batch.rowCount(); row++) {
            if (batch.scoreCount(row) >= 0) {
                return true;
            }
        }
        return false;
    }

    private void runRow(Batch batch, int row, int flat, StepResult result) {
        int slot = batch.slot(row);
        requireState(slot);
        result.tokens[row] = -1;
        if (isFrozen[slot]) {
            return;
        }
        int count = batch.tokenCount(row);
        for (int i = 0; i < count; i++) {
            int token = batch.isContinuing(row) ? lastTokens[slot] : batch.token(row, i);
            Checks.argument(token >= 0 && token < options.vocabSize(), "token", token);
            consume(slot, token);
            if (batch.scoreCount(row) >= 0) {
                int target = i + 1 < count ? batch.token(row, i + 1) : batch.target(row);
                score(hash(slot), target, batch.scoreCount(row), flat + i, result);
            }
        }
        if (batch.isSampling(row)) {
            sample(slot, row, result);
        }
    }

    private void consume(int slot, int token) {
        long hash = FakeLanguage.consume(hash(slot), token);
        tokenCounts[slot]++;
        rings[slot][(int) (tokenCounts[slot] % RING)] = hash;
    }

    private void score(long hash, int target, int topCount, int flat, StepResult result) {
        if (target < 0) {
            return;
        }
        result.scoreLogprobs[flat] = FakeLanguage.logprob(hash, target);
        for (int rank = 0; rank < topCount; rank++) {
            int place = flat * StepResult.TOP_COUNT_MAX + rank;
            result.scoreTopIds[place] = FakeLanguage.topId(hash, rank, options.vocabSize());
            result.scoreTopLogprobs[place] = FakeLanguage.topLogprob(rank);
        }
    }

    private void sample(int slot, int row, StepResult result) {
        var sampling = samplings[slot];
        if (sampling == null) {
            throw new IllegalStateException("slot " + slot + " samples and was not configured");
        }
        long hash = hash(slot);
        int token = FakeLanguage.next(hash, tokenCounts[slot], sampling, sampledCounts[slot], options.vocabSize());
        result.tokens[row] = token;
        result.logprobs[row] = FakeLanguage.logprob(hash, token);
        for (int rank = 0; rank < sampling.logprobCount(); rank++) {
            int place = row * StepResult.TOP_COUNT_MAX + rank;
            result.topIds[place] = FakeLanguage.topId(hash, rank, options.vocabSize());
            result.topLogprobs[place] = FakeLanguage.topLogprob(rank);
        }
        lastTokens[slot] = token;
        sampledCounts[slot]++;
        isFrozen[slot] = sampledCounts[slot] >= sampling.maxTokens() || FakeLanguage.isStop(token, sampling);
    }

    private long hash(int slot) {
        return rings[slot][(int) (tokenCounts[slot] % RING)];
    }

    private void requireState(int slot) {
        if (isPoisoned[slot]) {
            throw new IllegalStateException("slot " + slot + " is used after its release");
        }
    }

    @Override
    public void await(StepResult result) {
        Checks.argument(awaitedCount < enqueuedCount, "awaitedCount", awaitedCount);
        int index = (int) (awaitedCount % results.length);
        if (results[index].nanos() > 0) {
            waiter = Thread.currentThread();
            long left = dueNanos[index] - System.nanoTime();
            while (left > 0 && !isHurried) {
                LockSupport.parkNanos(left);
                left = dueNanos[index] - System.nanoTime();
            }
        }
        copy(results[index], result, rowCounts[index], flatCounts[index]);
        awaitedCount++;
    }

    private static void copy(StepResult from, StepResult to, int rows, int flat) {
        int top = StepResult.TOP_COUNT_MAX;
        System.arraycopy(from.tokens, 0, to.tokens, 0, rows);
        System.arraycopy(from.logprobs, 0, to.logprobs, 0, rows);
        System.arraycopy(from.topIds, 0, to.topIds, 0, rows * top);
        System.arraycopy(from.topLogprobs, 0, to.topLogprobs, 0, rows * top);
        System.arraycopy(from.scoreLogprobs, 0, to.scoreLogprobs, 0, flat);
        System.arraycopy(from.scoreTopIds, 0, to.scoreTopIds, 0, flat * top);
        System.arraycopy(from.scoreTopLogprobs, 0, to.scoreTopLogprobs, 0, flat * top);
        to.nanos(from.nanos());
    }

    @Override
    public void close() {
        isClosed = true;
    }
}
