package basalt.engine.backend.cuda;

/**
 * Neighbouring tokens of a pass that go through the layers by themselves: all of them, or whole rows beside others.
 *
 * @param first token
 * @param count tokens
 * @param firstRow row of the first token
 * @param rowCount rows, where others go beside them
 * @param isAlone whether no others go through the layers beside these
 */
record Lane(int first, int count, int firstRow, int rowCount, boolean isAlone) {
    /** Tokens of a pass with prompts that may have two lanes: halves of fewer leave much of a device idle. */
    static final int PROMPT_TOKENS_MIN = 3072;

    /** Of rows of one token, or alone. */
    Lane(int first, int count, boolean isAlone) {
        this(first, count, first, count, isAlone);
    }

    /**
     * When a step of rows that all decode goes through the layers in two lanes, each on a stream of its own: where it
     * is too large for one launch of the project kernels, and the second to read a layer's weights finds them in the
     * cache. One lane then has the memory while the other multiplies, and begins while the other ends.
     *
     * <p>A pass with prompts has two where its rows come apart into two parts of much the same tokens: one then
     * multiplies while small kernels of the other wait for memory.
     *
     * @param rowCountMin rows of such a step at least
     * @param rowCountMax rows of such a step at most, 0 for none
     * @param promptTokensMin tokens of a pass with prompts at least
     */
    record Rule(int rowCountMin, int rowCountMax, int promptTokensMin) {
        static final Rule NEVER = new Rule(0, 0, Integer.MAX_VALUE);

        boolean holds(int rowCount) {
            return rowCount >= rowCountMin && rowCount <= rowCountMax;
        }
    }

    /** All of a pass. */
    static Lane all(int count) {
        return new Lane(0, count, true);
    }

    /** The first half of a pass. */
    static Lane firstHalf(int count) {
        return new Lane(0, (count + 1) / 2, false);
    }

    /** The rest of it. */
    static Lane secondHalf(int count) {
        int first = (count + 1) / 2;
        return new Lane(first, count - first, false);
    }
}
