package basalt.engine.backend.cuda;

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
        return batch == null || m.kernelSize() == BATCH_TAPS;
    }

    /** An input projection. */
    void plain(DeviceModel.Linear linear, int tokens, int squareCount) {
        start(linear, buffers.x(), buffers.squares(), squareCount, tokens);
        output(EPILOGUE_PLAIN, linear, 0, buffers.wide(), linear.rows());
        end(linear, tokens, linear.rows());
    }

    /** The MLP's input projection and its gate. */
    void gate(DeviceModel.Linear linear, int tokens) {
        int inner = config.mlp().innerWidth();
        start(linear, buffers.x(), buffers.squares(), squareCount(), tokens, inner);
        output(EPILOGUE_GATE, linear, inner, buffers.narrow(), inner);
        end(linear, tokens, inner);
    }

    /**
     * What the head reads.
     *
     * @param x element [tokens, d]
     * @param squares f32 [tokens, squareCount]
     */
    record Picked(long x, long squares, int squareCount) {}

    /** The head. */
    void logits(DeviceModel.Linear linear, Picked x, int tokens) {
        start(linear, x.x(), x.squares(), x.squareCount(), tokens);
        output(EPILOGUE_LOGITS, linear, 0, buffers.logits(), linear.rows());
        end(linear, tokens, linear.rows());
    }

    /** The input projection of a convolution with the convolution itself; one token a row. */
    void convolution(DeviceModel.Layer layer, Mixer.Convolution m, long ringOffset, int tokens, int squareCount) {
        int channels = m.channelCount();
        start(layer.input(), buffers.x(), buffers.squares(), squareCount, tokens, channels);
        arguments
                .add(channels)
                .add(EPILOGUE_CONVOLUTION)
                .add(layer.input().bias())
                .add(buffers.narrow())
                .add(channels)
                .add(0)
                .add(0L)
                .add(0L)
                .add(0L)
                .add(0L)
                .add(buffers.activeSlots())
                .add(buffers.rowPositions())
                .add(state)
                .add(slotMemory.bytes())
                .add(ringOffset)
                .add(layer.taps())
                .add(layer.tapsBias())
                .add(m.kernelSize())
                .add(m.kernelSize() - 1 + StateLayout.ROLLBACK_TOKENS);
        end(layer.input(), tokens, channels);
    }

    /** An output projection, added to the residual stream, and the input of the next norm. */
    void residual(DeviceModel.Linear linear, DeviceModel.Norm next, int tokens) {
        start(linear, buffers.narrow(), 0, 0, tokens);
        arguments
                .add(0)
                .add(EPILOGUE_RESIDUAL)
                .add(linear.bias())
                .add(0L)
                .add(linear.rows())
                .add(0)
                .add(buffers.residual())
                .add(next.weight())
                .add(buffers.x())
                .add(buffers.squares());
        addNoConvolution();
        end(linear, tokens, linear.rows());
    }

    private void start(DeviceModel.Linear linear, long x, long squares, int squareCount, int tokens) {
        start(linear, x, squares, squareCount, tokens, linear.rows());
    }

    private void start(DeviceModel.Linear linear, long x, long squares, int squareCount, int tokens, int rows) {
        if (batch != null) {
            batch.start(arguments, linear, rows < linear.rows(), x, tokens);
        } else {
            arguments.clear().add(linear.weight()).add(x);
        }
        arguments
                .add(squares)
                .add(squareCount)
                .add(config.width())
                .add(config.normEpsilon())
                .add(rows)
                .add(linear.depth())
                .add(tokens);
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

    private void end(DeviceModel.Linear linear, int tokens, int rows) {
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
