package basalt.engine.backend.cuda;

import basalt.engine.Checks;
import basalt.engine.model.Mixer;
import basalt.engine.model.ModelConfig;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.HashMap;
import java.util.Map;

/**
 * Launches of the layers kernels: everything between the embedding and the sampling of a decode step of few rows in one
 * launch. What it does is a list of operations on the device, written once for each number of rows in the form of the
 * launches that it replaces. Confined to the engine thread.
 */
final class LayersKernel {
    /** Most rows of a step. */
    static final int ROWS_MAX = 32;

    /** Shared memory of a block on the devices with bulk copies. */
    static final int SHARED_BYTES_MAX = 227 << 10;

    private static final int OPERATION_WORDS = 48; // as layers.cu has them
    private static final int ARGUMENTS_AT = 3;
    private static final int OPERATIONS_MAX = 4096;
    private static final int THREADS = 384;
    private static final int HEADER_BYTES = 2048; // LayersHeader
    private static final int TEAM_BYTES = 37_120; // of TaylorShared<112>, and of a projection's parts
    private static final int SCORES_AT_MAX = 10_000; // sizeof(WindowShared<E>) at most
    private static final int UNITS_MAX = 16;
    private static final int PART_MAX = 1792; // k of a unit of weights
    private static final int ROUND = 256;
    private static final int TILE_ROWS = 8;
    private static final int DEPTH_ARGUMENT = 7;

    private final Device device;
    private final StepBuffers buffers;
    private final KernelArguments arguments = new KernelArguments();
    private final Map<Integer, Operations> byRows = new HashMap<>();
    private final long done; // u32 [blocks]

    /** What a step of some number of rows does. */
    private record Operations(long address, int count, int unitBytes) {}

    LayersKernel(Device device, StepBuffers buffers) {
        this.device = device;
        this.buffers = buffers;
        done = device.allocate(4L * device.multiprocessorCount());
        device.fill(done, 0, 4L * device.multiprocessorCount());
    }

    /** Whether the layers kernels have the mixers of a model. */
    static boolean canMix(ModelConfig config) {
        return config.mixers().stream().allMatch(mixer -> switch (mixer) {
            case Mixer.Convolution m -> true;
            case Mixer.TaylorAttention m -> m.featureDim() == 16 && hasWidth(m.headWidth());
            case Mixer.WindowAttention m ->
                hasWidth(m.headWidth()) && SCORES_AT_MAX + 4 * (m.reach() + 1) <= TEAM_BYTES;
        });
    }

    private static boolean hasWidth(int headWidth) {
        return headWidth == 32 || headWidth == 64 || headWidth == 112;
    }

    /** Writes the operations of a step. */
    interface Writer {
        /** Starts every operation in turn, on {@code launches}. */
        void write(Launches launches);
    }

    /** Starts a step of so many rows; the first time, has its operations written. */
    void launch(int rows, Writer writer) {
        Operations operations = byRows.computeIfAbsent(rows, ignored -> operations(writer));
        int tokens = rows <= 8 ? 8 : rows <= 16 ? 16 : 32;
        int teams = tokens == 8 ? 1 : 2;
        int free = SHARED_BYTES_MAX - HEADER_BYTES - teams * TEAM_BYTES;
        int units = Math.min(UNITS_MAX, free / operations.unitBytes());
        arguments
                .clear()
                .add(operations.address())
                .add(operations.count())
                .add(buffers.activeSlots())
                .add(buffers.rowPositions())
                .add(done)
                .add(units)
                .add(operations.unitBytes())
                .add(TEAM_BYTES);
        Kernel kernel =
                switch (tokens) {
                    case 8 -> Kernel.LAYERS_8;
                    case 16 -> Kernel.LAYERS_16;
                    default -> Kernel.LAYERS_32;
                };
        int sharedBytes = HEADER_BYTES + teams * TEAM_BYTES + units * operations.unitBytes();
        device.launch(kernel, device.multiprocessorCount(), 1, THREADS, sharedBytes, arguments);
    }

    private Operations operations(Writer writer) {
        var list = new OperationList(device.allocateMapped(8L * OPERATION_WORDS * OPERATIONS_MAX));
        writer.write(list);
        long bytes = 8L * OPERATION_WORDS * list.count;
        long address = device.allocate(bytes);
        device.upload(address, list.words, 0, bytes);
        return new Operations(address, list.count, list.unitBytes);
    }

    /** Notes launches as operations. */
    private static final class OperationList implements Launches {
        private final MemorySegment words; // i64 [OPERATIONS_MAX, OPERATION_WORDS]
        private int count;
        private int unitBytes;

        OperationList(MemorySegment words) {
            this.words = words;
        }

        @Override
        public void launch(
                Kernel kernel, int gridX, int gridY, int threads, int sharedBytes, KernelArguments arguments) {
            Checks.argument(count < OPERATIONS_MAX, "count", count);
            long at = (long) count++ * OPERATION_WORDS;
            words.setAtIndex(ValueLayout.JAVA_LONG, at, kind(kernel));
            words.setAtIndex(ValueLayout.JAVA_LONG, at + 1, gridX);
            words.setAtIndex(ValueLayout.JAVA_LONG, at + 2, gridY);
            for (int i = 0; i < arguments.count(); i++) {
                long word = arguments.values().getAtIndex(ValueLayout.JAVA_LONG, i);
                words.setAtIndex(ValueLayout.JAVA_LONG, at + ARGUMENTS_AT + i, word);
            }
            if (kind(kernel) == 0) {
                unitBytes = Math.max(unitBytes, unitBytes((int)
                        arguments.values().getAtIndex(ValueLayout.JAVA_LONG, DEPTH_ARGUMENT)));
            }
        }

        /** Sixteen times the width of a head, and what it is. */
        private static int kind(Kernel kernel) {
            return switch (kernel) {
                case PROJECT_8, PROJECT_16, PROJECT_32 -> 0;
                case TAYLOR_STEP_32 -> 16 * 32 + 1;
                case TAYLOR_STEP_64 -> 16 * 64 + 1;
                case TAYLOR_STEP_112 -> 16 * 112 + 1;
                case WINDOW_STEP_32 -> 16 * 32 + 2;
                case WINDOW_STEP_64 -> 16 * 64 + 2;
                case WINDOW_STEP_112 -> 16 * 112 + 2;
                default -> throw new IllegalArgumentException("kernel = " + kernel);
            };
        }

        /** Of one tile's rows over one part of the depth, each 64 bytes longer than it need be. */
        private static int unitBytes(int depth) {
            int parts = Math.ceilDiv(depth, PART_MAX);
            int part = Math.ceilDiv(depth, parts * ROUND) * ROUND;
            return TILE_ROWS * (2 * part + 64);
        }
    }
}
