package basalt.engine.backend.cuda;

import basalt.engine.EngineException.DeviceFailure;
import java.lang.foreign.Arena;
import java.lang.foreign.FunctionDescriptor;
import java.lang.foreign.Linker;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.SymbolLookup;
import java.lang.foreign.ValueLayout;
import java.lang.invoke.MethodHandle;

/**
 * Functions of the driver that JCuda lacks, or calls at a cost per argument. Launches carry the attribute that lets a
 * kernel start before its predecessor in the stream has ended. Confined to the engine thread, but for copies and what
 * concerns host memory.
 */
@SuppressWarnings("restricted")
final class DriverFunctions {
    private static final int CONFIG_BYTES = 56; // CUlaunchConfig
    private static final int ATTRIBUTE_BYTES = 72; // CUlaunchAttribute
    private static final int CLUSTER_DIMENSION = 4;
    private static final int PROGRAMMATIC_STREAM_SERIALIZATION = 6;
    private static final int BFLOAT16 = 9; // CU_TENSOR_MAP_DATA_TYPE_BFLOAT16
    private static final int SWIZZLE_64B = 2; // CU_TENSOR_MAP_SWIZZLE_64B
    private static final int SWIZZLE_128B = 3; // CU_TENSOR_MAP_SWIZZLE_128B
    private static final int SWIZZLE_64B_ELEMENTS = 32; // bf16 of a box's row
    private static final int L2_PROMOTION_256B = 3; // CU_TENSOR_MAP_L2_PROMOTION_L2_256B
    private static final int DIMENSIONS_MAX = 5;
    private static final int REGISTER_PORTABLE = 1; // CU_MEMHOSTREGISTER_PORTABLE: for the contexts of all devices
    /** Of a CUtensorMap. */
    static final int TENSOR_MAP_BYTES = 128;

    private final MethodHandle launchKernel;
    private final MethodHandle copyToDevice;
    private final MethodHandle copyToHost;
    private final MethodHandle copyWithin;
    private final MethodHandle fill;
    private final MethodHandle loadModule;
    private final MethodHandle functionOfModule;
    private final MethodHandle setAttribute;
    private final MethodHandle encodeTensor;
    private final MethodHandle registerHost;
    private final MethodHandle unregisterHost;
    private final MemorySegment stream;
    private final MemorySegment handle; // where the driver writes one
    private final MemorySegment config;
    private final MemorySegment clusterAttribute;

    /**
     * Looks the functions up.
     *
     * @param streamHandle CUstream that everything goes to
     * @param isOverlapping whether kernels may start before their predecessor has ended
     */
    DriverFunctions(Arena arena, long streamHandle, boolean isOverlapping) {
        var library = SymbolLookup.libraryLookup("libcuda.so.1", arena);
        var linker = Linker.nativeLinker();
        var address = ValueLayout.ADDRESS;
        var word = ValueLayout.JAVA_LONG;
        var status = ValueLayout.JAVA_INT;
        launchKernel = link(
                linker, library, "cuLaunchKernelEx", FunctionDescriptor.of(status, address, word, address, address));
        copyToDevice = link(
                linker, library, "cuMemcpyHtoDAsync_v2", FunctionDescriptor.of(status, word, address, word, address));
        copyToHost = link(
                linker, library, "cuMemcpyDtoHAsync_v2", FunctionDescriptor.of(status, address, word, word, address));
        copyWithin =
                link(linker, library, "cuMemcpyDtoDAsync_v2", FunctionDescriptor.of(status, word, word, word, address));
        fill = link(
                linker,
                library,
                "cuMemsetD8Async",
                FunctionDescriptor.of(status, word, ValueLayout.JAVA_BYTE, word, address));
        loadModule = link(linker, library, "cuModuleLoadData", FunctionDescriptor.of(status, address, address));
        functionOfModule =
                link(linker, library, "cuModuleGetFunction", FunctionDescriptor.of(status, address, word, address));
        setAttribute = link(linker, library, "cuFuncSetAttribute", FunctionDescriptor.of(status, word, status, status));
        encodeTensor = link(
                linker,
                library,
                "cuTensorMapEncodeTiled",
                FunctionDescriptor.of(
                        status, address, status, status, word, address, address, address, address, status, status,
                        status, status));
        registerHost =
                link(linker, library, "cuMemHostRegister_v2", FunctionDescriptor.of(status, address, word, status));
        unregisterHost = link(linker, library, "cuMemHostUnregister", FunctionDescriptor.of(status, address));
        handle = arena.allocate(ValueLayout.JAVA_LONG);
        stream = MemorySegment.ofAddress(streamHandle);
        config = arena.allocate(CONFIG_BYTES, Long.BYTES);
        MemorySegment attributes = arena.allocate(2L * ATTRIBUTE_BYTES, Long.BYTES);
        attributes.set(ValueLayout.JAVA_INT, 0, PROGRAMMATIC_STREAM_SERIALIZATION);
        attributes.set(ValueLayout.JAVA_INT, 8, isOverlapping ? 1 : 0);
        clusterAttribute = attributes.asSlice(ATTRIBUTE_BYTES);
        clusterAttribute.set(ValueLayout.JAVA_INT, 0, CLUSTER_DIMENSION);
        clusterAttribute.set(ValueLayout.JAVA_INT, 12, 1);
        clusterAttribute.set(ValueLayout.JAVA_INT, 16, 1);
        for (int dimension = 0; dimension < 6; dimension++) {
            config.set(ValueLayout.JAVA_INT, dimension * 4L, 1); // grid x, y, z, block x, y, z
        }
        config.set(ValueLayout.JAVA_LONG, 32, streamHandle);
        config.set(ValueLayout.ADDRESS, 40, attributes);
    }

