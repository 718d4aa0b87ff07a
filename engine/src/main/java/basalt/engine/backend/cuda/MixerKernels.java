package basalt.engine.backend.cuda;

import basalt.engine.model.ElementType;
import basalt.engine.model.Mixer;
import basalt.engine.state.StateLayout;
import basalt.engine.state.StateLayout.Role;

/**
 * Launches of the mixers, each from the input projection in {@code wide} to what the output projection reads in {@code
 * narrow}. Rows of one token, which come first, and all rows where bits must not depend on the split of a prompt, go
 * token by token.
 */
final class MixerKernels {
    private static final int SLICE = 16; // columns of a block of taylor_states
    private static final int OUTPUTS_SLICE = 64; // of taylor_outputs
    private static final int FEATURE_STEPS = 11;
    private static final int CHUNK_TOKENS = 128;
    private static final int QUERY_TILE = 64;
    private static final int CONVOLUTION_TOKENS = 2; // of a block, neighbours of a row

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

    /**
     * From the input projection in {@code wide} to what the output projection reads in {@code narrow}. Branches may
     * still read {@code wide}: join them before it is written. A lane beside another begins none.
     */
    void mix(Pass pass, Lane lane, int index, long inputBias) {
        switch (model.layers().get(index).mixer()) {
            case Mixer.Convolution m -> {
                var places = new Places(buffers.rowPositions(), pass.rowStarts(), pass.rowCounts(), pass.tokenRows());
                convolve(places, Math.max(pass.singleCount() - lane.firstRow(), 0), lane, index, inputBias);
            }
            case Mixer.TaylorAttention m -> {
                var rows = rows(pass, lane, canPrefill(m));
                mixBoth(
                        lane,
                        rows,
                        () -> taylor(pass, lane, index, m, rows.singleCount()),
                        () -> prefillTaylor(pass, lane, index, m, rows),
                        () -> storeTaylor(pass, lane, index, m, rows));
            }
            case Mixer.WindowAttention m -> {
                var rows = rows(pass, lane, canPrefill(m));
                mixBoth(
                        lane,
                        rows,
                        () -> window(pass, lane, index, m, rows.singleCount()),
                        () -> prefillWindow(pass, lane, index, m, rows),
                        () -> storeWindow(pass, lane, index, m, rows));
            }
        }
    }

    /** The same of the last layer, a convolution, with the tails of rows alone. */
    void mixTails(Pass pass, long inputBias) {
        var tails = buffers.tails();
        var places = new Places(tails.positions(), tails.starts(), tails.counts(), tails.rows());
        int last = model.layers().size() - 1;
        convolve(places, pass.singleCount(), Lane.all(tails.count(pass)), last, inputBias);
    }

    /** Both kinds of rows side by side, since they share nothing; storing goes on beside what follows. */
    private void mixBoth(Lane lane, Rows rows, Runnable singles, Runnable longs, Runnable storing) {
        if (rows.longCount() == 0) {
            singles.run();
            return;
        }
        if (!lane.isAlone()) {
            if (rows.singleCount() > 0) {
                singles.run();
            }
            longs.run();
            storing.run();
            return;
        }
        if (rows.singleCount() == 0) {
            longs.run();
        } else {
            device.beginBranch();
            longs.run();
            device.endBranch();
            singles.run();
            device.joinBranches();
        }
        device.beginBranch();
        storing.run();
        device.endBranch();
    }

    /** The first rows of a lane, which go token by token, and those after them. */
    private record Rows(int singleCount, int firstLong, int longCount) {}

    private Rows rows(Pass pass, Lane lane, boolean canPrefill) {
        int rowCount = lane.isAlone() ? pass.rowCount() : lane.rowCount();
        int singleCount = isDeterministic || !canPrefill
                ? rowCount
                : Math.clamp(pass.singleCount() - lane.firstRow(), 0, rowCount);
        return new Rows(singleCount, lane.firstRow() + singleCount, rowCount - singleCount);
    }

