package basalt.engine.backend.cuda;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import basalt.engine.model.Checkpoint;
import basalt.engine.model.ElementType;
import basalt.engine.model.Golden;
import java.lang.reflect.Proxy;
import java.util.ArrayList;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

final class FixedMemoryTest {
    private static final int SLOT_COUNT = 20;
    /** After each tensor of weights. */
    private static final long ROOM_BYTES = 256;

    @Test
    void slotsOfAnH200AreThoseThatWereMeasured() {
        var options = new CudaBackend.Options(0, 128, 512, false, ElementType.BF16);

        long slots = CudaBackend.slotsWithin(143_771L << 20, BenchmarkModels.large(), options);

        assertTrue(Math.abs(slots - 7_708) <= 25, "slots: " + slots);
    }

    @Test
    void largerStepsLeaveLessRoom() {
        var config = BenchmarkModels.large();
        var small = new CudaBackend.Options(0, 128, 512, false, ElementType.BF16);
        var large = new CudaBackend.Options(0, 512, 2_560, false, ElementType.BF16);

        assertTrue(
                CudaBackend.slotsWithin(80L << 30, config, large) < CudaBackend.slotsWithin(80L << 30, config, small));
        assertEquals(0, CudaBackend.slotsWithin(1L << 30, config, large));
    }

    @ParameterizedTest
    @ValueSource(strings = {"g05_fla", "p2_grouped_heads", "g03_deep"})
    void isWhatABackendAllocatesBesideItsSlots(String golden) {
        assumeTrue(EmulatedDevice.library(ElementType.BF16).isPresent(), "the kernels were not compiled for emulation");
        var options = new CudaBackend.Options(SLOT_COUNT, 8, 100, false, ElementType.BF16);
        var emulated = new EmulatedDevice(ElementType.BF16);
        var sizes = new ArrayList<Long>();
        var device = (Device) Proxy.newProxyInstance(
                Device.class.getClassLoader(), new Class<?>[] {Device.class}, (proxy, method, values) -> {
                    if (method.getName().equals("allocate")) {
                        sizes.add((Long) values[0]);
                    }
                    return method.invoke(emulated, values);
                });
        try (var checkpoint = Checkpoint.open(Golden.open(golden).directory());
                var backend = CudaBackend.open(device, checkpoint.config(), checkpoint.weights(), options)) {
            long all = sizes.stream().mapToLong(Long::longValue).sum();

            long fixed = FixedMemory.allocatedBytes(emulated.multiprocessorCount(), checkpoint.config(), options);

            long difference = all - SLOT_COUNT * backend.bytesPerSlot() - fixed;
            assertTrue(
                    difference >= 0 && difference <= ROOM_BYTES * sizes.size(),
                    difference + " bytes in " + sizes.size() + " allocations");
        }
    }
}
