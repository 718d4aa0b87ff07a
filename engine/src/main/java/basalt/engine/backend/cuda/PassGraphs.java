package basalt.engine.backend.cuda;

import basalt.engine.EngineException.InsufficientMemory;
import java.util.LinkedHashMap;

/**
 * Runs passes, those of a shape that was seen before by replaying their launches as one graph. A mixed pass is 350 to
 * 400 launches, which take their thread longer than the device needs for few tokens; a replay takes microseconds, and
 * the device loses less between one kernel and the next. Passes are padded so that few shapes occur. Confined to the
 * engine thread.
 */
final class PassGraphs {
    private static final System.Logger LOG = System.getLogger(PassGraphs.class.getName());

    /** Graphs of mixed passes that are kept; the one replayed longest ago goes first. */
    private static final int SHAPES_MAX = 256;
    /** A pass with fewer rows of several tokens is padded; others are launched kernel by kernel. */
    private static final int LONG_ROWS_MAX = 64;

    private static final int TOKENS_STEP_MIN = 8;
    private static final int TOKENS_STEPS = 8; // sizes between a power of two and the next

    private final Device device;
    private final Forward forward;
    private final RowBuckets rowBuckets;
    private final int rowCountMax;
    private final int[] decodes; // graphs [buckets]
    private final LinkedHashMap<Shape, Recording> recordings = new LinkedHashMap<>(16, 0.75f, true);

    private boolean hasRoom = true; // for more graphs

    /** All that the launches of a pass depend on beside what is in its arrays. */
    record Shape(int rowCount, int singleCount, int tokenCount, int rowTokensMax, int pickCount) {}

    /** A shape that was seen; its graph once it was seen again. */
    private static final class Recording {
        private static final int NONE = -1;

        private int graph = NONE;
    }

    /** Records the graphs of decode passes of every bucket. */
    PassGraphs(Device device, Forward forward, RowBuckets rowBuckets, Pass decode, long results) {
        this.device = device;
        this.forward = forward;
        this.rowBuckets = rowBuckets;
        rowCountMax = rowBuckets.size(rowBuckets.count() - 1);
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
    }

    /** Rows and tokens of a padded pass. */
    record Sizes(int rowCount, int tokenCount) {}

    /** Sizes after padding; each new row has a token at least, and tokens are only added in new rows. */
    static Sizes padded(int rowCount, int singleCount, int tokenCount) {
        int longCount = rowCount - singleCount;
        int rows = singleCount + roundedLongRows(longCount);
        int tokens = roundedTokens(tokenCount + rows - rowCount);
        if (rows == rowCount && tokens > tokenCount) {
            rows = singleCount + roundedLongRows(longCount + 1);
            tokens = roundedTokens(tokenCount + rows - rowCount);
        }
        return new Sizes(rows, tokens);
    }

    private static int roundedLongRows(int count) {
        return count <= 2 ? count : Integer.highestOneBit(count - 1) << 1;
    }

    private static int roundedTokens(int count) {
        int step = Math.max(TOKENS_STEP_MIN, Integer.highestOneBit(Math.max(count - 1, 1)) / TOKENS_STEPS);
        return Math.ceilDiv(count, step) * step;
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

    /** Runs a pass that was uploaded. */
    void run(Pass pass) {
        if (pass.isDecode()) {
            device.replay(decodes[rowBuckets.indexOf(pass.rowCount())]);
        } else if (pass.isPadded()) {
            runMixed(pass);
        } else {
            forward.run(pass);
        }
    }

    private void runMixed(Pass pass) {
        var shape = pass.shape();
        var recording = recordings.get(shape);
        if (recording == null) {
            recordings.put(shape, new Recording());
            if (recordings.size() > SHAPES_MAX) {
                release(recordings.pollFirstEntry().getValue());
            }
            forward.run(pass);
            return;
        }
        if (recording.graph == Recording.NONE && hasRoom) {
            try {
                recording.graph = capture(pass);
            } catch (InsufficientMemory e) {
                hasRoom = false;
                LOG.log(System.Logger.Level.WARNING, "event=graphs_limited reason=\"{0}\"", e.getMessage());
            }
        }
        if (recording.graph == Recording.NONE) {
            forward.run(pass);
        } else {
            device.replay(recording.graph);
        }
    }

    private void release(Recording recording) {
        if (recording.graph != Recording.NONE) {
            device.release(recording.graph);
        }
    }

    /** Releases all graphs of mixed passes, for a test that changes what is launched. */
    void forget() {
        recordings.values().forEach(this::release);
        recordings.clear();
    }
}
