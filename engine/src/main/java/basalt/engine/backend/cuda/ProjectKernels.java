package basalt.engine.backend.cuda;

import basalt.engine.model.ElementType;
import basalt.engine.model.Mixer;
import basalt.engine.model.ModelConfig;
import basalt.engine.state.StateLayout;
import org.jspecify.annotations.Nullable;

/** Launches of the project kernels: a projection of few tokens, with the norm before it and with what follows. */
final class ProjectKernels {
    /** K is a multiple of it. */
    static final int DEPTH_STEP = 32;

    private static final int PROJECT_WARPS = 8;
    private static final int STREAM_TOKENS = 8; // of PROJECT_8
    private static final int BATCH_TAPS = 3; // of a convolution that the batch's kernels do
    private static final int EPILOGUE_PLAIN = 0;
    private static final int EPILOGUE_LOGITS = 1;
    private static final int EPILOGUE_GATE = 2;
    private static final int EPILOGUE_CONVOLUTION = 3;
    private static final int EPILOGUE_RESIDUAL = 4;

    private final Device device;
    private final ModelConfig config;
    private final StepBuffers buffers;
    private final SlotMemory slotMemory;
    private final long state; // bytes of all slots
    private final KernelArguments arguments;
    private final int multiprocessorCount;
    private final int activation;
    private final @Nullable BatchProjections batch; // where there is one, everything goes through its kernels

    ProjectKernels(
            Device device,
            ModelConfig config,
            StepBuffers buffers,
            SlotMemory slotMemory,
            long state,
            KernelArguments arguments,
            @Nullable BatchProjections batch) {
        this.device = device;
        this.config = config;
        this.batch = batch;
        this.buffers = buffers;
        this.slotMemory = slotMemory;
        this.state = state;
        this.arguments = arguments;
        multiprocessorCount = device.multiprocessorCount();
        activation = Forward.activation(config);
    }

    /** Parts of Σ r² that a token has after the first layer. */
    int squareCount() {
        return batch != null ? BatchProjections.squareCount(config.width()) : buffers.squareCount();
    }

    /** Whether {@link #convolution} can be asked for. */
    boolean canConvolve(Mixer.Convolution m) {
        return batch == null || hasBatchTaps(m);
    }

    /** Whether the batch's kernels do it. */
    static boolean hasBatchTaps(Mixer.Convolution m) {
        return m.kernelSize() == BATCH_TAPS;
    }

    /**
     * An input projection.
     *
     * @param isFirst whether of the first layer
     */
    void plain(DeviceModel.Linear linear, Lane lane, boolean isFirst) {
        start(linear, lane, normed(lane, isFirst), linear.rows());
        output(EPILOGUE_PLAIN, linear, 0, buffers.wide(lane, 0), linear.rows());
        end(linear, lane, linear.rows());
    }

    /** The MLP's input projection and its gate. */
    void gate(DeviceModel.Linear linear, Lane lane) {
        int inner = config.mlp().innerWidth();
        start(linear, lane, normed(lane, false), inner);
        output(EPILOGUE_GATE, linear, inner, buffers.narrow(lane, 0), inner);
        end(linear, lane, inner);
    }

    /**
     * What a projection reads.
     *
     * @param x element [tokens, K]
     * @param squares f32 [tokens, squareCount] by which it is normalized, or 0
     */
    record Input(long x, long squares, int squareCount) {}

    /** What follows a norm, the first one or a later one. */
    private Input normed(Lane lane, boolean isFirst) {
        long x = buffers.x() + (long) ElementType.BF16.bytes() * config.width() * lane.first();
        return isFirst
                ? new Input(x, buffers.firstSquares() + (long) Float.BYTES * lane.first(), 1)
                : new Input(x, squares(lane), squareCount());
    }

    private long squares(Lane lane) {
        return buffers.squares() + (long) Float.BYTES * squareCount() * lane.first();
    }

    /** The head. */
    void logits(DeviceModel.Linear linear, Input x, int tokens) {
        var lane = Lane.all(tokens);
        start(linear, lane, x, linear.rows());
        output(EPILOGUE_LOGITS, linear, 0, buffers.logits(), linear.rows());
        end(linear, lane, linear.rows());
    }

