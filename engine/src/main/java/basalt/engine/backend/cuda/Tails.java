package basalt.engine.backend.cuda;

import basalt.engine.model.Mixer;
import basalt.engine.model.ModelConfig;
import basalt.engine.state.StateLayout;
import java.util.function.LongUnaryOperator;

/**
 * Device memory for the last tokens of rows by themselves: all of them that a last layer's convolution needs, for the
 * ring it leaves in a slot and for the picked token. Rows of one token come first, and every longer row has the same
 * number of places, so that a pass's shape says how many there are. Shapes: T tokens, R rows, P picked tokens.
 */
record Tails(
        int length, // places of a longer row; 0 where the last mixer is no convolution
        int width, // d
        long residual, // f32 [T / 2, d]
        long positions, // i64 [R]
        long starts, // i32 [R], first place
        long counts, // i32 [R], places that are used
        long rows, // i32 [T / 2]
        long picks) { // i32 [P], places

    static Tails allocate(LongUnaryOperator memory, ModelConfig config, StepBuffers.Sizes sizes) {
        if (!(config.mixers().getLast() instanceof Mixer.Convolution m)) {
            return new Tails(0, 0, 0, 0, 0, 0, 0, 0);
        }
        int width = config.width();
        long places = sizes.tokens() / 2;
        return new Tails(
                m.kernelSize() - 1 + StateLayout.ROLLBACK_TOKENS,
                width,
                memory.applyAsLong(Float.BYTES * places * width),
                memory.applyAsLong((long) Long.BYTES * sizes.rows()),
                memory.applyAsLong((long) Integer.BYTES * sizes.rows()),
                memory.applyAsLong((long) Integer.BYTES * sizes.rows()),
                memory.applyAsLong(Integer.BYTES * places),
                memory.applyAsLong((long) Integer.BYTES * sizes.picks()));
    }

    /** Places of all rows of a pass. */
    int count(Pass pass) {
        return pass.singleCount() + length * (pass.rowCount() - pass.singleCount());
    }

    /** Whether a pass has so few that there is room, and taking them alone is worth a kernel more. */
    boolean areFew(Pass pass) {
        return length > 0 && 2 * count(pass) <= pass.tokenCount();
    }

    /** Fills all arrays from what a pass left in its buffers before its last layer. */
    void gather(Device device, KernelArguments arguments, Pass pass, StepBuffers buffers) {
        arguments
                .clear()
                .add(pass.rowStarts())
                .add(pass.rowCounts())
                .add(buffers.rowPositions())
                .add(pass.tokenRows())
                .add(pass.picks())
                .add(buffers.residual())
                .add(starts)
                .add(counts)
                .add(positions)
                .add(rows)
                .add(picks)
                .add(residual)
                .add(pass.pickCount())
                .add(pass.singleCount())
                .add(length)
                .add(width);
        device.launch(Kernel.GATHER_TAILS, count(pass), 1, 256, 0, arguments);
    }
}
