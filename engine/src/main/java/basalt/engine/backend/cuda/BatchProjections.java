package basalt.engine.backend.cuda;

import basalt.engine.model.Mixer;
import java.util.ArrayList;
import java.util.IdentityHashMap;
import java.util.List;
import java.util.Objects;

/**
 * Launches of the project_batch kernels, where the device has the products of whole warpgroups: their shapes, and the
 * maps by which the copy engine finds tiles of weights and tokens. Confined to the engine thread.
 */
final class BatchProjections {
    private static final int DEPTH = 64; // k of a tile
    private static final int GROUP_ROWS = 64; // rows of weights of a warpgroup
    private static final int CLUSTER_MAX = 8;
    private static final int SHARERS_MAX = 2;
    private static final int SPLIT_DEPTH_MAX = 896;
    private static final int THREADS = 256; // a warpgroup, the warp that copies, and three that read ahead
    private static final int BF16_BYTES = 2;
    private static final List<Shape> SHAPES = List.of(
            new Shape(Kernel.PROJECT_BATCH_8, 8, 1),
            new Shape(Kernel.PROJECT_BATCH_16, 16, 1),
            new Shape(Kernel.PROJECT_BATCH_32, 32, 1),
            new Shape(Kernel.PROJECT_BATCH_64, 64, 1),
            new Shape(Kernel.PROJECT_BATCH_128, 64, SHARERS_MAX));

    private final Device device;
    private final IdentityHashMap<DeviceModel.Linear, long[]> rowMaps = new IdentityHashMap<>(); // by sharers - 1
    private final IdentityHashMap<DeviceModel.Linear, long[]> pairMaps = new IdentityHashMap<>();
    private final List<Tokens> tokenMaps = new ArrayList<>();
    private Shape shape = SHAPES.getFirst(); // of the launch that was begun last, as are splits
    private int splits;

    /**
     * A kernel.
     *
     * @param tokens of a block
     * @param sharers blocks that share a tile of weights, each with tokens of its own
     */
    private record Shape(Kernel kernel, int tokens, int sharers) {}

    /**
     * A buffer of tokens, element [count, depth].
     *
     * @param maps one for each shape
     */
    @SuppressWarnings("ArrayRecordComponent")
    private record Tokens(long address, int depth, long[] maps) {}

    /**
     * Maps weights and tokens.
     *
     * @param lanes with a first token of their own, beside that of all
     */
    BatchProjections(
            Device device,
            DeviceModel model,
            StepBuffers buffers,
            int rowCountMax,
            int tokenCountMax,
            List<Lane> lanes) {
        this.device = device;
        int width = model.config().width();
        mapTokens(buffers.x(), width, tokenCountMax);
        mapTokens(buffers.headX(), width, rowCountMax);
        for (var layer : model.layers()) {
            mapRows(layer.input());
            mapPairs(layer.input());
            mapRows(layer.output());
            mapPairs(layer.fc1());
            mapRows(layer.fc2());
            mapTokens(buffers.narrow(), layer.output().depth(), tokenCountMax);
            mapTokens(buffers.narrow(), layer.fc2().depth(), tokenCountMax);
        }
        mapTokens(buffers.pickedNarrow(), model.layers().getLast().output().depth(), rowCountMax);
        mapTokens(buffers.pickedNarrow(), model.layers().getLast().fc2().depth(), rowCountMax);
        mapRows(model.head());
        for (var lane : lanes) {
            int count = lane.count();
            mapTokens(buffers.x() + (long) BF16_BYTES * width * lane.first(), width, count);
            for (var layer : model.layers()) {
                mapTokens(buffers.narrow(lane, 0), layer.output().depth(), count);
                mapTokens(buffers.narrow(lane, 0), layer.fc2().depth(), count);
            }
        }
    }

    /**
     * Most tokens of a launch that is worth more than the vendor's library, 0 where a device or the shapes of a model
     * do not fit the kernels; for RMS norms and bf16 alone.
     */
    static int tokensMax(Device device, DeviceModel model) {
        boolean isServable = device.hasWarpgroupProducts() && fits(model.head());
        for (var layer : model.layers()) {
            isServable &= fits(layer.input())
                    && fits(layer.output())
                    && fits(layer.fc1())
                    && layer.fc1().rows() % (2 * WeightMaps.ROWS) == 0
                    && fits(layer.fc2());
        }
        int tokensMax = 0;
        for (Shape shape : SHAPES) {
            if (isServable && hasRoom(device.multiprocessorCount(), model, shape.sharers())) {
                tokensMax = shape.tokens() * shape.sharers();
            }
        }
        return tokensMax;
    }

    /**
     * Rows that decode have two lanes where each is one launch of the largest of these kernels on half of the
     * multiprocessors, and a layer's weights stay in the cache. Prompts have them with every model and device.
     *
     * @param tokensMax of this device and model
     */
    static Lane.Rule laneRule(int multiprocessorCount, long cacheBytes, DeviceModel model, int tokensMax) {
        boolean isServable = tokensMax > 0 && hasRoom(multiprocessorCount / 2, model, SHARERS_MAX);
        for (var layer : model.layers()) {
            isServable &= layer.bytes() <= cacheBytes;
            isServable &= !(layer.mixer() instanceof Mixer.Convolution m) || ProjectKernels.hasBatchTaps(m);
        }
        return isServable
                ? new Lane.Rule(tokensMax + 1, 2 * tokensMax, Lane.PROMPT_TOKENS_MIN)
                : new Lane.Rule(0, 0, Lane.PROMPT_TOKENS_MIN);
    }

