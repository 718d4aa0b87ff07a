package basalt.engine.backend.cuda;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import basalt.engine.EngineException.DeviceFailure;
import basalt.engine.model.Checkpoint;
import basalt.engine.model.ElementType;
import basalt.engine.model.Golden;
import basalt.engine.state.SavedState;
import basalt.engine.state.StateLayout;
import basalt.engine.state.StatePool;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.locks.LockSupport;
import java.util.function.BooleanSupplier;
import java.util.function.Consumer;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;

/** An emulated device that fails: whoever waits for it is told, and its memory is taken back. */
final class CudaFailureTest {
    private static final int SLOTS = 8; // more than copies on their way at most
    private static final int BLOCKS = 4; // where no states are to rest in host memory

    @BeforeEach
    void requireEmulation() {
        assumeTrue(EmulatedDevice.library(ElementType.F32).isPresent(), "the kernels were not compiled for emulation");
    }

    private final FailingDevice device = new FailingDevice("emulated (device 1)", new EmulatedDevice(ElementType.F32));

    private void run(Consumer<CudaBackend> test) {
        var options = new CudaBackend.Options(SLOTS, SLOTS, 64, true, ElementType.F32);
        try (var checkpoint = Checkpoint.open(Golden.open("g05_fla").directory())) {
            var backend = CudaBackend.open(device.device(), checkpoint.config(), checkpoint.weights(), options);
            try {
                test.accept(backend);
            } finally {
                assertThrows(DeviceFailure.class, backend::close);
            }
        }
    }

    private static void await(BooleanSupplier condition) {
        long start = System.nanoTime();
        while (!condition.getAsBoolean()) {
            assertTrue(System.nanoTime() - start < TimeUnit.SECONDS.toNanos(10), "still waiting");
            LockSupport.parkNanos(100_000);
        }
    }

    @Test
    void slotsAreGivenBackAndSoIsTheMemory() {
        run(backend -> {
            var pool = StatePool.poisoning(backend);
            var slot = pool.acquire();
            await(backend::canBeginSave);
            device.fail();

            pool.release(slot);

            assertEquals(SLOTS, pool.freeCount());
        });
        assertEquals(0, device.lentCount());
    }

    @Test
    void nobodyWaitsForRoomOnceSavesHaveFailed() {
        run(backend -> {
            await(() -> device.lentCount() == BLOCKS);
            var begun = new AtomicInteger();
            device.failAt(operation -> {
                boolean isWaiting = operation.startsWith("await ");
                if (isWaiting) {
                    await(() -> begun.get() == BLOCKS);
                }
                return isWaiting;
            });
            var saved = new ArrayList<CompletableFuture<SavedState>>();
            for (int slot = 0; slot < BLOCKS; slot++) {
                saved.add(backend.beginSave(slot));
            }
            begun.set(BLOCKS);

            for (var state : saved) {
                var e = assertThrows(CompletionException.class, state::join);
                assertInstanceOf(DeviceFailure.class, e.getCause());
            }
            await(backend::canBeginSave);

            var failure = assertThrows(DeviceFailure.class, () -> backend.beginSave(BLOCKS));
            assertTrue(String.valueOf(failure.getMessage()).startsWith("emulated (device 1): "), failure.getMessage());
        });
    }

    @Test
    void nobodyWaitsForABlockThatADeviceCannotFree() {
        try (var checkpoint = Checkpoint.open(Golden.open("g05_fla").directory());
                var opened = device.device()) {
            var layout = StateLayout.of(checkpoint.config(), ElementType.F32);
            var blocks = new SlotBlocks(opened, new SlotMemory(layout), layout, 0);
            blocks.start();
            await(() -> device.lentCount() == BLOCKS);
            var taken = new ArrayList<MemorySegment>();
            await(() -> {
                var block = blocks.take();
                if (block != null) {
                    taken.add(block);
                }
                return taken.size() == BLOCKS;
            });
            device.failAt(operation -> operation.startsWith("recordAside "));
            List<SlotBlock> states =
                    taken.stream().map(block -> blocks.own(block, 1)).toList();

            await(blocks::hasFree);

            assertEquals(BLOCKS, states.size());
            assertThrows(DeviceFailure.class, blocks::close);
            assertEquals(0, device.lentCount());
        }
    }
}
