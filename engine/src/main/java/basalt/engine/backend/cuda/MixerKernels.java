package basalt.engine.backend.cuda;

import basalt.engine.model.ElementType;
import basalt.engine.model.Mixer;
import basalt.engine.state.StateLayout;
import basalt.engine.state.StateLayout.Role;

/**
 * Launches of the mixers, each from the input projection in {@code wide} to what the output projection reads in {@code
 * narrow}. Rows of one token, and all rows where bits must not depend on the split of a prompt, go token by token.
 */
final class MixerKernels {
    private static final int SLICE = 16; // columns of a block of taylor_prefill
    private static final int TAYLOR_PREFILL_THREADS = 256;
    private static final int QUERY_TILE = 64;

    private final Device device;
    private final DeviceModel model;
    private final StepBuffers buffers;
    private final SlotMemory slotMemory;
    private final long state; // bytes of all slots
    private final boolean isDeterministic;
    private final ElementType type;
    private final KernelArguments arguments;
    private final long[][] stateOffsets; // [L, tensors of the layer's mixer]

    MixerKernels(
            Device device,
            DeviceModel model,
            StepBuffers buffers,
            SlotMemory slotMemory,
            long state,
            boolean isDeterministic,
            KernelArguments arguments) {
        this.device = device;
        this.model = model;
        this.buffers = buffers;
        this.slotMemory = slotMemory;
        this.state = state;
        this.isDeterministic = isDeterministic;
        this.arguments = arguments;
        type = slotMemory.ringType();
        stateOffsets = new long[model.layers().size()][];
        for (int layer = 0; layer < stateOffsets.length; layer++) {
            stateOffsets[layer] = offsets(layer, model.layers().get(layer).mixer());
        }
    }

    /** Of the first tensor of a layer's state. */
    long stateOffset(int layer) {
        return stateOffsets[layer][0];
    }

    private long[] offsets(int layer, Mixer mixer) {
        return switch (mixer) {
            case Mixer.Convolution m -> new long[] {slotMemory.offset(layer, Role.CONVOLUTION_INPUTS)};
            case Mixer.TaylorAttention m ->
                new long[] {
                    slotMemory.offset(layer, Role.TAYLOR_SUMS),
                    slotMemory.offset(layer, Role.TAYLOR_NORMS),
                    slotMemory.offset(layer, Role.TAYLOR_KEYS),
                    slotMemory.offset(layer, Role.TAYLOR_VALUES)
                };
            case Mixer.WindowAttention m ->
                new long[] {slotMemory.offset(layer, Role.WINDOW_KEYS), slotMemory.offset(layer, Role.WINDOW_VALUES)};
        };
    }

    /** From the input projection in {@code wide} to what the output projection reads in {@code narrow}. */
    void mix(Pass pass, int index, boolean isDecode, long inputBias) {
        switch (model.layers().get(index).mixer()) {
            case Mixer.Convolution m -> convolve(pass, index, m, isDecode, inputBias);
            case Mixer.TaylorAttention m -> {
                if (isTokenByToken(pass, isDecode) || !canPrefill(m)) {
                    taylor(pass, index, m);
                } else {
                    prefillTaylor(pass, index, m);
                }
            }
            case Mixer.WindowAttention m -> {
                if (isTokenByToken(pass, isDecode) || !canPrefill(m)) {
                    window(pass, index, m);
                } else {
                    prefillWindow(pass, index, m);
                }
            }
        }
    }

    private void convolve(Pass pass, int index, Mixer.Convolution m, boolean isDecode, long inputBias) {
        var layer = model.layers().get(index);
        int channels = m.channelCount();
        int ringRows = m.kernelSize() - 1 + StateLayout.ROLLBACK_TOKENS;
        arguments
                .clear()
                .add(buffers.activeSlots())
                .add(buffers.rowPositions())
                .add(pass.rowStarts())
                .add(pass.tokenRows())
                .add(buffers.wide())
                .add(inputBias)
                .add(layer.taps())
                .add(layer.tapsBias())
                .add(state)
                .add(slotMemory.bytes())
                .add(stateOffsets[index][0])
                .add(buffers.narrow())
                .add(channels)
                .add(2 * channels)
                .add(m.kernelSize())
                .add(ringRows)
                .add(isDecode ? 1 : 0);
        device.launch(Kernel.CONVOLUTION, pass.tokenCount(), Math.ceilDiv(channels, 1024), 128, 0, arguments);
        if (!isDecode) {
            writeRing(pass, inputBias, new Ring(2 * channels, 0, stateOffsets[index][0], ringRows, channels, 1));
        }
    }

