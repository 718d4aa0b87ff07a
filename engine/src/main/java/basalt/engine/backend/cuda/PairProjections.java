package basalt.engine.backend.cuda;

import basalt.engine.model.ElementType;
import basalt.engine.model.Mixer;
import basalt.engine.model.ModelConfig;
import basalt.engine.state.StateLayout;
import java.util.IdentityHashMap;
import java.util.Objects;

/**
 * Launches of project_pair: a layer's MLP, or its convolution with both projections, in one kernel, for steps of few
 * rows. What it adds to the residual stream is summed up by itself, in fixed point, and added by the next launch; so
 * this keeps where both are. Confined to the engine thread.
 */
final class PairProjections {
    private static final int ROWS_MAX = 8;
    private static final int ELEMENTS_MAX = 3584; // of the residual stream of a step
    private static final int BLOCKS_MIN = 16; // which store all of it, 256 elements each at most
    private static final int BLOCKS_MAX = 254; // whose sums do not overflow
    private static final int CLUSTER = 2; // blocks
    private static final int WARPS = 8; // that multiply
    private static final int THREADS = (WARPS + 1) * 32; // and the warp that copies
    private static final int TILE_ROWS = 16;
    private static final int TILE_UNITS = 8; // a value and a gate each
    private static final int TILE_DEPTH = 64;
    private static final int STAGE_BYTES = 16_384; // a tile of 16 x 64 for each warp
    private static final int TILES_MAX = 4; // of a block's rows, a power of two
    private static final int PAIR_TILES_MIN = 2;
    private static final int PLACES_MAX = 7; // of stages
    private static final int PLACES_MIN = 3; // that the kernel has under way
    private static final int PADDING = 8; // elements after a row in shared memory
    private static final int WIDTH_STEP = 128;
    private static final int FIXED_BYTES = 256; // barriers and sums of squares
    private static final int TOKEN_SUM_BYTES = 512;
    private static final int SUM_BUFFERS = 3;
    private static final int EPILOGUE_PLAIN = 0;
    private static final int EPILOGUE_GATE = 2;
    private static final int EPILOGUE_CONVOLUTION = 3;
    private static final int EPILOGUE_RESIDUAL = 4;

    private final Device device;
    private final int multiprocessorCount;
    private final ModelConfig config;
    private final StepBuffers buffers;
    private final SlotMemory slotMemory;
    private final long state; // bytes of all slots
    private final KernelArguments arguments;
    private final IdentityHashMap<DeviceModel.Linear, Long> maps = new IdentityHashMap<>();
    private final long[] streams; // f32 [rows, d], the second of which takes sums
    private final long[] sums; // i64 [rows, d] each, in fixed point, in turn; the first has zeros between steps
    private int stream; // that has the residual stream, but for the last sums
    private int lastSums; // that were written last
    private boolean hasSums; // that are missing from the stream

    PairProjections(
            Device device,
            DeviceModel model,
            StepBuffers buffers,
            SlotMemory slotMemory,
            long state,
            KernelArguments arguments) {
        this.device = device;
        multiprocessorCount = device.multiprocessorCount();
        this.config = model.config();
        this.buffers = buffers;
        this.slotMemory = slotMemory;
        this.state = state;
        this.arguments = arguments;
        long elements = Math.min(ELEMENTS_MAX, (long) ROWS_MAX * config.width());
        streams = new long[] {buffers.residual(), device.allocate(Float.BYTES * elements)};
        sums = new long[SUM_BUFFERS];
        for (int i = 0; i < sums.length; i++) {
            sums[i] = device.allocate(Long.BYTES * elements);
            device.fill(sums[i], 0, Long.BYTES * elements);
        }
        for (var layer : model.layers()) {
            if (layer.mixer() instanceof Mixer.Convolution) {
                mapPair(layer.input(), layer.output());
            } else {
                mapSingle(layer.input());
                mapSingle(layer.output());
            }
            mapPair(layer.fc1(), layer.fc2());
        }
    }

    /** Whether the kernel takes all layers of a model that the batch's kernels take. */
    static boolean fits(int multiprocessorCount, DeviceModel model) {
        boolean isFitting = true;
        for (var layer : model.layers()) {
            int width = layer.fc1().depth();
            isFitting &= width % WIDTH_STEP == 0 && pairTiles(multiprocessorCount, layer.fc1()) > 0;
            isFitting &= layer.mixer() instanceof Mixer.Convolution m
                    ? ProjectKernels.hasBatchTaps(m) && pairTiles(multiprocessorCount, layer.input()) > 0
                    : rowTiles(multiprocessorCount, layer.input()) > 0
                            && rowTiles(multiprocessorCount, layer.output()) > 0
                            && layer.output().depth() <= width;
        }
        return isFitting;
    }

