package basalt.engine.backend.cuda;

import basalt.engine.backend.RowSampling;
import basalt.engine.backend.StepResult;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.List;

/** The kernels that end a step, by themselves, on logits that a test chooses. As many slots as rows. */
final class DrawKernels {
    /** In every word of the results that nothing wrote. */
    static final int UNWRITTEN = 0x5a5a5a5a;

    /** Words of a slot's record. */
    static final int CONTROL_WORDS = SlotControls.BYTES / Integer.BYTES;

    /** Index of a word of a slot's record. */
    static final int POSITION_WORD = 0; // two words

    static final int LAST_TOKEN_WORD = 2;
    static final int SAMPLED_COUNT_WORD = 20;
    static final int FROZEN_WORD = 21;

    private static final int TOP = StepResult.TOP_COUNT_MAX;
    private static final float PADDING = 1e30f; // that a kernel would prefer to any logit
    private static final int ARRAYS = 8;

    private final Device device;
    private final int vocabSize;
    private final int stride;
    private final int rowCountMax; // R
    private final SlotControls slots;
    private final long logits; // f32 [R, stride]
    private final long adjusted; // f32 [R, stride]
    private final long arrays; // i32 [ARRAYS, R], the address of the results before them
    private final MemorySegment stagedLogits;
    private final MemorySegment stagedArrays;
    private final MemorySegment stagedSampledCounts; // i32 [R]
    private final MemorySegment counts; // u16 [R, N]
    private final MemorySegment controls; // SlotControl [R]
    private final MemorySegment results;
    private final KernelArguments arguments = new KernelArguments();

    /**
     * What a row draws from.
     *
     * @param logits f32 [N]
     * @param earlier tokens that its slot has sampled before
     * @param position tokens that its slot will have consumed
     */
    @SuppressWarnings("ArrayRecordComponent")
    record Draw(String name, float[] logits, RowSampling sampling, int[] earlier, long position) {}

    /**
     * A row of a launch, as the kernel finds it.
     *
     * @param slot -1 for a row that is frozen, and for padding
     * @param pick row of the logits, -1 where it does not sample
     * @param resultRow -1 for padding
     * @param count tokens that it consumes now
     */
    record Row(Draw draw, int slot, int pick, int resultRow, int count) {}

    /**
     * A row of logits that is scored.
     *
     * @param target the next token, or -1
     * @param resultToken where its results go
     */
    @SuppressWarnings("ArrayRecordComponent")
    record Scored(float[] logits, int target, int topCount, int resultToken) {}

    /**
     * What slots hold.
     *
     * @param controls i32 [R, CONTROL_WORDS]
     * @param counts u16 [R, N]
     */
    @SuppressWarnings("ArrayRecordComponent")
    record Slots(int[] controls, short[] counts) {}

    /**
     * What a launch found and left.
     *
     * @param results all words of them
     */
    @SuppressWarnings("ArrayRecordComponent")
    record Sampled(Slots before, Slots after, int[] results) {}

    DrawKernels(Device device, int vocabSize, int stride, int rowCountMax) {
        this.device = device;
        this.vocabSize = vocabSize;
        this.stride = stride;
        this.rowCountMax = rowCountMax;
        long logitsBytes = (long) Float.BYTES * rowCountMax * stride;
        long arraysBytes = Long.BYTES + (long) Integer.BYTES * ARRAYS * rowCountMax;
        slots = new SlotControls(device, rowCountMax, vocabSize);
        logits = device.allocate(logitsBytes);
        adjusted = device.allocate(logitsBytes);
        arrays = device.allocate(arraysBytes);
        stagedLogits = device.allocateMapped(logitsBytes);
        stagedArrays = device.allocateMapped(arraysBytes);
        stagedSampledCounts = device.allocateMapped((long) Integer.BYTES * rowCountMax);
        counts = device.allocateMapped((long) Short.BYTES * rowCountMax * vocabSize);
        controls = device.allocateMapped((long) SlotControls.BYTES * rowCountMax);
        results = device.allocateMapped((long) Integer.BYTES * (43 * rowCountMax + 41 * tokenCountMax()));
        stagedArrays.set(ValueLayout.JAVA_LONG, 0, results.address());
    }

    /** R of the results. */
    int rowCountMax() {
        return rowCountMax;
    }

    /** T of the results: one that is not R. */
    int tokenCountMax() {
        return rowCountMax + 3;
    }

    /** First word of an array of the results, in the order of {@code Results} of sampling.cu. */
    int resultsAt(int array) {
        int r = rowCountMax;
        int t = tokenCountMax();
        int[] lengths = {r, r, r, r * TOP, r * TOP, t, t * TOP, t * TOP};
        int at = 0;
        for (int i = 0; i < array; i++) {
            at += lengths[i];
        }
        return at;
    }

