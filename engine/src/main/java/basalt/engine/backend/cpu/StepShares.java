package basalt.engine.backend.cpu;

import java.util.Arrays;

/**
 * Divides the rows of a step among the workers, so that each goes through all layers with rows of its own and waits
 * for the others once a step instead of five times a layer. Owned by the engine thread; a share is read by one worker.
 */
final class StepShares {
    /** Fewer tokens a share leave too little work for each weight that is read. */
    private static final int TOKENS_MIN = 4;
    /** Tokens that a share has room for. */
    static final int TOKENS_MAX = 256;
    /** The largest share over the mean; beyond it, dividing every matrix among all workers is faster. */
    private static final double IMBALANCE_MAX = 1.3;

    private final Step[] shares;
    private final int[][] tokens; // [shares][TOKENS_MAX], ids
    private final int[] shareOf; // [flat token of the whole step]
    private final int[] indexOf; // [flat token of the whole step], flat token of its share

    StepShares(int shareCount, int rowCountMax, int tokenCountMax) {
        shares = new Step[shareCount];
        tokens = new int[shareCount][TOKENS_MAX];
        shareOf = new int[tokenCountMax];
        indexOf = new int[tokenCountMax];
        for (int i = 0; i < shareCount; i++) {
            shares[i] = new Step(rowCountMax, TOKENS_MAX);
        }
    }

    int count() {
        return shares.length;
    }

    Step share(int index) {
        return shares[index];
    }

    /** Ids by flat token of a share. */
    int[] tokens(int share) {
        return tokens[share];
    }

    /** The share that has a token of the whole step. */
    int shareOf(int token) {
        return shareOf[token];
    }

    /** The token of its share. */
    int indexOf(int token) {
        return indexOf[token];
    }

    /**
     * Divides a step.
     *
     * @param stepTokens ids by flat token
     * @return false if the rows cannot be divided evenly enough; the shares are then not to be used
     */
    boolean divide(Step step, int[] stepTokens) {
        int total = step.tokenCount();
        double largest = IMBALANCE_MAX * total / shares.length;
        if (total < TOKENS_MIN * shares.length) {
            return false;
        }
        for (var share : shares) {
            share.clear();
        }
        // Long rows first, then the others where there is room; each to the share that has the fewest tokens.
        return assign(step, stepTokens, true, largest) && assign(step, stepTokens, false, largest);
    }

    private boolean assign(Step step, int[] stepTokens, boolean isLong, double largest) {
        for (int row = 0; row < step.rowCount(); row++) {
            int count = step.end(row) - step.start(row);
            if (count == 0 || count > 1 != isLong) {
                continue;
            }
            int index = smallest();
            int start = shares[index].tokenCount();
            if (start + count > Math.min(largest, TOKENS_MAX)) {
                return false;
            }
            shares[index].add(step.slot(row), count);
            System.arraycopy(stepTokens, step.start(row), tokens[index], start, count);
            Arrays.fill(shareOf, step.start(row), step.end(row), index);
            for (int i = 0; i < count; i++) {
                indexOf[step.start(row) + i] = start + i;
            }
        }
        return true;
    }

    private int smallest() {
        int best = 0;
        for (int i = 1; i < shares.length; i++) {
            if (shares[i].tokenCount() < shares[best].tokenCount()) {
                best = i;
            }
        }
        return best;
    }
}