    /**
     * Whether a step of so many rows goes through these kernels: every block reads all of the residual stream, so that
     * three rows of 1,024 gain 5 % over the batch's kernels and four lose 3 %.
     */
    boolean holds(int rows) {
        return rows <= ROWS_MAX && rows * config.width() <= ELEMENTS_MAX;
    }

    /** Tiles of a block for blocks that share all units evenly and run side by side, 0 where there is no such way. */
    private static int pairTiles(int multiprocessorCount, DeviceModel.Linear linear) {
        int units = linear.rows() / 2;
        for (int tiles = PAIR_TILES_MIN; tiles <= TILES_MAX; tiles *= 2) {
            int blocks = units / (TILE_UNITS * tiles);
            if (units % (CLUSTER * TILE_UNITS * tiles) == 0
                    && blocks <= Math.min(multiprocessorCount, BLOCKS_MAX)
                    && blocks >= BLOCKS_MIN
                    && linear.depth() / CLUSTER % stageRows(tiles) == 0) {
                return tiles;
            }
        }
        return 0;
    }

    /** Rows of the projection back in a stage, where a cluster has the units of so many tiles. */
    private static int stageRows(int tiles) {
        return STAGE_BYTES / ElementType.BF16.bytes() / (CLUSTER * TILE_UNITS * tiles);
    }

    /** Tiles of a block that does nothing but this projection, 0 where they are too many. */
    private static int rowTiles(int multiprocessorCount, DeviceModel.Linear linear) {
        for (int tiles = 1; tiles <= TILES_MAX; tiles *= 2) {
            int blocks = Math.ceilDiv(linear.rows(), TILE_ROWS * tiles);
            if (blocks >= BLOCKS_MIN && blocks <= multiprocessorCount && linear.rows() % WeightMaps.ROWS == 0) {
                return tiles;
            }
        }
        return 0;
    }

    private void mapSingle(DeviceModel.Linear linear) {
        int rows = rowTiles(multiprocessorCount, linear) * TILE_ROWS;
        maps.put(linear, WeightMaps.rows(device, linear, TILE_DEPTH, rows));
    }

    private void mapPair(DeviceModel.Linear in, DeviceModel.Linear out) {
        int tiles = pairTiles(multiprocessorCount, in);
        maps.put(in, WeightMaps.pairs(device, in, TILE_DEPTH, tiles * TILE_ROWS));
        int depth = Math.min(TILE_DEPTH, CLUSTER * TILE_UNITS * tiles);
        maps.put(out, WeightMaps.rows(device, out, depth, stageRows(tiles)));
    }

    /** Begins a step: the residual stream is where {@code begin} left it. */
    void start() {
        stream = 0;
        lastSums = SUM_BUFFERS - 1;
        hasSums = false;
    }

    /** An input projection of the stream, to {@code wide}. */
    void plain(DeviceModel.Linear linear, DeviceModel.Norm norm, int rows) {
        single(linear, 0, norm.weight(), EPILOGUE_PLAIN, rows);
        hasSums = false;
    }

    /** An output projection of what a mixer left in {@code narrow}, added to the stream; after {@link #plain}. */
    void residual(DeviceModel.Linear linear, int rows) {
        single(linear, buffers.narrow(), 0, EPILOGUE_RESIDUAL, rows);
    }

    private void single(DeviceModel.Linear linear, long tokens, long normWeight, int epilogue, int rows) {
        int tiles = rowTiles(multiprocessorCount, linear);
        int places = start(linear, tokens, normWeight, rows, tiles, 0);
        arguments
                .add(linear.rows())
                .add(0)
                .add(epilogue)
                .add(linear.bias())
                .add(0)
                .add(buffers.wide());
        addNoConvolution();
        arguments.add(0L).add(0L).add(0L).add(0L);
        int blocks = Math.ceilDiv(linear.rows(), TILE_ROWS * tiles);
        launch(Math.ceilDiv(blocks, CLUSTER) * CLUSTER, sharedBytes(linear.depth(), rows, tiles, places));
    }

