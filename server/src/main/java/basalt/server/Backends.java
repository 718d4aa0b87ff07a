package basalt.server;

import basalt.engine.EngineException;
import basalt.engine.backend.Backend;
import basalt.engine.backend.cpu.CpuBackend;
import basalt.engine.backend.cuda.CudaBackend;
import basalt.engine.backend.fake.FakeBackend;
import basalt.engine.model.Checkpoint;
import basalt.engine.model.ElementType;
import basalt.engine.model.ModelConfig;
import basalt.engine.state.StateLayout;
import com.sun.management.HotSpotDiagnosticMXBean;
import java.lang.management.ManagementFactory;
import java.util.ArrayList;
import java.util.List;

/** Chooses and opens what computes. The one place that knows which backends there are. */
final class Backends {
    private static final System.Logger LOG = System.getLogger(Backends.class.getName());
    private static final int CPU_SLOTS_DEFAULT = 32;
    private static final int FAKE_SLOTS_DEFAULT = 32;
    private static final int FAKE_STEPS_IN_FLIGHT = 2;
    /** Fraction of the free heap that states may take where their number is not given. */
    private static final double STATE_SHARE = 0.7;

    private Backends() {}

    /**
     * Opens the backends of a configuration, one for each device.
     *
     * @throws StartException if the one asked for cannot be had
     */
    static List<Backend> open(Checkpoint checkpoint, ServerConfig.Compute compute) {
        return switch (compute.backend()) {
            case CPU -> List.of(openCpu(checkpoint, compute));
            case CUDA -> {
                try {
                    yield openCuda(checkpoint, compute);
                } catch (EngineException.DeviceFailure e) {
                    throw new StartException("backend = cuda: " + reason(e) + "; or use --backend cpu", e);
                }
            }
            case FAKE -> {
                LOG.log(
                        System.Logger.Level.WARNING,
                        "event=backend backend=fake message=\"EVERY ANSWER IS RANDOM TEXT: for measurements only\"");
                yield List.of(openFake(checkpoint, compute));
            }
            case AUTO -> {
                try {
                    yield openCuda(checkpoint, compute);
                } catch (EngineException.DeviceFailure e) {
                    LOG.log(System.Logger.Level.INFO, "event=backend backend=cpu reason=\"{0}\"", reason(e));
                    yield List.of(openCpu(checkpoint, compute));
                }
            }
        };
    }

    /**
     * Whether the virtual machine compiles the kernels while they run, so that the first steps are slow. A GPU's are
     * not, and it belongs to the engine's thread.
     */
    static boolean areCompiled(List<Backend> backends) {
        return backends.getFirst() instanceof CpuBackend;
    }

    /** The first line: what a missing library says goes on for many. */
    private static String reason(EngineException.DeviceFailure failure) {
        String message = String.valueOf(failure.getMessage()).replace('"', '\'');
        return message.lines().findFirst().orElse("no device");
    }

    private static List<Backend> openCuda(Checkpoint checkpoint, ServerConfig.Compute compute) {
        var backends = new ArrayList<Backend>();
        boolean areOpen = false;
        try {
            int slotCount = compute.slotCount();
            if (compute.stateBytesMax() > 0) {
                slotCount =
                        slotCount(checkpoint, compute, ElementType.BF16, compute.stateBytesMax(), Integer.MAX_VALUE);
            }
            Steps steps = compute.steps().or(Steps.CUDA);
            int rowCountMax = slotCount > 0 ? Math.min(steps.rowsMax(), slotCount) : steps.rowsMax();
            var options = new CudaBackend.Options(
                    slotCount,
                    rowCountMax,
                    steps.chunkTokensMax() + rowCountMax,
                    compute.cuda().isDeterministic(),
                    ElementType.BF16,
                    compute.cuda().hostBytesMax() / compute.cuda().deviceCount());
            for (int ordinal = 0; ordinal < compute.cuda().deviceCount(); ordinal++) {
                backends.add(CudaBackend.open(checkpoint.config(), checkpoint.weights(), options, ordinal));
            }
            areOpen = true;
            return backends;
        } finally {
            if (!areOpen) {
                backends.forEach(Backend::close);
            }
        }
    }