    private void taylor(Pass pass, int index, Mixer.TaylorAttention m) {
        startTaylor(pass, stateOffsets[index], m);
        Kernel kernel = m.featureDim() != 16
                ? Kernel.TAYLOR_STEP_ANY
                : switch (m.headWidth()) {
                    case 32 -> Kernel.TAYLOR_STEP_32;
                    case 64 -> Kernel.TAYLOR_STEP_64;
                    case 112 -> Kernel.TAYLOR_STEP_112;
                    default -> Kernel.TAYLOR_STEP_ANY;
                };
        if (kernel == Kernel.TAYLOR_STEP_ANY) {
            arguments.add(m.featureDim()).add(m.headWidth());
        }
        device.launch(kernel, m.headCount(), pass.rowCount(), 128, 0, arguments);
    }

    private void startTaylor(Pass pass, long[] offsets, Mixer.TaylorAttention m) {
        arguments
                .clear()
                .add(buffers.activeSlots())
                .add(buffers.rowPositions())
                .add(pass.rowStarts())
                .add(pass.rowCounts())
                .add(buffers.wide())
                .add(buffers.narrow())
                .add(state)
                .add(slotMemory.bytes())
                .add(offsets[0])
                .add(offsets[1])
                .add(offsets[2])
                .add(offsets[3])
                .add(m.headCount())
                .add((float) (1 / Math.sqrt(m.scaleDim())))
                .add(m.epsilon());
    }

    private void window(Pass pass, int index, Mixer.WindowAttention m) {
        long[] offsets = stateOffsets[index];
        arguments
                .clear()
                .add(buffers.activeSlots())
                .add(buffers.rowPositions())
                .add(pass.rowStarts())
                .add(pass.rowCounts())
                .add(buffers.wide())
                .add(buffers.rotary())
                .add(buffers.narrow())
                .add(state)
                .add(slotMemory.bytes())
                .add(offsets[0])
                .add(offsets[1])
                .add(m.headCount())
                .add(m.keyHeadCount())
                .add(m.reach())
                .add(m.reach() + StateLayout.ROLLBACK_TOKENS)
                .add(m.scale())
                .add(m.rotaryDim())
                .add(m.isRotaryInterleaved() ? 1 : 0);
        Kernel kernel = switch (m.headWidth()) {
            case 32 -> Kernel.WINDOW_STEP_32;
            case 64 -> Kernel.WINDOW_STEP_64;
            case 112 -> Kernel.WINDOW_STEP_112;
            default -> Kernel.WINDOW_STEP_ANY;
        };
        int sharedBytes = (m.reach() + 1) * 4;
        if (kernel == Kernel.WINDOW_STEP_ANY) {
            arguments.add(m.headWidth());
            sharedBytes += m.headWidth() * 4;
        }
        device.launch(kernel, m.keyHeadCount(), pass.rowCount(), 128, sharedBytes, arguments);
    }

    private boolean isTokenByToken(Pass pass, boolean isDecode) {
        return isDecode || isDeterministic || pass.tokenCount() == pass.rowCount();
    }

    private static boolean canPrefill(Mixer.TaylorAttention m) {
        return m.featureDim() == 16 && m.headWidth() % SLICE == 0;
    }

    private boolean canPrefill(Mixer.WindowAttention m) {
        boolean hasKernel = m.headWidth() == 32 || m.headWidth() == 64 || m.headWidth() == 112;
        return hasKernel && type == ElementType.BF16;
    }