    /** Whether residual projections are split: a block has room for the residual stream of half of its tokens. */
    private static boolean hasRoom(int multiprocessorCount, DeviceModel model, int sharers) {
        boolean isSplit = true;
        for (var layer : model.layers()) {
            isSplit &= splits(multiprocessorCount, layer.output(), sharers) > 1
                    && splits(multiprocessorCount, layer.fc2(), sharers) > 1;
        }
        return isSplit;
    }

    private static boolean fits(DeviceModel.Linear linear) {
        return linear.depth() % DEPTH == 0 && linear.rows() % WeightMaps.ROWS == 0;
    }

    private void mapRows(DeviceModel.Linear linear) {
        long[] maps = new long[SHARERS_MAX];
        for (int i = 0; i < SHARERS_MAX; i++) {
            maps[i] = WeightMaps.rows(device, linear, DEPTH, GROUP_ROWS / (i + 1));
        }
        rowMaps.put(linear, maps);
    }

    private void mapPairs(DeviceModel.Linear linear) {
        if (linear.rows() % (2 * WeightMaps.ROWS) != 0) {
            return;
        }
        long[] maps = new long[SHARERS_MAX];
        for (int i = 0; i < SHARERS_MAX; i++) {
            maps[i] = WeightMaps.pairs(device, linear, DEPTH, GROUP_ROWS / (i + 1));
        }
        pairMaps.put(linear, maps);
    }

    private void mapTokens(long address, int depth, int count) {
        if (tokenMaps.stream().anyMatch(tokens -> tokens.address() == address && tokens.depth() == depth)) {
            return;
        }
        long[] maps = new long[SHAPES.size()];
        for (int i = 0; i < maps.length; i++) {
            maps[i] = device.mapTensor(new Device.TensorMap(
                    address, new long[] {depth, count}, new long[] {(long) BF16_BYTES * depth}, new int[] {
                        DEPTH, SHAPES.get(i).tokens()
                    }));
        }
        tokenMaps.add(new Tokens(address, depth, maps));
    }

    private static int shapeIndex(int tokens) {
        int index = 0;
        while (index < SHAPES.size() - 1
                && SHAPES.get(index).tokens() * SHAPES.get(index).sharers() < tokens) {
            index++;
        }
        return index;
    }

    /** Parts of Σ r² that a residual projection of {@code rows} leaves for each token. */
    static int squareCount(int rows) {
        return Math.ceilDiv(rows, GROUP_ROWS);
    }

    /**
     * Begins the arguments of a launch.
     *
     * @param x element [tokens, K], a lane's part of a buffer of the step
     */
    void start(KernelArguments arguments, DeviceModel.Linear linear, boolean isPaired, long x, Lane lane) {
        int index = shapeIndex(lane.count());
        shape = SHAPES.get(index);
        int multiprocessors = device.multiprocessorCount();
        splits = splits(lane.isAlone() ? multiprocessors : multiprocessors / 2, linear, shape.sharers());
        arguments
                .clear()
                .add(Objects.requireNonNull((isPaired ? pairMaps : rowMaps).get(linear))[shape.sharers() - 1])
                .add(tokensAt(x, linear.depth()).maps()[index])
                .add(splits);
    }

    /**
     * Blocks that share a tile of rows: so many that most of the multiprocessors have one and that none has much of the
     * depth, but fewer than two each, since those of the next kernel need room. Measured for the shapes of the large
     * models.
     */
    private static int splits(int multiprocessorCount, DeviceModel.Linear linear, int sharers) {
        int blocks = Math.ceilDiv(linear.rows(), GROUP_ROWS) * sharers;
        int splits = 1;
        while ((4 * blocks * splits < 3 * multiprocessorCount || linear.depth() > SPLIT_DEPTH_MAX * splits)
                && 8 * blocks * splits <= 7 * multiprocessorCount
                && splits * sharers < CLUSTER_MAX) {
            splits *= 2;
        }
        return splits;
    }

    private Tokens tokensAt(long address, int depth) {
        for (int i = 0; i < tokenMaps.size(); i++) {
            var tokens = tokenMaps.get(i);
            if (tokens.address() == address && tokens.depth() == depth) {
                return tokens;
            }
        }
        throw new IllegalStateException("no map of depth " + depth);
    }

    /** Starts the kernel whose arguments were begun last. */
    void launch(KernelArguments arguments, DeviceModel.Linear linear, int tokens) {
        int cluster = splits * shape.sharers();
        device.launchClusters(
                shape.kernel(),
                new Device.Clusters(
                        Math.ceilDiv(linear.rows(), GROUP_ROWS) * cluster,
                        Math.ceilDiv(tokens, shape.tokens() * shape.sharers()),
                        cluster,
                        THREADS,
                        shape.kernel().sharedBytesMax()),
                arguments);
    }
}