    /** What kernels are told of the rows from one on. */
    private KernelArguments addRows(Pass pass, int first) {
        return arguments
                .add(buffers.activeSlots() + (long) Integer.BYTES * first)
                .add(buffers.rowPositions() + (long) Long.BYTES * first)
                .add(pass.rowStarts() + (long) Integer.BYTES * first)
                .add(pass.rowCounts() + (long) Integer.BYTES * first);
    }

    /** Arrays that say where tokens are in their rows: position, first token and tokens of a row, row of a token. */
    private record Places(long rowPositions, long rowStarts, long rowCounts, long tokenRows) {}

    private void convolve(Places places, int singles, Lane lane, int index, long inputBias) {
        var layer = model.layers().get(index);
        var m = (Mixer.Convolution) layer.mixer();
        int channels = m.channelCount();
        long outputStride = (long) type.bytes() * channels;
        int ringRows = m.kernelSize() - 1 + StateLayout.ROLLBACK_TOKENS;
        arguments
                .clear()
                .add(buffers.activeSlots())
                .add(places.rowPositions())
                .add(places.rowStarts())
                .add(places.rowCounts())
                .add(places.tokenRows())
                .add(buffers.wide(lane, 2 * outputStride))
                .add(inputBias)
                .add(layer.taps())
                .add(layer.tapsBias())
                .add(state)
                .add(slotMemory.bytes())
                .add(stateOffsets[index][0])
                .add(buffers.narrow(lane, outputStride))
                .add(channels)
                .add(2 * channels)
                .add(m.kernelSize())
                .add(ringRows)
                .add(singles)
                .add(lane.first())
                .add(lane.first() + lane.count());
        int blocks = singles + Math.ceilDiv(lane.count() - singles, CONVOLUTION_TOKENS);
        device.launch(Kernel.CONVOLUTION, blocks, Math.ceilDiv(channels, 1024), 128, 0, arguments);
    }

    private void taylor(Pass pass, Lane lane, int index, Mixer.TaylorAttention m, int rowCount) {
        startTaylor(pass, lane, stateOffsets[index], m);
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
        device.launch(kernel, m.headCount(), rowCount, 128, 0, arguments);
    }

