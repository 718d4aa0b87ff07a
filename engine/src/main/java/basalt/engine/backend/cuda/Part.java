package basalt.engine.backend.cuda;

import basalt.engine.model.ElementType;

/**
 * Tokens that go through the library's products together, by where the first one is.
 *
 * @param residual f32 [tokens, d]
 * @param x element [tokens, d]
 * @param wide what an input projection leaves
 * @param narrow what an output projection reads
 * @param isAlone whether no others go through the layers beside these
 */
record Part(long residual, long x, long wide, long narrow, int tokens, boolean isAlone) {
    /** The first tokens of buffers. */
    static Part first(StepBuffers buffers, int tokens) {
        return new Part(buffers.residual(), buffers.x(), buffers.wide(), buffers.narrow(), tokens, true);
    }

    /** A lane's, of width d. */
    static Part of(Lane lane, StepBuffers buffers, ElementType type, int width) {
        long first = (long) width * lane.first();
        return new Part(
                buffers.residual() + Float.BYTES * first,
                buffers.x() + type.bytes() * first,
                buffers.wide(lane, 0),
                buffers.narrow(lane, 0),
                lane.count(),
                lane.isAlone());
    }

    /** The same with another residual stream. */
    Part withResidual(long other) {
        return new Part(other, x, wide, narrow, tokens, isAlone);
    }
}
