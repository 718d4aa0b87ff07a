package basalt.engine.backend.cuda;

import basalt.engine.model.ElementType;
import basalt.engine.model.Mixer;
import basalt.engine.model.ModelConfig;

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

    static StepBuffers allocate(Device device, DeviceModel model, ElementType type, Sizes sizes) {
        ModelConfig config = model.config();
        long picks = sizes.picks();
        long rows = sizes.rows();
        long tokens = sizes.tokens();
        int width = config.width();
        int wide = 2 * config.mlp().innerWidth();
        int narrow = config.mlp().innerWidth();
        for (int i = 0; i < config.layerCount(); i++) {
            wide = Math.max(wide, model.layers().get(i).input().rows());
            narrow = Math.max(
                    narrow,
                    switch (config.mixers().get(i)) {
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
        int squareCount = Math.ceilDiv(width, Math.ceilDiv(width, device.multiprocessorCount()));
        int squaresMax = Math.max(squareCount, BatchProjections.squareCount(width));
        long logitsBytes = 4 * picks * config.paddedVocabSize();
        return new StepBuffers(
                device.allocate(4 * rows),
                device.allocate(8 * rows),
                device.allocate(4 * tokens * width),
                device.allocate(4 * tokens * Math.max(model.rotaryDim(), 1)),
                device.allocate(type.bytes() * tokens * width),
                device.allocate(4 * tokens),
                device.allocate(4 * tokens * squaresMax),
                device.allocate(type.bytes() * tokens * wide),
                device.allocate(type.bytes() * tokens * narrow),
                device.allocate(4 * picks * width),
                device.allocate(type.bytes() * picks * width),
                device.allocate(4 * picks * squaresMax),
                device.allocate(type.bytes() * picks * narrow),
                device.allocate(TAYLOR_CHUNK_BYTES * chunks),
                device.allocate(Math.max(taylorStateBytes * chunks, 1)),
                device.allocate(logitsBytes),
                device.allocate(logitsBytes),
                Tails.allocate(device, model, sizes),
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
