package basalt.engine.backend.cpu;

/**
 * The rows of one step, flattened to tokens: token i of row b is flat token {@code start(b) + i}. Mutable and reused;
 * owned by the engine thread, read by the workers.
 */
final class Step {
    private final CpuSlot[] slots; // [rowCountMax]
    private final int[] starts; // [rowCountMax + 1]
    private final long[] positions; // [tokenCountMax]
    private int rowCount;

    Step(int rowCountMax, int tokenCountMax) {
        slots = new CpuSlot[rowCountMax];
        starts = new int[rowCountMax + 1];
        positions = new long[tokenCountMax];
    }

    void clear() {
        rowCount = 0;
    }

    /** Adds a row of so many tokens, the first at the slot's next position. */
    void add(CpuSlot slot, int tokenCount) {
        slots[rowCount] = slot;
        int start = starts[rowCount];
        for (int i = 0; i < tokenCount; i++) {
            positions[start + i] = slot.tokenCount() + i;
        }
        rowCount++;
        starts[rowCount] = start + tokenCount;
    }

    int rowCount() {
        return rowCount;
    }

    int tokenCount() {
        return starts[rowCount];
    }

    CpuSlot slot(int row) {
        return slots[row];
    }

    int start(int row) {
        return starts[row];
    }

    int end(int row) {
        return starts[row + 1];
    }

    long position(int token) {
        return positions[token];
    }
}