    private void startTaylor(Pass pass, Lane lane, long[] offsets, Mixer.TaylorAttention m) {
        arguments.clear();
        addRows(pass, lane.firstRow())
                .add(buffers.wide(lane, inputStride(m)))
                .add(buffers.narrow(lane, outputStride(m)))
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

    private void window(Pass pass, Lane lane, int index, Mixer.WindowAttention m, int rowCount) {
        long[] offsets = stateOffsets[index];
        arguments.clear();
        addRows(pass, lane.firstRow())
                .add(buffers.wide(lane, inputStride(m)))
                .add(buffers.rotary())
                .add(buffers.narrow(lane, outputStride(m)))
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
        int sharedBytes = kernel.sharedBytesMax();
        if (kernel == Kernel.WINDOW_STEP_ANY) {
            arguments.add(m.headWidth());
            sharedBytes = (m.reach() + 1 + m.headWidth()) * Float.BYTES;
        }
        int threads = kernel == Kernel.WINDOW_STEP_112 ? 256 : 128;
        device.launch(kernel, m.keyHeadCount(), rowCount, threads, sharedBytes, arguments);
    }

    // Bytes from a token to the next, in wide and in narrow.

    private long inputStride(Mixer.TaylorAttention m) {
        return outputStride(m) + 2L * type.bytes() * m.headCount() * m.featureDim();
    }

    private long outputStride(Mixer.TaylorAttention m) {
        return (long) type.bytes() * m.headCount() * m.headWidth();
    }

    private long inputStride(Mixer.WindowAttention m) {
        return (long) type.bytes() * (m.headCount() + 2 * m.keyHeadCount()) * m.headWidth();
    }

    private long outputStride(Mixer.WindowAttention m) {
        return (long) type.bytes() * m.headCount() * m.headWidth();
    }

    private static boolean canPrefill(Mixer.TaylorAttention m) {
        return m.featureDim() == 16 && m.headWidth() % SLICE == 0;
    }

    private boolean canPrefill(Mixer.WindowAttention m) {
        boolean hasKernel = m.headWidth() == 32 || m.headWidth() == 64 || m.headWidth() == 112;
        return hasKernel && type == ElementType.BF16;
    }

    /** Bytes of what taylor_states leaves of a chunk for taylor_outputs: S and z of all heads; 0 if neither is used. */
    static long taylorStateBytes(Mixer.TaylorAttention m) {
        return canPrefill(m) ? 512L * m.headCount() * FEATURE_STEPS * (m.headWidth() / 8 + 1) : 0;
    }

    /** Most chunks of so many rows with so many tokens, if each begins where it has the most. */
    static int taylorChunkCountMax(int rowCount, int tokenCount) {
        return (tokenCount + rowCount * (StateLayout.FOLD_INTERVAL + CHUNK_TOKENS - 1)) / CHUNK_TOKENS;
    }

    private static int taylorChunkCountMax(Pass pass, Lane lane, Rows rows) {
        int ofLongest = taylorChunkCountMax(1, pass.rowTokensMax());
        int ofAll = taylorChunkCountMax(rows.longCount(), lane.count() - rows.singleCount());
        return Math.min(rows.longCount() * ofLongest, ofAll);
    }

    private void prefillTaylor(Pass pass, Lane lane, int index, Mixer.TaylorAttention m, Rows rows) {
        int chunks = taylorChunkCountMax(pass, lane, rows);
        int atOnce = lane.isAlone() ? buffers.taylorChunkCount() : buffers.taylorChunkCount() / 2;
        for (int first = 0; first < chunks; first += atOnce) {
            int count = Math.min(atOnce, chunks - first);
            findTaylorStates(pass, lane, index, m, rows, new Chunks(first, count));
            makeTaylorOutputs(lane, index, m, count);
        }
    }

    /** Some of a lane's. */
    private record Chunks(int first, int count) {}

    /** Where a lane's chunks are: each of two has a half. */
    private KernelArguments addChunks(Lane lane) {
        long first = lane.first() == 0 ? 0 : buffers.taylorChunkCount() / 2;
        return arguments
                .add(buffers.taylorChunks() + StepBuffers.TAYLOR_CHUNK_BYTES * first)
                .add(buffers.taylorStates() + buffers.taylorStateBytes() * first);
    }

    /** S in the slots is then as after these. */
    private void findTaylorStates(Pass pass, Lane lane, int index, Mixer.TaylorAttention m, Rows rows, Chunks chunks) {
        long[] offsets = stateOffsets[index];
        arguments.clear();
        addRows(pass, rows.firstLong())
                .add(buffers.wide(lane, inputStride(m)))
                .add(state)
                .add(slotMemory.bytes())
                .add(offsets[0])
                .add(offsets[1])
                .add(offsets[2])
                .add(offsets[3])
                .add(m.headCount())
                .add(m.headWidth())
                .add(chunks.first())
                .add(chunks.count());
        addChunks(lane);
        int slices = m.headWidth() / SLICE + 1; // the last is z
        device.launch(Kernel.TAYLOR_STATES, m.headCount() * slices, rows.longCount(), 32 * FEATURE_STEPS, 0, arguments);
    }

    private void makeTaylorOutputs(Lane lane, int index, Mixer.TaylorAttention m, int chunkCount) {
        long[] offsets = stateOffsets[index];
        arguments
                .clear()
                .add(buffers.wide(lane, inputStride(m)))
                .add(buffers.narrow(lane, outputStride(m)))
                .add(state)
                .add(slotMemory.bytes())
                .add(offsets[2])
                .add(offsets[3])
                .add(m.headCount())
                .add(m.headWidth())
                .add((float) (1 / Math.sqrt(m.scaleDim())))
                .add(m.epsilon());
        addChunks(lane);
        device.launch(
                Kernel.TAYLOR_OUTPUTS,
                chunkCount,
                m.headCount() * Math.ceilDiv(m.headWidth(), OUTPUTS_SLICE),
                256,
                Kernel.TAYLOR_OUTPUTS.sharedBytesMax(),
                arguments);
    }

    private void storeTaylor(Pass pass, Lane lane, int index, Mixer.TaylorAttention m, Rows rows) {
        long[] offsets = stateOffsets[index];
        int heads = m.headCount();
        int f = m.featureDim();
        int e = m.headWidth();
        int first = heads * f;
        var rings = new Rings(heads * (2 * f + e), first, offsets[2], offsets[3], StateLayout.FOLD_INTERVAL, f, e);
        writeRings(pass, rows, heads, rings, buffers.wide(lane, inputStride(m)));
    }

    private void prefillWindow(Pass pass, Lane lane, int index, Mixer.WindowAttention m, Rows rows) {
        long[] offsets = stateOffsets[index];
        int heads = m.headCount();
        int keyHeads = m.keyHeadCount();
        int e = m.headWidth();
        int stride = (heads + 2 * keyHeads) * e;
        int ringRows = m.reach() + StateLayout.ROLLBACK_TOKENS;
        int first = lane.first() + rows.singleCount(); // window_step rotates tokens before by itself
        long wide = buffers.wide(lane, inputStride(m));
        if (m.rotaryDim() > 0) {
            arguments
                    .clear()
                    .add(wide + (long) type.bytes() * first * stride)
                    .add(buffers.rotary() + (long) Float.BYTES * first * model.rotaryDim())
                    .add(heads + keyHeads)
                    .add(e)
                    .add(stride)
                    .add(m.rotaryDim())
                    .add(m.isRotaryInterleaved() ? 1 : 0);
            device.launch(Kernel.ROTATE, lane.count() - rows.singleCount(), 1, 256, 0, arguments);
        }
        arguments.clear();
        addRows(pass, rows.firstLong())
                .add(wide)
                .add(buffers.narrow(lane, outputStride(m)))
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
        device.launch(kernel, tiles, rows.longCount() * heads, 128, 0, arguments);
    }

    private void storeWindow(Pass pass, Lane lane, int index, Mixer.WindowAttention m, Rows rows) {
        long[] offsets = stateOffsets[index];
        int heads = m.headCount();
        int keyHeads = m.keyHeadCount();
        int e = m.headWidth();
        int ringRows = m.reach() + StateLayout.ROLLBACK_TOKENS;
        var rings = new Rings((heads + 2 * keyHeads) * e, heads * e, offsets[0], offsets[1], ringRows, e, e);
        writeRings(pass, rows, keyHeads, rings, buffers.wide(lane, inputStride(m)));
    }

    /**
     * Where keys and values of the last tokens of a long row go: from columns of {@code wide}, keys of all groups
     * before their values, to element [groups, rows, width] of a slot each.
     */
    private record Rings(
            int stride, int firstColumn, long keysOffset, long valuesOffset, int rows, int keyWidth, int valueWidth) {}

    private void writeRings(Pass pass, Rows rows, int groups, Rings rings, long wide) {
        int tokens = Math.min(pass.rowTokensMax(), rings.rows());
        arguments.clear();
        addRows(pass, rows.firstLong())
                .add(wide)
                .add(rings.stride())
                .add(rings.firstColumn())
                .add(state)
                .add(slotMemory.bytes())
                .add(rings.keysOffset())
                .add(rings.valuesOffset())
                .add(rings.rows())
                .add(groups)
                .add(rings.keyWidth())
                .add(rings.valueWidth())
                .add(tokens);
        device.launch(Kernel.WRITE_RING, rows.longCount() * tokens, 1, 128, 0, arguments);
    }
}
