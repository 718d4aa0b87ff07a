package basalt.engine.backend.cuda;

/**
 * Runs passes, those of a shape that was seen often enough by replaying their launches as one graph. A mixed pass is
 * 350 to 400 launches, which take their thread longer than the device needs for few tokens; a replay takes
 * microseconds, and the device loses less between one kernel and the next. Passes are padded so that few shapes occur.
 * Confined to the engine thread.
 */
final class PassGraphs {
    /** Of mixed passes. */
    private static final int SHAPES_MAX = 256;
    /** A pass with fewer rows of several tokens is padded; others are launched kernel by kernel. */
    private static final int LONG_ROWS_MAX = 64;

    private static final int TOKENS_STEP_MIN = 8;
    private static final int TOKENS_STEP_MAX = 128; // of the library's tiles, which round more tokens up as well
    private static final int TOKENS_STEPS = 8; // sizes between a power of two and the next

    private final Device device;
    private final Forward forward;
    private final RowBuckets rowBuckets;
    private final int rowCountMax;
    private final int[] decodes; // graphs [buckets]
    private final GraphCache<Shape> cache;

    /** All that the launches of a pass depend on beside what is in its arrays. */
    record Shape(
            int rowCount,
            int singleCount,
            int tokenCount,
            int rowTokensMax,
            int pickCount,
            int splitRow,
            int splitToken,
            int splitPick) {}

    /** Records the graphs of decode passes of every bucket. */
    PassGraphs(Device device, Forward forward, RowBuckets rowBuckets, Pass decode, long results) {
        this.device = device;
        this.forward = forward;
        this.rowBuckets = rowBuckets;
        rowCountMax = rowBuckets.size(rowBuckets.count() - 1);
        cache = new GraphCache<>(SHAPES_MAX, device::release);
        decodes = new int[rowBuckets.count()];
        for (int i = 0; i < decodes.length; i++) {
            decode.clear(results);
            decode.padSingles(rowBuckets.size(i), true);
            decodes[i] = record(decode);
        }
    }

    /** Rows of a padded pass at most. */
    static int rowCountMax(int rowCountMax) {
        return rowCountMax + LONG_ROWS_MAX;
    }

    /** Tokens of a padded pass at most: rows of one token are padded first. */
    static int tokenCountMax(int rowCountMax, int tokenCountMax) {
        return roundedTokens(tokenCountMax + rowCountMax + LONG_ROWS_MAX);
    }

    /** Whether there is room for a pass with so many longer rows to be padded, and use. */
    static boolean canPad(int longCount, boolean isScoring) {
        return longCount < LONG_ROWS_MAX && !isScoring;
    }

    /** Pads what the longer rows need; those of one token are padded already. */
    void padLong(Pass pass) {
        var sizes = padded(pass.rowCount(), pass.singleCount(), pass.tokenCount());
        int picks = pass.pickCount() == 0 ? 0 : Math.min(sizes.rowCount(), rowCountMax);
        pass.padLong(sizes.rowCount(), sizes.tokenCount(), picks);
        if (forward.isWorthLanes(sizes.tokenCount())) {
            pass.split(tokensStep(sizes.tokenCount()));
        }
    }

    /** Rows and tokens of a padded pass. */
    record Sizes(int rowCount, int tokenCount) {}

    /** Sizes after padding; each new row has a token at least, and tokens are only added in new rows. */
    static Sizes padded(int rowCount, int singleCount, int tokenCount) {
        int tokens = roundedTokens(tokenCount);
        if (tokens == tokenCount) {
            return new Sizes(rowCount, tokens); // a row more would take tokens up to the next size
        }
        int rows = singleCount + roundedLongRows(rowCount + 1 - singleCount);
        return new Sizes(rows, roundedTokens(tokenCount + rows - rowCount));
    }

    private static int roundedLongRows(int count) {
        return Integer.highestOneBit(count - 1) << 1;
    }

    private static int roundedTokens(int count) {
        int step = tokensStep(count);
        return Math.ceilDiv(count, step) * step;
    }

    private static int tokensStep(int count) {
        int step = Integer.highestOneBit(Math.max(count - 1, 1)) / TOKENS_STEPS;
        return Math.clamp(step, TOKENS_STEP_MIN, TOKENS_STEP_MAX);
    }

    /** Records the graph of a pass, having run it once; returns it. */
    int record(Pass pass) {
        pass.upload();
        forward.run(pass); // the library chooses its kernels before the recording
        device.synchronize();
        return capture(pass);
    }

    private int capture(Pass pass) {
        device.beginCapture();
        forward.run(pass);
        return device.endCapture();
    }

    /**
     * The graph of a pass, or {@link GraphCache#NONE} where it is launched kernel by kernel. Call it before anything of
     * the pass is started: to record one takes milliseconds.
     */
    int graphOf(Pass pass) {
        if (pass.isDecode()) {
            return decodes[rowBuckets.indexOf(pass.rowCount())];
        }
        return pass.isPadded() ? cache.get(pass.shape(), () -> capture(pass)) : GraphCache.NONE;
    }

    /** Runs a pass that was uploaded, by its graph if it has one. */
    void run(Pass pass, int graph) {
        if (graph == GraphCache.NONE) {
            forward.run(pass);
        } else {
            device.replay(graph);
        }
    }

    /** Releases all graphs of mixed passes, for a test that changes what is launched. */
    void forget() {
        cache.clear();
    }
}
