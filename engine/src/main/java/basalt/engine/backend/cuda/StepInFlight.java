package basalt.engine.backend.cuda;

import basalt.engine.backend.StepResult;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;

/**
 * A step between enqueue and await: where its results go, which slots it counted tokens for. Mutable and reused;
 * confined to the engine thread.
 */
final class StepInFlight {
    private static final int TOP = StepResult.TOP_COUNT_MAX;

    private final int rowCountMax;
    private final int tokenCountMax;
    private final MemorySegment results; // as Results of sampling.cu lays it out
    private final int startEvent;
    private final int endEvent;
    private final int[] rows; // [entries], row whose count an entry follows
    private final int[] slots; // [entries]
    private final int[] slotEpochs; // [entries]
    private final int[] counts; // [rowCountMax]
    private int rowCount;
    private int entryCount;
    private int tokenCount;

    StepInFlight(Device device, int rowCountMax, int tokenCountMax) {
        this.rowCountMax = rowCountMax;
        this.tokenCountMax = tokenCountMax;
        long words = (3L + 2 * TOP) * rowCountMax + (1L + 2 * TOP) * tokenCountMax;
        results = device.allocateMapped(4 * words);
        startEvent = device.createEvent();
        endEvent = device.createEvent();
        rows = new int[4 * rowCountMax];
        slots = new int[4 * rowCountMax];
        slotEpochs = new int[4 * rowCountMax];
        counts = new int[rowCountMax];
    }

    MemorySegment results() {
        return results;
    }

    int startEvent() {
        return startEvent;
    }

    int endEvent() {
        return endEvent;
    }

    void clear() {
        rowCount = 0;
        entryCount = 0;
        tokenCount = 0;
    }

    /** Notes the next row. */
    void add(int slot, int epoch, int count) {
        counts[rowCount] = count;
        tokenCount += count;
        addEntry(rowCount++, slot, epoch);
    }

    /** Lets the count of a copy follow that of the slot it was copied from. */
    void follow(int fromSlot, int fromEpoch, int toSlot, int toEpoch) {
        int count = entryCount;
        for (int i = 0; i < count; i++) {
            if (slots[i] == fromSlot && slotEpochs[i] == fromEpoch) {
                addEntry(rows[i], toSlot, toEpoch);
            }
        }
    }

    private void addEntry(int row, int slot, int epoch) {
        assert entryCount < rows.length : entryCount;
        rows[entryCount] = row;
        slots[entryCount] = slot;
        slotEpochs[entryCount++] = epoch;
    }

    /** Tokens that a slot was counted for and did not consume, once the step is done. */
    int unconsumed(int slot, int epoch) {
        int sum = 0;
        for (int i = 0; i < entryCount; i++) {
            if (slots[i] == slot && slotEpochs[i] == epoch) {
                sum += counts[rows[i]] - consumed(rows[i]);
            }
        }
        return sum;
    }

    /** Copies the results out and corrects the counts of frozen rows. */
    void read(StepResult result, long[] tokenCounts, int[] epochs) {
        for (int i = 0; i < entryCount; i++) {
            if (slotEpochs[i] == epochs[slots[i]]) {
                tokenCounts[slots[i]] -= counts[rows[i]] - consumed(rows[i]);
            }
        }
        long at = 0;
        MemorySegment.copy(results, ValueLayout.JAVA_INT, at, result.tokens, 0, rowCount);
        at += 8L * rowCountMax;
        MemorySegment.copy(results, ValueLayout.JAVA_FLOAT, at, result.logprobs, 0, rowCount);
        at += 4L * rowCountMax;
        MemorySegment.copy(results, ValueLayout.JAVA_INT, at, result.topIds, 0, rowCount * TOP);
        at += 4L * rowCountMax * TOP;
        MemorySegment.copy(results, ValueLayout.JAVA_FLOAT, at, result.topLogprobs, 0, rowCount * TOP);
        at += 4L * rowCountMax * TOP;
        MemorySegment.copy(results, ValueLayout.JAVA_FLOAT, at, result.scoreLogprobs, 0, tokenCount);
        at += 4L * tokenCountMax;
        MemorySegment.copy(results, ValueLayout.JAVA_INT, at, result.scoreTopIds, 0, tokenCount * TOP);
        at += 4L * tokenCountMax * TOP;
        MemorySegment.copy(results, ValueLayout.JAVA_FLOAT, at, result.scoreTopLogprobs, 0, tokenCount * TOP);
    }

    private int consumed(int row) {
        return results.getAtIndex(ValueLayout.JAVA_INT, rowCountMax + row);
    }
}