    /** Configures all slots of the rows, and draws. */
    Sampled sample(List<Row> rows) {
        for (int i = 0; i < rows.size(); i++) {
            var row = rows.get(i);
            if (row.slot() >= 0) {
                configure(row);
            }
            if (row.pick() >= 0) {
                stage(row.pick(), row.draw().logits());
            }
            setWord(0, i, row.slot());
            setWord(1, i, row.count());
            setWord(2, i, row.pick());
            setWord(3, i, row.resultRow());
        }
        var before = slots();
        begin();
        arguments
                .clear()
                .add(logits)
                .add(adjusted)
                .add(stride)
                .add(vocabSize)
                .add(array(0))
                .add(array(1))
                .add(array(2))
                .add(array(3))
                .add(slots.controls())
                .add(slots.stops())
                .add(slots.biasIds())
                .add(slots.biasValues())
                .add(slots.counts())
                .add(arrays)
                .add(rowCountMax)
                .add(tokenCountMax());
        device.launch(Kernel.SAMPLE, rows.size(), 1, 1024, 0, arguments);
        var after = slots();
        return new Sampled(before, after, results.toArray(ValueLayout.JAVA_INT));
    }

    private void configure(Row row) {
        int slot = row.slot();
        var draw = row.draw();
        slots.zero(slot);
        slots.position(slot, draw.position() - row.count(), false);
        slots.configure(slot, draw.sampling());
        if (draw.earlier().length == 0) {
            return;
        }
        stagedSampledCounts.setAtIndex(ValueLayout.JAVA_INT, slot, draw.earlier().length);
        long to = slots.controls() + (long) slot * SlotControls.BYTES + SAMPLED_COUNT_WORD * Integer.BYTES;
        device.upload(to, stagedSampledCounts, (long) slot * Integer.BYTES, Integer.BYTES);
        if (!draw.sampling().params().isPenalized()) {
            return;
        }
        var own = counts.asSlice((long) Short.BYTES * slot * vocabSize, (long) Short.BYTES * vocabSize);
        long at = slots.counts() + (long) Short.BYTES * slot * vocabSize;
        device.download(own, at, own.byteSize());
        device.synchronize();
        for (int token : draw.earlier()) {
            short count = own.getAtIndex(ValueLayout.JAVA_SHORT, token);
            own.setAtIndex(ValueLayout.JAVA_SHORT, token, (short) (count + 1));
        }
        device.upload(at, own, 0, own.byteSize());
    }

    private void stage(int pick, float[] values) {
        long at = (long) Float.BYTES * pick * stride;
        MemorySegment.copy(values, 0, stagedLogits, ValueLayout.JAVA_FLOAT, at, vocabSize);
        for (int i = vocabSize; i < stride; i++) {
            stagedLogits.set(ValueLayout.JAVA_FLOAT, at + (long) Float.BYTES * i, PADDING);
        }
    }

    private void setWord(int array, int index, int value) {
        stagedArrays.set(ValueLayout.JAVA_INT, array(array) - arrays + (long) Integer.BYTES * index, value);
    }

    /** Address of an array on the device. */
    private long array(int index) {
        return arrays + Long.BYTES + (long) Integer.BYTES * index * rowCountMax;
    }

    private Slots slots() {
        device.download(controls, slots.controls(), controls.byteSize());
        device.download(counts, slots.counts(), counts.byteSize());
        device.synchronize();
        return new Slots(controls.toArray(ValueLayout.JAVA_INT), counts.toArray(ValueLayout.JAVA_SHORT));
    }

    /** Sends what is staged; nothing may be under way. */
    private void begin() {
        device.upload(logits, stagedLogits, 0, stagedLogits.byteSize());
        device.upload(arrays, stagedArrays, 0, stagedArrays.byteSize());
        results.fill((byte) UNWRITTEN);
    }

    /** Scores rows of logits; returns all words of the results. */
    int[] score(List<Scored> rows) {
        for (int i = 0; i < rows.size(); i++) {
            var row = rows.get(i);
            stage(i, row.logits());
            setWord(4, i, row.target());
            setWord(5, i, row.topCount());
            setWord(6, i, row.resultToken());
        }
        begin();
        arguments
                .clear()
                .add(logits)
                .add(stride)
                .add(vocabSize)
                .add(array(4))
                .add(array(5))
                .add(array(6))
                .add(arrays)
                .add(rowCountMax)
                .add(tokenCountMax());
        device.launch(Kernel.SCORE, rows.size(), 1, 1024, 0, arguments);
        device.synchronize();
        return results.toArray(ValueLayout.JAVA_INT);
    }
}
