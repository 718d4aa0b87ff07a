package basalt.engine.backend.cuda;

import basalt.engine.EngineException;
import basalt.engine.model.ElementType;
import java.lang.foreign.Arena;
import java.lang.foreign.FunctionDescriptor;
import java.lang.foreign.Linker;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.SymbolLookup;
import java.lang.foreign.ValueLayout;
import java.lang.invoke.MethodHandle;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.EnumMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Optional;
import java.util.concurrent.locks.ReentrantLock;
import org.jspecify.annotations.Nullable;

/**
 * The kernels as the native module compiled them for the CPU, one launch after another. Device memory is host memory,
 * filled with NaN where nothing wrote it.
 *
 * <p>Nothing is done when it is called for, but when its {@link EmulatedStreams} come to it, in an order that events
 * alone bind. So what waits for too little reads or overwrites something else, as it may on a GPU one day.
 */
@SuppressWarnings("restricted")
final class EmulatedDevice implements Device {
    private static final List<Runnable> RELEASED = List.of();
    /** What blocks share are static variables there, so one kernel runs at a time, whatever the device. */
    private static final ReentrantLock KERNELS = new ReentrantLock();

    private final Arena arena = Arena.ofShared();
    private final ElementType type;
    private final MethodHandle launch;
    private final Map<Kernel, MemorySegment> symbols = new EnumMap<>(Kernel.class);
    private final List<List<Runnable>> graphs = new ArrayList<>();
    private final EmulatedStreams streams;
    private @Nullable List<Runnable> recording; // calls of streams
    private boolean isInBranch;
    private boolean isBranchOpen; // for someone to join
    private boolean canPin = true;
    private int graphCountMax = Integer.MAX_VALUE;
    private int replayCount;

    /** The library that an emulated device of a type needs, if the build made it. */
    static Optional<Path> library(ElementType type) {
        String folder = System.getProperty("basalt.native.folder", "../native/target/native");
        Path path = Path.of(folder, "emulation-" + (type == ElementType.BF16 ? "bf16" : "f32") + ".so");
        return Files.exists(path) ? Optional.of(path.toAbsolutePath()) : Optional.empty();
    }

    /** In the order that waits longest for everything. */
    EmulatedDevice(ElementType type) {
        this(type, new EmulatedStreams(EmulatedStreams.Order.LATE));
    }

    EmulatedDevice(ElementType type, EmulatedStreams streams) {
        this.type = type;
        this.streams = streams;
        var lookup = SymbolLookup.libraryLookup(library(type).orElseThrow(), arena);
        launch = Linker.nativeLinker()
                .downcallHandle(
                        lookup.find("emulation_launch").orElseThrow(),
                        FunctionDescriptor.of(
                                ValueLayout.JAVA_INT,
                                ValueLayout.ADDRESS,
                                ValueLayout.JAVA_INT,
                                ValueLayout.JAVA_INT,
                                ValueLayout.JAVA_INT,
                                ValueLayout.JAVA_INT,
                                ValueLayout.JAVA_INT,
                                ValueLayout.ADDRESS));
        for (Kernel kernel : Kernel.values()) {
            symbols.put(kernel, arena.allocateFrom(kernel.symbol()));
        }
    }

    /** The same with memory for so many graphs. */
    EmulatedDevice withGraphs(int count) {
        graphCountMax = count;
        return this;
    }

    /** The same with a host whose memory cannot be pinned. */
    EmulatedDevice withoutPinning() {
        canPin = false;
        return this;
    }

    @Override
    public String name() {
        return "emulated";
    }

    @Override
    public void bind() {}

    @Override
    public int multiprocessorCount() {
        return 5;
    }

    @Override
    public long cacheBytes() {
        return 0;
    }

    @Override
    public long freeBytes() {
        return 2L << 30;
    }

    @Override
    public long allocate(long bytes) {
        return arena.allocate(Math.max(bytes, 1), 256).fill((byte) 0xff).address();
    }

    @Override
    public MemorySegment allocateMapped(long bytes) {
        return arena.allocate(bytes, 256);
    }

    private static MemorySegment at(long address, long bytes) {
        return MemorySegment.ofAddress(address).reinterpret(bytes);
    }

    @Override
    public void upload(long to, MemorySegment from, long fromOffset, long bytes) {
        add(() -> at(to, bytes).copyFrom(from.asSlice(fromOffset, bytes)));
    }

    private void add(Runnable work) {
        if (isInBranch) {
            throw new IllegalStateException("a branch takes launches and products alone");
        }
        issue(() -> streams.addStep(work, false));
    }

    private void issue(Runnable call) {
        if (recording == null) {
            call.run();
        } else {
            recording.add(call);
        }
    }

    @Override
    public void beginBranch() {
        isInBranch = true;
        isBranchOpen = true;
        issue(streams::beginBranch);
    }

    @Override
    public void endBranch() {
        isInBranch = false;
    }

    @Override
    public void joinBranches() {
        isBranchOpen = false;
        issue(streams::joinBranches);
    }

    @Override
    public void download(MemorySegment to, long from, long bytes) {
        add(() -> to.asSlice(0, bytes).copyFrom(at(from, bytes)));
    }

    @Override
    public void copy(long to, long from, long bytes) {
        add(() -> at(to, bytes).copyFrom(at(from, bytes)));
    }

    @Override
    public void fill(long to, int value, long bytes) {
        add(() -> at(to, bytes).fill((byte) value));
    }

