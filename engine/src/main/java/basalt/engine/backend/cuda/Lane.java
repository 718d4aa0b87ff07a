package basalt.engine.backend.cuda;

/**
 * Neighbouring tokens of a pass that go through the layers by themselves: all of them, or rows of one token beside
 * others.
 *
 * @param first token, which is a row too where others go beside it
 * @param count tokens
 * @param isAlone whether no others go through the layers beside these
 */
record Lane(int first, int count, boolean isAlone) {
    /**
     * When a step of rows that all decode goes through the layers in two lanes, each on a stream of its own: where it
     * is too large for one launch of the project kernels, and the second to read a layer's weights finds them in the
     * cache. One lane then has the memory while the other multiplies, and begins while the other ends.
     *
     * @param rowCountMin rows of such a step at least
     * @param rowCountMax rows of such a step at most, 0 for none
     */
    record Rule(int rowCountMin, int rowCountMax) {
        static final Rule NEVER = new Rule(0, 0);

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
