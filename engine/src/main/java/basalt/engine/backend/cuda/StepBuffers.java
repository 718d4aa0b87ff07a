package basalt.engine.backend.cuda;

import basalt.engine.model.ElementType;
import basalt.engine.model.Mixer;
import basalt.engine.model.ModelConfig;
import java.util.function.LongUnaryOperator;

/** Device memory that a pass works in, sized for the largest one. Shapes: T tokens, R rows, P picked tokens. */
record StepBuffers(
        long activeSlots, // i32 [R]
        long rowPositions, // i64 [R]
        long residual, // f32 [T, d]
        long rotary, // f32 [T, r]
        long x, // element [T, d], what a projection of the residual stream reads
        long firstSquares, // f32 [T], Σ r² before the first layer
        long squares, // f32 [T, squareCount], parts of Σ r²
        long wide, // element [T, widest], what an input projection leaves
        long narrow, // element [T, narrowest], what an output projection reads
        long pickedResidual, // f32 [P, d]
        long headX, // element [P, d]
        long headSquares, // f32 [P, squareCount]
        long pickedNarrow, // element [P, narrowest]
        long taylorChunks, // i32 [taylorChunkCount, 4], between taylor_states and taylor_outputs
        long taylorStates, // bf16 [taylorChunkCount, most H·11·(e/8 + 1)·256], between these too
        long logits, // f32 [P, Npad]
        long adjusted, // f32 [P, Npad]
        Tails tails,
        int widest, // bytes
        int narrowest, // bytes
        int taylorStateBytes, // of a chunk
        int squareCount, // of the kernels for few tokens
        int taylorChunkCount) { // of one launch
    private static final int TAYLOR_CHUNKS_MAX = 40; // a prompt of 4,096 tokens has 33

    /** Of an entry of {@code taylorChunks}. */
    static final long TAYLOR_CHUNK_BYTES = 16;

    /** P, R and T at most. */
    record Sizes(int picks, int rows, int tokens) {}

    static StepBuffers allocate(Device device, ModelConfig config, ElementType type, Sizes sizes) {
        return allocate(device::allocate, device.multiprocessorCount(), config, type, sizes);
    }

    /** Device memory that all of them take. */
    static long bytes(int multiprocessorCount, ModelConfig config, ElementType type, Sizes sizes) {
        long[] sum = new long[1];
        LongUnaryOperator memory = bytes -> {
            sum[0] += bytes;
            return 0;
        };
        allocate(memory, multiprocessorCount, config, type, sizes);
        return sum[0];
    }

    private static StepBuffers allocate(
            LongUnaryOperator memory, int multiprocessorCount, ModelConfig config, ElementType type, Sizes sizes) {
        long picks = sizes.picks();
        long rows = sizes.rows();
        long tokens = sizes.tokens();
        int width = config.width();
        int wide = 2 * config.mlp().innerWidth();
        int narrow = config.mlp().innerWidth();
        for (Mixer mixer : config.mixers()) {
            wide = Math.max(wide, DeviceModel.inputRows(mixer));
            narrow = Math.max(
                    narrow,
                    switch (mixer) {
                        case Mixer.Convolution m -> m.channelCount();
                        case Mixer.TaylorAttention m -> m.headCount() * m.headWidth();
                        case Mixer.WindowAttention m -> m.headCount() * m.headWidth();
                    });
        }
        long taylorStateBytes = config.mixers().stream()
                .mapToLong(mixer -> mixer instanceof Mixer.TaylorAttention m ? MixerKernels.taylorStateBytes(m) : 0)
                .max()
                .orElse(0);
        int chunks = Math.min(TAYLOR_CHUNKS_MAX, MixerKernels.taylorChunkCountMax(sizes.rows(), sizes.tokens()));
        int squareCount = Math.ceilDiv(width, Math.ceilDiv(width, multiprocessorCount));
        int squaresMax = Math.max(squareCount, BatchProjections.squareCount(width));
        long logitsBytes = 4 * picks * config.paddedVocabSize();
        return new StepBuffers(
                memory.applyAsLong(4 * rows),
                memory.applyAsLong(8 * rows),
                memory.applyAsLong(4 * tokens * width),
                memory.applyAsLong(4 * tokens * Math.max(DeviceModel.rotaryDim(config), 1)),
                memory.applyAsLong(type.bytes() * tokens * width),
                memory.applyAsLong(4 * tokens),
                memory.applyAsLong(4 * tokens * squaresMax),
                memory.applyAsLong(type.bytes() * tokens * wide),
                memory.applyAsLong(type.bytes() * tokens * narrow),
                memory.applyAsLong(4 * picks * width),
                memory.applyAsLong(type.bytes() * picks * width),
                memory.applyAsLong(4 * picks * squaresMax),
                memory.applyAsLong(type.bytes() * picks * narrow),
                memory.applyAsLong(TAYLOR_CHUNK_BYTES * chunks),
                memory.applyAsLong(Math.max(taylorStateBytes * chunks, 1)),
                memory.applyAsLong(logitsBytes),
                memory.applyAsLong(logitsBytes),
                Tails.allocate(memory, config, sizes),
                type.bytes() * wide,
                type.bytes() * narrow,
                Math.toIntExact(taylorStateBytes),
                squareCount,
                chunks);
    }

    /** Those of a pass of the picked tokens alone, once nothing else reads {@code wide}. */
    StepBuffers picked() {
        return new StepBuffers(
                activeSlots,
                rowPositions,
                pickedResidual,
                rotary,
                headX,
                firstSquares,
                headSquares,
                wide,
                pickedNarrow,
                pickedResidual,
                headX,
                headSquares,
                pickedNarrow,
                taylorChunks,
                taylorStates,
                logits,
                adjusted,
                tails,
                widest,
                narrowest,
                taylorStateBytes,
                squareCount,
                taylorChunkCount);
    }

    /**
     * Where token 0 would be in {@code wide} for a lane's first token to be where no other lane comes, however far
     * apart their tokens are.
     *
     * @param stride bytes from a token to the next
     */
    long wide(Lane lane, long stride) {
        return wide + lane.first() * (widest - stride);
    }

    /** The same in {@code narrow}. */
    long narrow(Lane lane, long stride) {
        return narrow + lane.first() * (narrowest - stride);
    }
}