    @Override
    public void launch(Kernel kernel, int gridX, int gridY, int threads, int sharedBytes, KernelArguments arguments) {
        var copy = new KernelArguments();
        for (int i = 0; i < arguments.count(); i++) {
            copy.add(arguments.values().getAtIndex(ValueLayout.JAVA_LONG, i));
        }
        boolean isLaunchInBranch = isInBranch;
        issue(() -> streams.addStep(() -> run(kernel, gridX, gridY, threads, sharedBytes, copy), isLaunchInBranch));
    }

    @Override
    public boolean hasWarpgroupProducts() {
        return false;
    }

    @Override
    public long mapTensor(TensorMap map) {
        throw new UnsupportedOperationException("not emulated");
    }

    @Override
    public void launchClusters(Kernel kernel, Clusters clusters, KernelArguments arguments) {
        throw new UnsupportedOperationException("not emulated");
    }

    private void run(Kernel kernel, int gridX, int gridY, int threads, int sharedBytes, KernelArguments arguments) {
        KERNELS.lock();
        try {
            int status = (int) launch.invokeExact(
                    symbols.get(kernel), gridX, gridY, 1, threads, sharedBytes, arguments.pointers());
            if (status != 0) {
                throw new IllegalStateException("no kernel " + kernel.symbol());
            }
        } catch (RuntimeException e) {
            throw e;
        } catch (Throwable e) {
            throw new AssertionError(e);
        } finally {
            KERNELS.unlock();
        }
    }

    @Override
    public void multiply(Product product) {
        boolean isInBranchNow = isInBranch;
        issue(() -> streams.addStep(() -> run(product), isInBranchNow));
    }

    private void run(Product p) {
        int size = type.bytes();
        var x = at(p.x(), (long) p.m() * p.k() * size);
        var weight = at(p.weight(), (long) p.n() * p.k() * size);
        var y = at(p.y(), (long) p.m() * p.n() * (p.isF32Out() ? 4 : size));
        for (int m = 0; m < p.m(); m++) {
            for (int n = 0; n < p.n(); n++) {
                float sum = 0;
                for (int k = 0; k < p.k(); k++) {
                    sum += get(x, type, (long) m * p.k() + k) * get(weight, type, (long) n * p.k() + k);
                }
                long index = (long) m * p.n() + n;
                if (p.isAdding()) {
                    sum += get(y, p.isF32Out() ? ElementType.F32 : type, index);
                }
                if (p.isF32Out() || type == ElementType.F32) {
                    y.setAtIndex(ValueLayout.JAVA_FLOAT, index, sum);
                } else {
                    y.setAtIndex(ValueLayout.JAVA_SHORT, index, SlotMemory.bf16(sum));
                }
            }
        }
    }

    private static float get(MemorySegment data, ElementType type, long index) {
        return type == ElementType.F32
                ? data.getAtIndex(ValueLayout.JAVA_FLOAT, index)
                : Float.intBitsToFloat(data.getAtIndex(ValueLayout.JAVA_SHORT, index) << 16);
    }

    @Override
    public void beginCapture() {
        recording = new ArrayList<>();
    }

    @Override
    public int endCapture() {
        if (isBranchOpen) {
            throw new IllegalStateException("nobody has joined the branch");
        }
        var calls = List.copyOf(Objects.requireNonNull(recording));
        recording = null;
        int free = graphs.indexOf(RELEASED);
        if (free >= 0) {
            graphs.set(free, calls);
            return free;
        }
        if (graphs.size() == graphCountMax) {
            throw new EngineException.InsufficientMemory("emulated: no memory for one more graph");
        }
        graphs.add(calls);
        return graphs.size() - 1;
    }

    @Override
    public void replay(int graph) {
        replayCount++;
        graphs.get(graph).forEach(Runnable::run);
    }

    /** Graphs that were recorded. */
    int graphCount() {
        return graphs.size();
    }

    /** Graphs that were started. */
    int replayCount() {
        return replayCount;
    }

    @Override
    public void release(int graph) {
        graphs.set(graph, RELEASED);
    }

    @Override
    public int createEvent() {
        return streams.createEvent();
    }

    @Override
    public void record(int event) {
        streams.record(event);
    }

    @Override
    public void await(int event) {
        streams.await(event);
    }

    @Override
    public void pin(MemorySegment memory) {
        if (!canPin) {
            throw new EngineException.DeviceFailure("emulated: no memory can be pinned");
        }
        streams.pin(memory);
    }

    @Override
    public void unpin(MemorySegment memory) {
        streams.unpin(memory);
    }

    @Override
    public void uploadAside(long to, MemorySegment from) {
        streams.addAside(Direction.UP, from, () -> at(to, from.byteSize()).copyFrom(from));
    }

    @Override
    public void downloadAside(MemorySegment to, long from) {
        streams.addAside(Direction.DOWN, to, () -> to.copyFrom(at(from, to.byteSize())));
    }

    @Override
    public void recordAside(Direction direction, int event) {
        streams.recordAside(direction, event);
    }

    @Override
    public void holdAside(Direction direction, int event) {
        streams.holdAside(direction, event);
    }

    @Override
    public void hold(int event) {
        streams.hold(event);
    }

    @Override
    public long nanosBetween(int first, int second) {
        return 0;
    }

    @Override
    public void synchronize() {
        streams.synchronize();
    }

    @Override
    public void close() {
        streams.finish();
        arena.close();
    }
}