    /** The input projection of a convolution with the convolution itself; one token a row. */
    void convolution(DeviceModel.Layer layer, Mixer.Convolution m, long ringOffset, Lane lane, boolean isFirst) {
        int channels = m.channelCount();
        start(layer.input(), lane, normed(lane, isFirst), channels);
        arguments
                .add(channels)
                .add(EPILOGUE_CONVOLUTION)
                .add(layer.input().bias())
                .add(buffers.narrow(lane, 0))
                .add(channels)
                .add(0)
                .add(0L)
                .add(0L)
                .add(0L)
                .add(0L)
                .add(buffers.activeSlots() + (long) Integer.BYTES * lane.first())
                .add(buffers.rowPositions() + (long) Long.BYTES * lane.first())
                .add(state)
                .add(slotMemory.bytes())
                .add(ringOffset)
                .add(layer.taps())
                .add(layer.tapsBias())
                .add(m.kernelSize())
                .add(m.kernelSize() - 1 + StateLayout.ROLLBACK_TOKENS);
        end(layer.input(), lane, channels);
    }

    /** An output projection, added to the residual stream, and the input of the next norm. */
    void residual(DeviceModel.Linear linear, DeviceModel.Norm next, Lane lane) {
        long width = config.width();
        start(linear, lane, new Input(buffers.narrow(lane, 0), 0, 0), linear.rows());
        arguments
                .add(0)
                .add(EPILOGUE_RESIDUAL)
                .add(linear.bias())
                .add(0L)
                .add(linear.rows())
                .add(0)
                .add(buffers.residual() + Float.BYTES * width * lane.first())
                .add(next.weight())
                .add(buffers.x() + ElementType.BF16.bytes() * width * lane.first())
                .add(squares(lane));
        addNoConvolution();
        end(linear, lane, linear.rows());
    }

    private void start(DeviceModel.Linear linear, Lane lane, Input input, int rows) {
        if (batch != null) {
            batch.start(arguments, linear, rows < linear.rows(), input.x(), lane);
        } else {
            arguments.clear().add(linear.weight()).add(input.x());
        }
        arguments
                .add(input.squares())
                .add(input.squareCount())
                .add(config.width())
                .add(config.normEpsilon())
                .add(rows)
                .add(linear.depth())
                .add(lane.count());
        if (batch == null) {
            arguments.add(perBlock(rows));
        }
    }

    /** Rows, or pairs of rows, of one block: as many blocks as run side by side. */
    private int perBlock(int rows) {
        return Math.ceilDiv(rows, multiprocessorCount);
    }

    private void output(int epilogue, DeviceModel.Linear linear, int pairRows, long out, int stride) {
        arguments
                .add(pairRows)
                .add(epilogue)
                .add(linear.bias())
                .add(out)
                .add(stride)
                .add(activation)
                .add(0L)
                .add(0L)
                .add(0L)
                .add(0L);
        addNoConvolution();
    }

    private void addNoConvolution() {
        arguments.add(0L).add(0L).add(0L).add(0L).add(0L).add(0L).add(0L).add(0).add(1);
    }

    private void end(DeviceModel.Linear linear, Lane lane, int rows) {
        int tokens = lane.count();
        if (batch != null) {
            batch.launch(arguments, linear, tokens);
            return;
        }
        Kernel kernel;
        int tokensPerBlock;
        int partStride;
        int queueBytes = 80 << 10;
        if (tokens <= STREAM_TOKENS) {
            kernel = Kernel.PROJECT_8;
            tokensPerBlock = STREAM_TOKENS;
            partStride = 56;
            queueBytes = 87_552;
        } else if (tokens <= 16) {
            kernel = Kernel.PROJECT_16;
            tokensPerBlock = 16;
            partStride = 56;
        } else {
            kernel = Kernel.PROJECT_32;
            tokensPerBlock = 32;
            partStride = 40;
            queueBytes = 64 << 10;
        }
        int sharedBytes = queueBytes + PROJECT_WARPS * tokensPerBlock * partStride * 4;
        device.launch(
                kernel,
                Math.ceilDiv(rows, perBlock(rows)),
                Math.ceilDiv(tokens, tokensPerBlock),
                PROJECT_WARPS * 32,
                sharedBytes,
                arguments);
    }
}