    /**
     * About how many slots a GPU holds beside the weights in bf16, with the default size of steps.
     *
     * @param memoryBytes of the whole card
     */
    static long gpuSlots(ModelConfig config, long memoryBytes) {
        int rowCountMax = Steps.CUDA.rowsMax();
        int tokenCountMax = Steps.CUDA.chunkTokensMax() + rowCountMax;
        var options = new CudaBackend.Options(0, rowCountMax, tokenCountMax, false, ElementType.BF16);
        return CudaBackend.slotsWithin(memoryBytes, config, options);
    }

    /** Device memory of one slot. */
    static long gpuBytesPerSlot(ModelConfig config) {
        return CudaBackend.bytesPerSlot(config);
    }

    private static Backend openCpu(Checkpoint checkpoint, ServerConfig.Compute compute) {
        warnIfVectorsAreOff();
        int threadCount = compute.threadCount() > 0
                ? compute.threadCount()
                : Runtime.getRuntime().availableProcessors();
        int slotCount = cpuSlotCount(checkpoint, compute);
        Steps steps = compute.steps().or(Steps.CPU);
        int rowCountMax = Math.min(steps.rowsMax(), slotCount);
        return CpuBackend.open(
                checkpoint.config(),
                checkpoint.weights(),
                slotCount,
                rowCountMax,
                steps.chunkTokensMax() + rowCountMax,
                threadCount);
    }

    /** The virtual machine turns them on with their module, unless that comes from a start-up cache. */
    private static void warnIfVectorsAreOff() {
        var machine = ManagementFactory.getPlatformMXBean(HotSpotDiagnosticMXBean.class);
        try {
            if (machine != null
                    && machine.getVMOption("EnableVectorSupport").getValue().equals("false")) {
                LOG.log(
                        System.Logger.Level.WARNING,
                        "event=vectors_off message=\"EVERYTHING TAKES A HUNDRED TIMES AS LONG:"
                                + " start with -XX:+UnlockExperimentalVMOptions -XX:+EnableVectorSupport\"");
            }
        } catch (IllegalArgumentException e) {
            LOG.log(System.Logger.Level.DEBUG, "event=vectors_unknown reason=\"{0}\"", e.getMessage());
        }
    }

    private static Backend openFake(Checkpoint checkpoint, ServerConfig.Compute compute) {
        int slotCount = compute.slotCount() > 0 ? compute.slotCount() : FAKE_SLOTS_DEFAULT;
        Steps steps = compute.steps().or(Steps.CPU);
        int rowCountMax = Math.min(steps.rowsMax(), slotCount);
        return new FakeBackend(new FakeBackend.Options(
                checkpoint.config().vocabSize(),
                slotCount,
                rowCountMax,
                steps.chunkTokensMax() + rowCountMax,
                FAKE_STEPS_IN_FLIGHT,
                compute.fakeStepTime().toNanos(),
                0));
    }

    private static int cpuSlotCount(Checkpoint checkpoint, ServerConfig.Compute compute) {
        long bytes = compute.stateBytesMax() > 0 ? compute.stateBytesMax() : freeHeap(checkpoint);
        return slotCount(checkpoint, compute, ElementType.F32, bytes, CPU_SLOTS_DEFAULT);
    }

    /** As many slots as asked for, else as many as fit, at most {@code defaultMax}. */
    private static int slotCount(
            Checkpoint checkpoint, ServerConfig.Compute compute, ElementType ringType, long bytes, int defaultMax) {
        long bytesPerSlot = StateLayout.of(checkpoint.config(), ringType).bytes();
        int wanted = Math.max(1, compute.slotCount());
        if (compute.stateBytesMax() > 0 && bytes / bytesPerSlot < wanted) {
            throw new StartException(String.format(
                    "state-bytes-max = %s holds %d states of %,d bytes: give at least %s, or fewer --slots",
                    ConfigKey.Size.text(bytes),
                    bytes / bytesPerSlot,
                    bytesPerSlot,
                    ConfigKey.Size.text(Math.ceilDiv(bytesPerSlot * wanted, 1 << 20) << 20)));
        }
        return compute.slotCount() > 0 ? compute.slotCount() : Math.clamp(bytes / bytesPerSlot, 1, defaultMax);
    }

    /** Heap that is left for states once the weights are packed. */
    private static long freeHeap(Checkpoint checkpoint) {
        Runtime runtime = Runtime.getRuntime();
        long free = runtime.maxMemory() - (runtime.totalMemory() - runtime.freeMemory());
        return Math.max(0, (long) (free * STATE_SHARE) - checkpoint.weightBytes());
    }
}
