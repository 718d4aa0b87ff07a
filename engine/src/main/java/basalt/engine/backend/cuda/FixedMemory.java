package basalt.engine.backend.cuda;

import basalt.engine.model.ModelConfig;
import basalt.engine.state.StateLayout;

/** Device memory that a backend takes whatever the number of its slots, found without a device. */
final class FixedMemory {
    /** Of the cards that the large models were measured on; hardly anything depends on it. */
    private static final int MULTIPROCESSORS = 132;

    /**
     * What is not the backend's own: the context, the code of kernels and library, and what the driver keeps of a card.
     * An H200 of 143,771 MiB had so much over beside 7,708 slots of the 1.3B model (docs/CUDA.md).
     */
    private static final long OUTSIDE_BYTES = 1_670_000_000L;

    private FixedMemory() {}

    /** All of a card that is no slots', about. */
    static long bytes(ModelConfig config, CudaBackend.Options options) {
        return allocatedBytes(MULTIPROCESSORS, config, options)
                + JcudaDevice.WORKSPACES_BYTES
                + CudaBackend.RESERVED_BYTES
                + OUTSIDE_BYTES;
    }

    /** All that is allocated before the slots: weights, what steps work in, and what copies of states go through. */
    static long allocatedBytes(int multiprocessorCount, ModelConfig config, CudaBackend.Options options) {
        int rows = options.rowCountMax();
        int passRows = PassGraphs.rowCountMax(rows);
        int passTokens = PassGraphs.tokenCountMax(rows, options.tokenCountMax());
        var sizes = new StepBuffers.Sizes(rows, passRows, passTokens);
        long slotBytes = new SlotMemory(StateLayout.of(config, options.type())).bytes();
        return options.type().bytes() * config.parameterCount()
                + StepBuffers.bytes(multiprocessorCount, config, options.type(), sizes)
                + Pass.bytes(rows, rows)
                + Pass.bytes(passRows, passTokens)
                + (SlotSaver.PLACE_COUNT + SlotLoader.PLACE_COUNT) * slotBytes;
    }
}
