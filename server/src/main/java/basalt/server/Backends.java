package basalt.server;

import basalt.engine.EngineConfig;
import basalt.engine.backend.Backend;
import basalt.engine.backend.cpu.CpuBackend;
import basalt.engine.model.Checkpoint;
import basalt.engine.model.ElementType;
import basalt.engine.state.StateLayout;
import java.util.List;

/** Chooses and opens what computes. The one place that knows which backends there are. */
final class Backends {
    private static final System.Logger LOG = System.getLogger(Backends.class.getName());
    private static final int CPU_SLOTS_DEFAULT = 32;
    /** Fraction of the free heap that states may take where their number is not given. */
    private static final double STATE_SHARE = 0.7;

    private Backends() {}

    /**
     * Opens the backends of a configuration, one for each device.
     *
     * @throws StartException if the one asked for cannot be had
     */
    static List<Backend> open(Checkpoint checkpoint, ServerConfig.Compute compute, EngineConfig engine) {
        return switch (compute.backend()) {
            case CPU -> List.of(openCpu(checkpoint, compute, engine));
            case CUDA -> throw new StartException("backend = cuda: " + cudaAbsence() + "; use --backend cpu");
            case AUTO -> {
                LOG.log(System.Logger.Level.INFO, "event=backend backend=cpu reason=\"{0}\"", cudaAbsence());
                yield List.of(openCpu(checkpoint, compute, engine));
            }
        };
    }

    private static String cudaAbsence() {
        return "this build has no CUDA backend";
    }

    private static Backend openCpu(Checkpoint checkpoint, ServerConfig.Compute compute, EngineConfig engine) {
        int threadCount = compute.threadCount() > 0
                ? compute.threadCount()
                : Runtime.getRuntime().availableProcessors();
        int slotCount = cpuSlotCount(checkpoint, compute);
        int rowCountMax = Math.min(engine.batchRowsMax(), slotCount);
        return CpuBackend.open(
                checkpoint.config(),
                checkpoint.weights(),
                slotCount,
                rowCountMax,
                engine.chunkTokensMax() + rowCountMax,
                threadCount);
    }

    private static int cpuSlotCount(Checkpoint checkpoint, ServerConfig.Compute compute) {
        long bytesPerSlot = StateLayout.of(checkpoint.config(), ElementType.F32).bytes();
        long bytesMax = compute.stateBytesMax();
        if (bytesMax > 0 && bytesMax / bytesPerSlot < Math.max(1, compute.slotCount())) {
            throw new StartException(String.format(
                    "state-bytes-max = %s holds %d states of %,d bytes: give at least %s, or fewer --slots",
                    ConfigKey.Size.text(bytesMax),
                    bytesMax / bytesPerSlot,
                    bytesPerSlot,
                    ConfigKey.Size.text(Math.ceilDiv(bytesPerSlot * Math.max(1, compute.slotCount()), 1 << 20) << 20)));
        }
        if (compute.slotCount() > 0) {
            return compute.slotCount();
        }
        long available = bytesMax > 0 ? bytesMax : freeHeap(checkpoint);
        return Math.clamp(available / bytesPerSlot, 1, CPU_SLOTS_DEFAULT);
    }

    /** Heap that is left for states once the weights are packed. */
    private static long freeHeap(Checkpoint checkpoint) {
        Runtime runtime = Runtime.getRuntime();
        long free = runtime.maxMemory() - (runtime.totalMemory() - runtime.freeMemory());
        return Math.max(0, (long) (free * STATE_SHARE) - checkpoint.weightBytes());
    }
}
