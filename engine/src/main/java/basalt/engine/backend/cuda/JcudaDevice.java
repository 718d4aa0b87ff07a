package basalt.engine.backend.cuda;

import basalt.engine.EngineException.DeviceFailure;
import basalt.engine.EngineException.InsufficientMemory;
import basalt.engine.model.ElementType;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.SymbolLookup;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.Objects;
import jcuda.Pointer;
import jcuda.driver.CUcontext;
import jcuda.driver.CUdevice;
import jcuda.driver.CUdevice_attribute;
import jcuda.driver.CUdeviceptr;
import jcuda.driver.CUevent;
import jcuda.driver.CUgraph;
import jcuda.driver.CUgraphExec;
import jcuda.driver.CUresult;
import jcuda.driver.CUstream;
import jcuda.driver.CUstreamCaptureMode;
import jcuda.driver.JCudaDriver;
import jcuda.jcublas.JCublas2;
import org.jspecify.annotations.Nullable;

/** A GPU through JCuda and cuBLAS. */
final class JcudaDevice implements Device {
    /** Device memory of the library's products, of both streams. */
    static final long WORKSPACES_BYTES = 2 * Cublas.WORKSPACE_BYTES;

    private static final int HOST_PORTABLE_MAPPED = 3; // CU_MEMHOSTALLOC_PORTABLE | CU_MEMHOSTALLOC_DEVICEMAP
    private static final int STREAM_NON_BLOCKING = 1;
    private static final int TENSOR_MAPS_AT_ONCE = 512;

    private final String name;
    private final CUcontext context = new CUcontext();
    private final CUdevice device = new CUdevice();
    private final Stream stream = new Stream();
    private final Stream uploads = new Stream();
    private final Stream downloads = new Stream();
    private final Stream branch = new Stream();
    private final KernelModule kernels;
    private final Cublas cublas;
    private final Cublas branchCublas;
    private final Arena arena = Arena.ofShared();
    private final DriverFunctions driver;
    private final DriverFunctions uploader;
    private final DriverFunctions downloader;
    private final DriverFunctions brancher;
    private final int forkEvent;
    private final int joinEvent;
    private final int multiprocessorCount;
    private final List<Memory> allocations = new ArrayList<>();
    private final List<Pointer> hostAllocations = new ArrayList<>();
    private final List<@Nullable CUgraphExec> graphs = new ArrayList<>();
    private final List<CUevent> events = new ArrayList<>();
    private DriverFunctions launcher;
    private boolean isBranchOpen; // for the stream to wait for
    private long nextTensorMap;
    private int tensorMapsLeft;

    /**
     * Opens a device.
     *
     * @param ordinal of the driver's devices
     * @param type of elements: bf16, or f32 for tests
     */
    JcudaDevice(int ordinal, ElementType type) {
        int count = count();
        if (ordinal >= count) {
            throw new DeviceFailure("there is no CUDA device " + ordinal + ", only " + count);
        }
        loadCublas();
        check("cuDeviceGet", JCudaDriver.cuDeviceGet(device, ordinal));
        byte[] nameBytes = new byte[128];
        check("cuDeviceGetName", JCudaDriver.cuDeviceGetName(nameBytes, nameBytes.length, device));
        String model = new String(nameBytes, StandardCharsets.UTF_8).trim();
        name = count == 1 ? model : model + " (device " + ordinal + ")";
        check("cuDevicePrimaryCtxRetain", JCudaDriver.cuDevicePrimaryCtxRetain(context, device));
        bind();
        multiprocessorCount = attribute(CUdevice_attribute.CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT);
        check("cuStreamCreate", JCudaDriver.cuStreamCreate(stream, STREAM_NON_BLOCKING));
        check("cuStreamCreate", JCudaDriver.cuStreamCreate(uploads, STREAM_NON_BLOCKING));
        check("cuStreamCreate", JCudaDriver.cuStreamCreate(downloads, STREAM_NON_BLOCKING));
        check("cuStreamCreate", JCudaDriver.cuStreamCreate(branch, STREAM_NON_BLOCKING));
        driver = new DriverFunctions(arena, stream.handle(), true);
        uploader = new DriverFunctions(arena, uploads.handle(), false);
        downloader = new DriverFunctions(arena, downloads.handle(), false);
        brancher = new DriverFunctions(arena, branch.handle(), true);
        launcher = driver;
        forkEvent = createEvent();
        joinEvent = createEvent();
        requireSharedMemory();
        kernels = new KernelModule(name, driver, arena, type);
        long workspaces = allocate(WORKSPACES_BYTES);
        cublas = new Cublas(name, stream, workspaces, type);
        branchCublas = new Cublas(name, branch, workspaces + Cublas.WORKSPACE_BYTES, type);
    }

