package basalt.engine.backend;

import basalt.engine.Checks;

/**
 * One step: rows that each consume one or more tokens in one slot. Mutable and reused; sized at start.
 *
 * <p>A row either continues from the token its slot sampled last ({@link #addContinuing}) or consumes given tokens
 * ({@link #add}). Rows have distinct slots.
 */
public final class Batch {
    private final int[] slots; // [rowCountMax]
    private final int[] tokenCounts; // [rowCountMax]
    private final int[] tokenStarts; // [rowCountMax], into tokens; -1 continues
    private final boolean[] isSampling; // [rowCountMax]
    private final int[] scoreCounts; // [rowCountMax]: -1 no scores, else likeliest ids per scored token
    private final int[] targets; // [rowCountMax]: the token after the row's last one, -1 if not known
    private final int[] tokens; // [tokenCountMax]
    private int rowCount;
    private int tokenCount;

    /** Of at most so many rows and tokens, continuing rows counting one token each. */
    public Batch(int rowCountMax, int tokenCountMax) {
        Checks.argument(rowCountMax > 0, "rowCountMax", rowCountMax);
        Checks.argument(tokenCountMax >= rowCountMax, "tokenCountMax", tokenCountMax);
        slots = new int[rowCountMax];
        tokenCounts = new int[rowCountMax];
        tokenStarts = new int[rowCountMax];
        isSampling = new boolean[rowCountMax];
        scoreCounts = new int[rowCountMax];
        targets = new int[rowCountMax];
        tokens = new int[tokenCountMax];
    }

    /** Removes all rows. */
    public void clear() {
        rowCount = 0;
        tokenCount = 0;
    }

    /** Adds a row that consumes the token its slot sampled last and samples the next. */
    public void addContinuing(int slot) {
        addRow(slot, 1, -1, true);
        tokenCount++;
    }

    /**
     * Adds a row that consumes given tokens.
     *
     * @param source tokens; {@code [from, to)} are copied
     * @param samples whether the row samples a token after its last one
     */
    public void add(int slot, int[] source, int from, int to, boolean samples) {
        Checks.argument(from >= 0 && from < to && to <= source.length, "from", from);
        Checks.argument(to - from <= tokens.length - tokenCount, "to - from", to - from);
        addRow(slot, to - from, tokenCount, samples);
        System.arraycopy(source, from, tokens, tokenCount, to - from);
        tokenCount += to - from;
    }

    /**
     * Asks the last added row for log-probabilities of what follows each of its tokens.
     *
     * @param topCount likeliest ids wanted per position
     * @param target the known token after the row's last one, or -1: then the row's last position is not scored
     */
    public void score(int topCount, int target) {
        scoreCounts[rowCount - 1] = topCount;
        targets[rowCount - 1] = target;
    }

    private void addRow(int slot, int count, int start, boolean samples) {
        Checks.argument(rowCount < slots.length, "rowCount", rowCount);
        slots[rowCount] = slot;
        tokenCounts[rowCount] = count;
        tokenStarts[rowCount] = start;
        isSampling[rowCount] = samples;
        scoreCounts[rowCount] = -1;
        targets[rowCount] = -1;
        rowCount++;
    }

    /** Rows B. */
    public int rowCount() {
        return rowCount;
    }

    /** Tokens of all rows. */
    public int tokenCount() {
        return tokenCount;
    }

    /** Slot of a row. */
    public int slot(int row) {
        return slots[row];
    }

    /** Tokens a row consumes. */
    public int tokenCount(int row) {
        return tokenCounts[row];
    }

    /** Whether a row starts from the token its slot sampled last. */
    public boolean isContinuing(int row) {
        return tokenStarts[row] < 0;
    }

    /** Token {@code index} of a row that does not continue. */
    public int token(int row, int index) {
        return tokens[tokenStarts[row] + index];
    }

    /** Whether a row samples after its last token. */
    public boolean isSampling(int row) {
        return isSampling[row];
    }

    /** Likeliest ids wanted per token of a row, -1 if it is not scored. */
    public int scoreCount(int row) {
        return scoreCounts[row];
    }

    /** Known token after the row's last one, or -1. */
    public int target(int row) {
        return targets[row];
    }

    /** Makes this a copy of another of the same size. */
    public void copyFrom(Batch other) {
        rowCount = other.rowCount;
        tokenCount = other.tokenCount;
        System.arraycopy(other.slots, 0, slots, 0, rowCount);
        System.arraycopy(other.tokenCounts, 0, tokenCounts, 0, rowCount);
        System.arraycopy(other.tokenStarts, 0, tokenStarts, 0, rowCount);
        System.arraycopy(other.isSampling, 0, isSampling, 0, rowCount);
        System.arraycopy(other.scoreCounts, 0, scoreCounts, 0, rowCount);
        System.arraycopy(other.targets, 0, targets, 0, rowCount);
        System.arraycopy(other.tokens, 0, tokens, 0, tokenCount);
    }
}
