package basalt.engine.backend.cuda;

import basalt.engine.Checks;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;

/**
 * The rows that go through the model together, as the kernels read them: a block of arrays on the device, and the
 * mapped copies that it is uploaded from, one for each step that may be in flight. Mutable and reused; confined to
 * the engine thread.
 */
final class Pass {
    private static final int LENGTH_MIN = 64;
    private static final int LANES_DIFFERENCE = 9; // of all tokens: one lane has a quarter more than the other at most
    private static final int HEADER_BYTES = 16; // the address of the results, and what keeps arrays aligned

    private final Device device;
    private final int rowCountMax;
    private final int tokenCountMax;
    private final long bytes;
    private final long address;
    private final MemorySegment[] staging; // [steps in flight + 1, bytes]
    private int stagingIndex;
    private MemorySegment current;
    private int rowCount;
    private int tokenCount;
    private int pickCount;
    private int scoreCount;
    private int rowTokensMax;
    private int singleCount;
    private boolean isPadded;
    private int splitRow;
    private int splitToken;
    private int splitPick;

    Pass(Device device, int rowCountMax, int tokenCountMax, int stagingCount) {
        this.device = device;
        this.rowCountMax = rowCountMax;
        this.tokenCountMax = tokenCountMax;
        bytes = bytes(rowCountMax, tokenCountMax);
        address = device.allocate(bytes);
        staging = new MemorySegment[stagingCount];
        for (int i = 0; i < stagingCount; i++) {
            staging[i] = device.allocateMapped(bytes);
        }
        current = staging[0];
    }

    /** Device memory that one of such sizes takes. */
    static long bytes(int rowCountMax, int tokenCountMax) {
        return HEADER_BYTES + 4L * (6L * rowCountMax + 6L * tokenCountMax);
    }

    /** Removes all rows; results of this pass go to an address. */
    void clear(long results) {
        stagingIndex = (stagingIndex + 1) % staging.length;
        current = staging[stagingIndex];
        current.set(ValueLayout.JAVA_LONG, 0, results);
        rowCount = 0;
        tokenCount = 0;
        pickCount = 0;
        scoreCount = 0;
        rowTokensMax = 0;
        singleCount = 0;
        isPadded = false;
        splitRow = 0;
        splitToken = 0;
        splitPick = 0;
    }

    /**
     * Adds a row without its tokens; returns its index.
     *
     * @param isPicked whether logits are made after its last token; true of every row of a decode step
     */
    int addRow(int slot, int count, int resultRow, boolean isPicked, boolean isSampling) {
        Checks.argument(rowCount < rowCountMax, "rowCount", rowCount);
        rowTokensMax = Math.max(rowTokensMax, count);
        singleCount += count == 1 && singleCount == rowCount ? 1 : 0;
        set(rowSlots(), rowCount, slot);
        set(rowStarts(), rowCount, tokenCount);
        set(rowCounts(), rowCount, count);
        set(resultRows(), rowCount, resultRow);
        set(rowPicks(), rowCount, isSampling ? pickCount : -1);
        if (isPicked) {
            set(picks(), pickCount++, tokenCount + count - 1);
        }
        return rowCount++;
    }

    /** Adds a token of a row; -1 is the one that the row's slot sampled last. */
    void addToken(int row, int token) {
        Checks.argument(tokenCount < tokenCountMax, "tokenCount", tokenCount);
        set(tokenRows(), tokenCount, row);
        set(tokens(), tokenCount++, token);
    }

    /** Asks for the log-probability of what follows the token added last. */
    void addScore(int target, int topCount, int resultToken) {
        set(scorePicks(), scoreCount, tokenCount - 1);
        set(scoreTargets(), scoreCount, target);
        set(scoreTopCounts(), scoreCount, topCount);
        set(scoreTokens(), scoreCount++, resultToken);
    }

    /** Adds rows of one token that do nothing until there are so many. */
    void padSingles(int count, boolean arePicked) {
        while (rowCount < count) {
            addToken(addRow(-1, 1, -1, arePicked, false), 0);
        }
    }

    /**
     * Adds rows that do nothing and picks until there are so many, so that the pass has one of few shapes; the last row
     * takes all tokens that are missing.
     */
    void padLong(int rows, int tokens, int picks) {
        while (rowCount < rows) {
            int count = rowCount + 1 < rows ? 1 : tokens - tokenCount;
            int row = addRow(-1, count, -1, false, false);
            for (int i = 0; i < count; i++) {
                addToken(row, 0);
            }
        }
        while (pickCount < picks) {
            set(picks(), pickCount++, 0);
        }
        rowTokensMax = roundedLength(rowTokensMax);
        isPadded = true;
    }