    /** Devices of the driver, at least 1. */
    @SuppressWarnings("restricted")
    static int count() {
        try (var lookup = Arena.ofConfined()) {
            SymbolLookup.libraryLookup("libcuda.so.1", lookup);
        } catch (IllegalArgumentException e) {
            throw new DeviceFailure("no NVIDIA driver: libcuda.so.1 was not found", e);
        }
        try {
            JcudaLibraries.load(() -> JCudaDriver.setExceptionsEnabled(false));
        } catch (UnsatisfiedLinkError | NoClassDefFoundError | ExceptionInInitializerError e) {
            throw new DeviceFailure("JCuda cannot be loaded on this platform", e);
        }
        int[] count = new int[1];
        int status = JCudaDriver.cuInit(0);
        if (status == CUresult.CUDA_SUCCESS) {
            status = JCudaDriver.cuDeviceGetCount(count);
        }
        if (status != CUresult.CUDA_SUCCESS || count[0] == 0) {
            throw new DeviceFailure("no usable CUDA device: " + CUresult.stringFor(status));
        }
        return count[0];
    }

    private static void loadCublas() {
        CublasLibraries.load();
        try {
            JcudaLibraries.load(() -> JCublas2.setExceptionsEnabled(false));
        } catch (UnsatisfiedLinkError | NoClassDefFoundError | ExceptionInInitializerError e) {
            throw new DeviceFailure("JCublas cannot be loaded on top of this cuBLAS", e);
        }
    }

    private void requireSharedMemory() {
        int available = attribute(CUdevice_attribute.CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN);
        int needed = 0;
        for (Kernel kernel : Kernel.values()) {
            needed = Math.max(needed, kernel.sharedBytesMax());
        }
        if (available < needed) {
            throw new DeviceFailure(String.format(
                    "%s gives a block %,d bytes of shared memory, the kernels need %,d, as cards of compute capability"
                            + " 8.0, 9.0 and 10.0 have: use such a card, or --backend cpu",
                    name, available, needed));
        }
    }

    @Override
    public String name() {
        return name;
    }

    @Override
    public void bind() {
        check("cuCtxSetCurrent", JCudaDriver.cuCtxSetCurrent(context));
    }

    @Override
    public int multiprocessorCount() {
        return multiprocessorCount;
    }

    @Override
    public long cacheBytes() {
        return attribute(CUdevice_attribute.CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE);
    }

    private int attribute(int attribute) {
        int[] value = new int[1];
        check("cuDeviceGetAttribute", JCudaDriver.cuDeviceGetAttribute(value, attribute, device));
        return value[0];
    }

    @Override
    public long freeBytes() {
        long[] free = new long[1];
        check("cuMemGetInfo", JCudaDriver.cuMemGetInfo(free, new long[1]));
        return free[0];
    }

    @Override
    public long allocate(long bytes) {
        var memory = new Memory();
        int status = JCudaDriver.cuMemAlloc(memory, Math.max(bytes, 1));
        if (status == CUresult.CUDA_ERROR_OUT_OF_MEMORY) {
            throw new InsufficientMemory(String.format(
                    "%s has %,d MB free, %,d MB more are needed: ask for fewer slots or a smaller batch",
                    name, freeBytes() >> 20, bytes >> 20));
        }
        check("cuMemAlloc", status);
        allocations.add(memory);
        fill(memory.address(), 0, Math.max(bytes, 1)); // rows of padding are computed too, from whatever is there
        return memory.address();
    }

    @Override
    public MemorySegment allocateMapped(long bytes) {
        var pointer = new Pointer();
        check("cuMemHostAlloc", JCudaDriver.cuMemHostAlloc(pointer, bytes, HOST_PORTABLE_MAPPED));
        hostAllocations.add(pointer);
        ByteBuffer buffer = pointer.getByteBuffer(0, bytes);
        return MemorySegment.ofBuffer(buffer);
    }

