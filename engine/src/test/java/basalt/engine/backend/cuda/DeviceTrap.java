package basalt.engine.backend.cuda;

import basalt.engine.EngineException.DeviceFailure;
import basalt.engine.model.ElementType;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.nio.charset.StandardCharsets;
import jcuda.driver.CUcontext;
import jcuda.driver.CUdevice;
import jcuda.driver.CUresult;
import jcuda.driver.JCudaDriver;

/** Makes a GPU fail as a fault in a kernel does: whatever this process asks of it from then on fails too. */
final class DeviceTrap {
    private static final String PTX = """
            .version 7.0
            .target sm_80
            .address_size 64
            .visible .entry fault() {
                trap;
                ret;
            }
            """;
    private static final long NOWHERE = 64; // an address that no device has

    private DeviceTrap() {}

    /**
     * Springs the trap; returns what the driver says then.
     *
     * @throws DeviceFailure if the device goes on, or was none
     */
    static String spring(int ordinal) {
        var device = new CUdevice();
        var context = new CUcontext();
        check("cuDeviceGet", JCudaDriver.cuDeviceGet(device, ordinal));
        check("cuDevicePrimaryCtxRetain", JCudaDriver.cuDevicePrimaryCtxRetain(context, device));
        try (var arena = Arena.ofConfined()) {
            check("cuCtxSetCurrent", JCudaDriver.cuCtxSetCurrent(context));
            var driver = new DriverFunctions(arena, 0, false);
            int loaded = driver.loadModule(arena.allocateFrom(PTX, StandardCharsets.US_ASCII));
            String name = loaded == CUresult.CUDA_SUCCESS ? launchTrap(driver, arena) : launchBadRead(driver, arena);
            int status = JCudaDriver.cuCtxSynchronize();
            if (status == CUresult.CUDA_SUCCESS) {
                throw new DeviceFailure("device " + ordinal + " goes on after " + name);
            }
            return name + ": " + CUresult.stringFor(status);
        } finally {
            JCudaDriver.cuDevicePrimaryCtxRelease(device);
        }
    }

    private static String launchTrap(DriverFunctions driver, Arena arena) {
        check("cuModuleGetFunction", driver.functionOf(driver.handle(), arena.allocateFrom("fault")));
        check("cuLaunchKernelEx", driver.launchKernel(driver.handle(), 1, 1, 1, 0, MemorySegment.NULL));
        return "trap";
    }

    /** Where the driver has no compiler. */
    private static String launchBadRead(DriverFunctions driver, Arena arena) {
        long function = new KernelModule("trap", driver, arena, ElementType.BF16).function(Kernel.READ_PROBE);
        var arguments = new KernelArguments().add(NOWHERE).add(1L << 20).add(NOWHERE);
        check("cuLaunchKernelEx", driver.launchKernel(function, 1, 1, 512, 0, arguments.pointers()));
        return "read of a bad address";
    }

    private static void check(String operation, int status) {
        if (status != CUresult.CUDA_SUCCESS) {
            throw new DeviceFailure(operation + ": " + CUresult.stringFor(status));
        }
    }
}