    private void prefillTaylor(Pass pass, int index, Mixer.TaylorAttention m) {
        long[] offsets = stateOffsets[index];
        startTaylor(pass, offsets, m);
        arguments.add(m.headWidth()).add(buffers.newNorms());
        device.launch(
                Kernel.TAYLOR_PREFILL,
                m.headCount() * m.headWidth() / SLICE,
                pass.rowCount(),
                TAYLOR_PREFILL_THREADS,
                Kernel.TAYLOR_PREFILL.sharedBytesMax(),
                arguments);
        int heads = m.headCount();
        arguments
                .clear()
                .add(buffers.activeSlots())
                .add(buffers.newNorms())
                .add(state)
                .add(slotMemory.bytes())
                .add(offsets[1])
                .add(heads * m.featureCount());
        device.launch(Kernel.STORE_NORMS, pass.rowCount(), 1, 256, 0, arguments);
        int f = m.featureDim();
        int e = m.headWidth();
        int stride = heads * (2 * f + e);
        int fold = StateLayout.FOLD_INTERVAL;
        writeRing(pass, 0, new Ring(stride, heads * f, offsets[2], fold, f, heads));
        writeRing(pass, 0, new Ring(stride, 2 * heads * f, offsets[3], fold, e, heads));
    }

    private void prefillWindow(Pass pass, int index, Mixer.WindowAttention m) {
        long[] offsets = stateOffsets[index];
        int heads = m.headCount();
        int keyHeads = m.keyHeadCount();
        int e = m.headWidth();
        int stride = (heads + 2 * keyHeads) * e;
        int ringRows = m.reach() + StateLayout.ROLLBACK_TOKENS;
        if (m.rotaryDim() > 0) {
            arguments
                    .clear()
                    .add(buffers.wide())
                    .add(buffers.rotary())
                    .add(heads + keyHeads)
                    .add(e)
                    .add(stride)
                    .add(m.rotaryDim())
                    .add(m.isRotaryInterleaved() ? 1 : 0);
            device.launch(Kernel.ROTATE, pass.tokenCount(), 1, 256, 0, arguments);
        }
        arguments
                .clear()
                .add(buffers.activeSlots())
                .add(buffers.rowPositions())
                .add(pass.rowStarts())
                .add(pass.rowCounts())
                .add(buffers.wide())
                .add(buffers.narrow())
                .add(state)
                .add(slotMemory.bytes())
                .add(offsets[0])
                .add(offsets[1])
                .add(heads)
                .add(keyHeads)
                .add(m.reach())
                .add(ringRows)
                .add(m.scale());
        Kernel kernel = switch (e) {
            case 32 -> Kernel.WINDOW_PREFILL_32;
            case 64 -> Kernel.WINDOW_PREFILL_64;
            default -> Kernel.WINDOW_PREFILL_112;
        };
        int tiles = Math.ceilDiv(pass.rowTokensMax(), QUERY_TILE);
        device.launch(kernel, tiles, pass.rowCount() * heads, 128, 0, arguments);
        writeRing(pass, 0, new Ring(stride, heads * e, offsets[0], ringRows, e, keyHeads));
        writeRing(pass, 0, new Ring(stride, (heads + keyHeads) * e, offsets[1], ringRows, e, keyHeads));
    }

    /**
     * Where the last tokens of each row go: from columns of {@code wide} to element [groups, rows, width] of a slot.
     */
    private record Ring(int stride, int firstColumn, long offset, int rows, int width, int groups) {}

    private void writeRing(Pass pass, long bias, Ring ring) {
        int tokens = Math.min(pass.rowTokensMax(), ring.rows());
        arguments
                .clear()
                .add(buffers.activeSlots())
                .add(buffers.rowPositions())
                .add(pass.rowStarts())
                .add(pass.rowCounts())
                .add(buffers.wide())
                .add(bias)
                .add(ring.stride())
                .add(ring.firstColumn())
                .add(state)
                .add(slotMemory.bytes())
                .add(ring.offset())
                .add(ring.rows())
                .add(ring.width())
                .add(tokens);
        device.launch(Kernel.WRITE_RING, pass.rowCount() * tokens, ring.groups(), 128, 0, arguments);
    }
}