    @Override
    public void upload(long to, MemorySegment from, long fromOffset, long bytes) {
        check("cuMemcpyHtoDAsync", driver.copyToDevice(to, from.asSlice(fromOffset, bytes), bytes));
    }

    @Override
    public void download(MemorySegment to, long from, long bytes) {
        check("cuMemcpyDtoHAsync", driver.copyToHost(to, from, bytes));
    }

    @Override
    public void copy(long to, long from, long bytes) {
        check("cuMemcpyDtoDAsync", driver.copyWithin(to, from, bytes));
    }

    @Override
    public void fill(long to, int value, long bytes) {
        check("cuMemsetD8Async", driver.fill(to, value, bytes));
    }

    @Override
    public void launch(Kernel kernel, int gridX, int gridY, int threads, int sharedBytes, KernelArguments arguments) {
        int status = launcher.launchKernel(
                kernels.function(kernel), gridX, gridY, threads, sharedBytes, arguments.pointers());
        if (status != CUresult.CUDA_SUCCESS) {
            check(kernel.symbol() + " grid (" + gridX + ", " + gridY + ") block " + threads, status);
        }
    }

    @Override
    public boolean hasWarpgroupProducts() {
        return attribute(CUdevice_attribute.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR) == 9;
    }

    @Override
    public long mapTensor(TensorMap map) {
        MemorySegment encoded = arena.allocate(DriverFunctions.TENSOR_MAP_BYTES, 64);
        check("cuTensorMapEncodeTiled", driver.encodeTensor(encoded, map));
        if (tensorMapsLeft == 0) {
            tensorMapsLeft = TENSOR_MAPS_AT_ONCE;
            nextTensorMap = allocate((long) TENSOR_MAPS_AT_ONCE * DriverFunctions.TENSOR_MAP_BYTES);
        }
        long address = nextTensorMap;
        check("cuMemcpyHtoDAsync", driver.copyToDevice(address, encoded, DriverFunctions.TENSOR_MAP_BYTES));
        synchronize();
        nextTensorMap += DriverFunctions.TENSOR_MAP_BYTES;
        tensorMapsLeft--;
        return address;
    }

    @Override
    public void launchClusters(Kernel kernel, Clusters clusters, KernelArguments arguments) {
        int status = launcher.launchClusters(kernels.function(kernel), clusters, arguments.pointers());
        if (status != CUresult.CUDA_SUCCESS) {
            check(kernel.symbol() + " " + clusters, status);
        }
    }

    @Override
    public void beginBranch() {
        record(forkEvent);
        check("cuStreamWaitEvent", JCudaDriver.cuStreamWaitEvent(branch, events.get(forkEvent), 0));
        launcher = brancher;
    }

    @Override
    public void endBranch() {
        launcher = driver;
        check("cuEventRecord", JCudaDriver.cuEventRecord(events.get(joinEvent), branch));
        isBranchOpen = true;
    }

    @Override
    public void joinBranches() {
        if (isBranchOpen) {
            hold(joinEvent);
            isBranchOpen = false;
        }
    }

    @Override
    public void multiply(Product p) {
        (launcher == brancher ? branchCublas : cublas).multiply(p);
    }

    @Override
    public void beginCapture() {
        check(
                "cuStreamBeginCapture",
                JCudaDriver.cuStreamBeginCapture(stream, CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL));
    }

    @Override
    public int endCapture() {
        var graph = new CUgraph();
        check("cuStreamEndCapture", JCudaDriver.cuStreamEndCapture(stream, graph));
        var executable = new CUgraphExec();
        int status = JCudaDriver.cuGraphInstantiate(executable, graph, 0);
        check("cuGraphDestroy", JCudaDriver.cuGraphDestroy(graph));
        requireMemory("cuGraphInstantiate", status);
        status = JCudaDriver.cuGraphUpload(executable, stream);
        if (status != CUresult.CUDA_SUCCESS) {
            JCudaDriver.cuGraphExecDestroy(executable);
        }
        requireMemory("cuGraphUpload", status);
        int free = graphs.indexOf(null);
        if (free >= 0) {
            graphs.set(free, executable);
            return free;
        }
        graphs.add(executable);
        return graphs.size() - 1;
    }