    private static MethodHandle link(Linker linker, SymbolLookup library, String name, FunctionDescriptor type) {
        return linker.downcallHandle(
                library.find(name)
                        .orElseThrow(() -> new DeviceFailure("the driver has no " + name + ": update it to CUDA 12")),
                type);
    }

    /** Loads a fatbin, which must stay where it is; {@link #handle} is then the module. */
    int loadModule(MemorySegment image) {
        try {
            return (int) loadModule.invokeExact(handle, image);
        } catch (Throwable e) {
            throw new AssertionError(e);
        }
    }

    /** Looks a kernel up; {@link #handle} is then the function. */
    int functionOf(long module, MemorySegment name) {
        try {
            return (int) functionOfModule.invokeExact(handle, module, name);
        } catch (Throwable e) {
            throw new AssertionError(e);
        }
    }

    /** What the last lookup found. */
    long handle() {
        return handle.get(ValueLayout.JAVA_LONG, 0);
    }

    int setAttribute(long function, int attribute, int value) {
        try {
            return (int) setAttribute.invokeExact(function, attribute, value);
        } catch (Throwable e) {
            throw new AssertionError(e);
        }
    }

    int launchKernel(long function, int gridX, int gridY, int threads, int sharedBytes, MemorySegment arguments) {
        config.set(ValueLayout.JAVA_INT, 48, 1);
        return launch(function, gridX, gridY, threads, sharedBytes, arguments);
    }

    int launchClusters(long function, Device.Clusters clusters, MemorySegment arguments) {
        clusterAttribute.set(ValueLayout.JAVA_INT, 8, clusters.cluster());
        config.set(ValueLayout.JAVA_INT, 48, 2);
        return launch(
                function, clusters.gridX(), clusters.gridY(), clusters.threads(), clusters.sharedBytes(), arguments);
    }

    private int launch(long function, int gridX, int gridY, int threads, int sharedBytes, MemorySegment arguments) {
        config.set(ValueLayout.JAVA_INT, 0, gridX);
        config.set(ValueLayout.JAVA_INT, 4, gridY);
        config.set(ValueLayout.JAVA_INT, 12, threads);
        config.set(ValueLayout.JAVA_INT, 24, sharedBytes);
        try {
            return (int) launchKernel.invokeExact(config, function, arguments, MemorySegment.NULL);
        } catch (Throwable e) {
            throw new AssertionError(e);
        }
    }

    /**
     * Encodes a tensor map.
     *
     * @param out CUtensorMap, aligned to 64 bytes
     */
    int encodeTensor(MemorySegment out, Device.TensorMap map) {
        int rank = map.sizes().length;
        try (var scratch = Arena.ofConfined()) {
            MemorySegment steps = scratch.allocate(ValueLayout.JAVA_INT, DIMENSIONS_MAX);
            for (int i = 0; i < rank; i++) {
                steps.setAtIndex(ValueLayout.JAVA_INT, i, 1);
            }
            return (int) encodeTensor.invokeExact(
                    out,
                    BFLOAT16,
                    rank,
                    map.address(),
                    scratch.allocateFrom(ValueLayout.JAVA_LONG, map.sizes()),
                    scratch.allocateFrom(ValueLayout.JAVA_LONG, map.strides()),
                    scratch.allocateFrom(ValueLayout.JAVA_INT, map.box()),
                    steps,
                    0, // not interleaved
                    map.box()[0] == SWIZZLE_64B_ELEMENTS ? SWIZZLE_64B : SWIZZLE_128B,
                    L2_PROMOTION_256B,
                    0); // zeros outside
        } catch (Throwable e) {
            throw new AssertionError(e);
        }
    }

    int registerHost(MemorySegment memory) {
        try {
            return (int) registerHost.invokeExact(memory, memory.byteSize(), REGISTER_PORTABLE);
        } catch (Throwable e) {
            throw new AssertionError(e);
        }
    }

    int unregisterHost(MemorySegment memory) {
        try {
            return (int) unregisterHost.invokeExact(memory);
        } catch (Throwable e) {
            throw new AssertionError(e);
        }
    }

    int copyToDevice(long to, MemorySegment from, long bytes) {
        try {
            return (int) copyToDevice.invokeExact(to, from, bytes, stream);
        } catch (Throwable e) {
            throw new AssertionError(e);
        }
    }

    int copyToHost(MemorySegment to, long from, long bytes) {
        try {
            return (int) copyToHost.invokeExact(to, from, bytes, stream);
        } catch (Throwable e) {
            throw new AssertionError(e);
        }
    }

    int copyWithin(long to, long from, long bytes) {
        try {
            return (int) copyWithin.invokeExact(to, from, bytes, stream);
        } catch (Throwable e) {
            throw new AssertionError(e);
        }
    }

    int fill(long to, int value, long bytes) {
        try {
            return (int) fill.invokeExact(to, (byte) value, bytes, stream);
        } catch (Throwable e) {
            throw new AssertionError(e);
        }
    }
}
