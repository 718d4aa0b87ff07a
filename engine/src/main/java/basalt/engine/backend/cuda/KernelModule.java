package basalt.engine.backend.cuda;

import basalt.engine.EngineException.DeviceFailure;
import basalt.engine.model.ElementType;
import java.io.IOException;
import java.io.InputStream;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.EnumMap;
import java.util.Map;
import java.util.Objects;
import jcuda.driver.CUresult;

/** The kernels of an element type, loaded into the current context. */
final class KernelModule {
    private static final int DYNAMIC_SHARED_BYTES = 8; // CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
    private static final int SHARED_CARVEOUT = 9; // CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT

    private final String deviceName;
    private final DriverFunctions driver;
    private final Map<Kernel, Long> functions = new EnumMap<>(Kernel.class); // CUfunction

    KernelModule(String deviceName, DriverFunctions driver, Arena arena, ElementType type) {
        this.deviceName = deviceName;
        this.driver = driver;
        load(arena, type);
    }

    private void load(Arena arena, ElementType type) {
        String resource = type == ElementType.BF16 ? "/META-INF/basalt/bf16.fatbin" : "/META-INF/basalt/f32.fatbin";
        try (InputStream in = KernelModule.class.getResourceAsStream(resource)) {
            if (in == null) {
                throw new DeviceFailure(
                        "this build has no CUDA kernels (" + resource + "): build where nvcc is, or take a release");
            }
            // Not by JCuda's cuModuleLoadFatBinary: it reports success and leaves the handle null.
            byte[] bytes = in.readAllBytes();
            MemorySegment image = arena.allocate(bytes.length, 64);
            MemorySegment.copy(bytes, 0, image, ValueLayout.JAVA_BYTE, 0, bytes.length);
            check("cuModuleLoadData", driver.loadModule(image));
        } catch (IOException e) {
            throw new DeviceFailure("cannot read " + resource, e);
        }
        long module = driver.handle();
        for (Kernel kernel : Kernel.values()) {
            if (kernel.isBf16Only() && type != ElementType.BF16) {
                continue;
            }
            var symbol = arena.allocateFrom(kernel.symbol());
            check("cuModuleGetFunction " + kernel.symbol(), driver.functionOf(module, symbol));
            long function = driver.handle();
            setAttribute(kernel, function, DYNAMIC_SHARED_BYTES, kernel.sharedBytesMax());
            if (kernel.isStreaming()) {
                // A block of the next kernel can only join the last of this one where there is memory for both.
                setAttribute(kernel, function, SHARED_CARVEOUT, 100);
            }
            functions.put(kernel, function);
        }
    }

    private void setAttribute(Kernel kernel, long function, int attribute, int value) {
        check("cuFuncSetAttribute " + kernel.symbol(), driver.setAttribute(function, attribute, value));
    }

    private void check(String operation, int status) {
        if (status != CUresult.CUDA_SUCCESS) {
            throw new DeviceFailure(deviceName + ": " + operation + ": " + CUresult.stringFor(status));
        }
    }

    /** CUfunction of a kernel. */
    long function(Kernel kernel) {
        return Objects.requireNonNull(functions.get(kernel));
    }
}