    private void requireMemory(String operation, int status) {
        if (status == CUresult.CUDA_ERROR_OUT_OF_MEMORY) {
            throw new InsufficientMemory(
                    name + " has no memory for one more graph: ask for fewer slots or a smaller batch");
        }
        check(operation, status);
    }

    @Override
    public void replay(int graph) {
        check("cuGraphLaunch", JCudaDriver.cuGraphLaunch(graphs.get(graph), stream));
    }

    @Override
    public void release(int graph) {
        check("cuGraphExecDestroy", JCudaDriver.cuGraphExecDestroy(graphs.set(graph, null)));
    }

    @Override
    public int createEvent() {
        var event = new CUevent();
        check("cuEventCreate", JCudaDriver.cuEventCreate(event, 0));
        events.add(event);
        return events.size() - 1;
    }

    @Override
    public void record(int event) {
        check("cuEventRecord", JCudaDriver.cuEventRecord(events.get(event), stream));
    }

    @Override
    public void await(int event) {
        check("cuEventSynchronize", JCudaDriver.cuEventSynchronize(events.get(event)));
    }

    @Override
    public void pin(MemorySegment memory) {
        check("cuMemHostRegister", driver.registerHost(memory));
    }

    @Override
    public void unpin(MemorySegment memory) {
        driver.unregisterHost(memory);
    }

    @Override
    public void uploadAside(long to, MemorySegment from) {
        check("cuMemcpyHtoDAsync", uploader.copyToDevice(to, from, from.byteSize()));
    }

    @Override
    public void downloadAside(MemorySegment to, long from) {
        check("cuMemcpyDtoHAsync", downloader.copyToHost(to, from, to.byteSize()));
    }

    @Override
    public void recordAside(Direction direction, int event) {
        check("cuEventRecord", JCudaDriver.cuEventRecord(events.get(event), aside(direction)));
    }

    @Override
    public void holdAside(Direction direction, int event) {
        check("cuStreamWaitEvent", JCudaDriver.cuStreamWaitEvent(aside(direction), events.get(event), 0));
    }

    private Stream aside(Direction direction) {
        return switch (direction) {
            case UP -> uploads;
            case DOWN -> downloads;
        };
    }

    @Override
    public void hold(int event) {
        check("cuStreamWaitEvent", JCudaDriver.cuStreamWaitEvent(stream, events.get(event), 0));
    }

    @Override
    public long nanosBetween(int first, int second) {
        float[] millis = new float[1];
        check("cuEventElapsedTime", JCudaDriver.cuEventElapsedTime(millis, events.get(first), events.get(second)));
        return (long) (millis[0] * 1e6);
    }

    @Override
    public void synchronize() {
        check("cuStreamSynchronize", JCudaDriver.cuStreamSynchronize(stream));
    }

    @Override
    public void close() {
        // Unchecked, as all of this: a device that failed refuses everything but to be given up.
        JCudaDriver.cuCtxSetCurrent(context);
        JCudaDriver.cuStreamSynchronize(uploads);
        JCudaDriver.cuStreamSynchronize(downloads);
        JCudaDriver.cuStreamSynchronize(branch);
        JCudaDriver.cuStreamSynchronize(stream);
        cublas.close();
        branchCublas.close();
        graphs.stream().filter(Objects::nonNull).forEach(graph -> JCudaDriver.cuGraphExecDestroy(graph));
        events.forEach(event -> JCudaDriver.cuEventDestroy(event));
        allocations.forEach(memory -> JCudaDriver.cuMemFree(memory));
        hostAllocations.forEach(memory -> JCudaDriver.cuMemFreeHost(memory));
        JCudaDriver.cuStreamDestroy(branch);
        JCudaDriver.cuStreamDestroy(uploads);
        JCudaDriver.cuStreamDestroy(downloads);
        JCudaDriver.cuStreamDestroy(stream);
        JCudaDriver.cuDevicePrimaryCtxRelease(device);
        arena.close();
    }

    private void check(String operation, int status) {
        if (status != CUresult.CUDA_SUCCESS) {
            throw new DeviceFailure(
                    (name == null ? "CUDA" : name) + ": " + operation + ": " + CUresult.stringFor(status));
        }
    }

    /** JCuda keeps handles protected. */
    private static final class Memory extends CUdeviceptr {
        long address() {
            return getNativePointer();
        }
    }

    private static final class Stream extends CUstream {
        long handle() {
            return getNativePointer();
        }
    }
}