    /**
     * Lets it go through the layers in two lanes of whole rows, if these can have much the same tokens.
     *
     * @param step what the first lane's tokens are a multiple of, so that few shapes occur
     */
    void split(int step) {
        int least = tokenCount / LANES_DIFFERENCE + 1;
        for (int row = Math.max(singleCount, 1); row < rowCount; row++) {
            int first = get(rowStarts(), row);
            int difference = Math.abs(tokenCount - 2 * first);
            if (first % step == 0 && difference < least) {
                least = difference;
                splitRow = row;
                splitToken = first;
            }
        }
        // Picks that pad a pass are of token 0 and come last: nothing reads what is made of them, in either lane.
        while (splitPick < pickCount && get(picks(), splitPick) < splitToken) {
            splitPick++;
        }
    }

    /** The next power of 4, 64 at least: empty blocks cost less than more shapes. */
    private static int roundedLength(int count) {
        int result = LENGTH_MIN;
        while (result < count) {
            result *= 4;
        }
        return result;
    }

    /** Sends the arrays to the device. */
    void upload() {
        long end = scoreCount > 0 ? bytes : scorePicks() - address;
        device.upload(address, current, 0, end);
    }

    /** Whether its longer rows were padded. */
    boolean isPadded() {
        return isPadded;
    }

    /** Whether every row is of one token, and sampled after. */
    boolean isDecode() {
        return singleCount == rowCount && pickCount == rowCount && scoreCount == 0;
    }

    PassGraphs.Shape shape() {
        return new PassGraphs.Shape(
                rowCount, singleCount, tokenCount, rowTokensMax, pickCount, splitRow, splitToken, splitPick);
    }

    /** Whether it goes through the layers in two lanes of whole rows. */
    boolean isSplit() {
        return splitRow > 0;
    }

    /** The rows before the split, those of one token among them. */
    Lane firstLane() {
        return new Lane(0, splitToken, 0, splitRow, false);
    }

    /** The rows after it. */
    Lane secondLane() {
        return new Lane(splitToken, tokenCount - splitToken, splitRow, rowCount - splitRow, false);
    }

    /** Picks of the first lane. */
    int splitPick() {
        return splitPick;
    }

    int rowCount() {
        return rowCount;
    }

    int tokenCount() {
        return tokenCount;
    }

    /** Of the longest row. */
    int rowTokensMax() {
        return rowTokensMax;
    }

    /** Rows of one token before the first longer one; row and token have the same number there. */
    int singleCount() {
        return singleCount;
    }

    int pickCount() {
        return pickCount;
    }

    int scoreCount() {
        return scoreCount;
    }

    /** Address of the address of the results. */
    long results() {
        return address;
    }

    /** i32 [R], -1 for padding. */
    long rowSlots() {
        return address + HEADER_BYTES;
    }

    /** i32 [R], first flat token. */
    long rowStarts() {
        return rowSlots() + 4L * rowCountMax;
    }

    /** i32 [R], tokens. */
    long rowCounts() {
        return rowStarts() + 4L * rowCountMax;
    }

    /** i32 [R], row of the results. */
    long resultRows() {
        return rowCounts() + 4L * rowCountMax;
    }

    /** i32 [R], index of the row's last token among the picks, -1 where it does not sample. */
    long rowPicks() {
        return resultRows() + 4L * rowCountMax;
    }

    /** i32 [R], flat tokens that are sampled after. */
    long picks() {
        return rowPicks() + 4L * rowCountMax;
    }

    /** i32 [T], row of each token. */
    long tokenRows() {
        return picks() + 4L * rowCountMax;
    }

    /** i32 [T], ids. */
    long tokens() {
        return tokenRows() + 4L * tokenCountMax;
    }

    /** i32 [T], flat tokens that are scored. */
    long scorePicks() {
        return tokens() + 4L * tokenCountMax;
    }

    /** i32 [T], ids after them. */
    long scoreTargets() {
        return scorePicks() + 4L * tokenCountMax;
    }

    /** i32 [T], likeliest ids wanted. */
    long scoreTopCounts() {
        return scoreTargets() + 4L * tokenCountMax;
    }

    /** i32 [T], token of the results. */
    long scoreTokens() {
        return scoreTopCounts() + 4L * tokenCountMax;
    }

    private int get(long array, int index) {
        return current.get(ValueLayout.JAVA_INT, array - address + 4L * index);
    }

    private void set(long array, int index, int value) {
        current.set(ValueLayout.JAVA_INT, array - address + 4L * index, value);
    }
}