    /** The MLP. */
    void gate(DeviceModel.Layer layer, int rows) {
        int tiles = pairTiles(multiprocessorCount, layer.fc1());
        int places = startPair(layer.fc1(), layer.norm2(), rows, tiles);
        int units = config.mlp().innerWidth();
        arguments
                .add(0)
                .add(units)
                .add(EPILOGUE_GATE)
                .add(layer.fc1().bias())
                .add(Forward.activation(config))
                .add(0L);
        addNoConvolution();
        end(layer.fc2(), units, rows, tiles, places);
    }

    /** A convolution with both of its projections; one token a row. */
    void convolution(DeviceModel.Layer layer, Mixer.Convolution m, long ringOffset, int rows) {
        int tiles = pairTiles(multiprocessorCount, layer.input());
        int places = startPair(layer.input(), layer.norm1(), rows, tiles);
        int channels = m.channelCount();
        arguments
                .add(0)
                .add(channels)
                .add(EPILOGUE_CONVOLUTION)
                .add(layer.input().bias())
                .add(0)
                .add(0L)
                .add(buffers.activeSlots())
                .add(buffers.rowPositions())
                .add(state)
                .add(slotMemory.bytes())
                .add(ringOffset)
                .add(layer.taps())
                .add(layer.tapsBias())
                .add(m.kernelSize() - 1 + StateLayout.ROLLBACK_TOKENS);
        end(layer.output(), channels, rows, tiles, places);
    }

    /** Ends the layers of a step: what the head reads. */
    ProjectKernels.Input finish(DeviceModel.Norm norm, int rows) {
        arguments
                .clear()
                .add(streams[stream])
                .add(hasSums ? sums[lastSums] : 0)
                .add(norm.weight())
                .add(buffers.x())
                .add(buffers.firstSquares())
                .add(sums[0])
                .add(config.width());
        device.launch(Kernel.ADD_SUMS, rows, 1, 256, 0, arguments);
        return new ProjectKernels.Input(buffers.x(), buffers.firstSquares(), 1);
    }

    private int startPair(DeviceModel.Linear linear, DeviceModel.Norm norm, int rows, int tiles) {
        return start(linear, 0, norm.weight(), rows, tiles, config.width() / CLUSTER / stageRows(tiles));
    }

    /** Begins the arguments; returns how many stages there is room for. */
    private int start(DeviceModel.Linear linear, long tokens, long normWeight, int rows, int tiles, int stagesAfter) {
        int depth = linear.depth();
        int stages = Math.ceilDiv(depth / TILE_DEPTH * tiles, WARPS) + stagesAfter;
        int room = (Kernel.PROJECT_PAIR.sharedBytesMax() - sharedBytes(depth, rows, tiles, 0)) / STAGE_BYTES;
        int places = Math.min(Math.min(PLACES_MAX, Math.max(stages, PLACES_MIN)), room);
        arguments
                .clear()
                .add(tokens)
                .add(streams[stream])
                .add(hasSums ? sums[lastSums] : 0)
                .add(streams[1 - stream])
                .add(normWeight)
                .add(config.normEpsilon())
                .add(depth)
                .add(rows)
                .add(4f / depth)
                .add(places)
                .add(Objects.requireNonNull(maps.get(linear)))
                .add(Integer.numberOfTrailingZeros(tiles));
        if (hasSums) {
            stream = 1 - stream;
        }
        return places;
    }

    private void end(DeviceModel.Linear linear, int units, int rows, int tiles, int places) {
        lastSums = (lastSums + 1) % SUM_BUFFERS;
        hasSums = true;
        arguments
                .add(Objects.requireNonNull(maps.get(linear)))
                .add(linear.bias())
                .add(sums[lastSums])
                .add(sums[(lastSums + 1) % SUM_BUFFERS]);
        launch(units / (TILE_UNITS * tiles), sharedBytes(config.width(), rows, tiles, places));
    }

    private void addNoConvolution() {
        arguments.add(0L).add(0L).add(0L).add(0L).add(0L).add(0L).add(0L).add(1);
    }

    private static int sharedBytes(int depth, int rows, int tiles, int places) {
        int tokenElements = depth + PADDING + CLUSTER * TILE_UNITS * tiles + PADDING;
        return places * STAGE_BYTES
                + FIXED_BYTES
                + rows * (TOKEN_SUM_BYTES + ElementType.BF16.bytes() * tokenElements)
                + ElementType.BF16.bytes() * depth / CLUSTER;
    }

    private void launch(int blocks, int sharedBytes) {
        device.launchClusters(
                Kernel.PROJECT_PAIR, new Device.Clusters(blocks, 1, CLUSTER, THREADS, sharedBytes), arguments);
    }
}
