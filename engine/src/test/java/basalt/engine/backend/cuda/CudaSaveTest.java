package basalt.engine.backend.cuda;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertNotSame;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import basalt.engine.backend.Batch;
import basalt.engine.backend.StepResult;
import basalt.engine.model.Checkpoint;
import basalt.engine.model.ElementType;
import basalt.engine.model.Golden;
import basalt.engine.state.SavedState;
import basalt.engine.state.StateImage;
import basalt.engine.state.StateLayout;
import java.lang.management.BufferPoolMXBean;
import java.lang.management.ManagementFactory;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.locks.LockSupport;
import java.util.function.Consumer;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedClass;
import org.junit.jupiter.params.provider.EnumSource;

/** States on their way from an emulated device and back, whose slots are overwritten meanwhile. */
@ParameterizedClass
@EnumSource(EmulatedStreams.Order.class)
final class CudaSaveTest {
    private static final int SLOTS = 8; // more than copies on their way at most
    private static final int TOKENS_MAX = 64;

    private final EmulatedStreams.Order order;

    CudaSaveTest(EmulatedStreams.Order order) {
        this.order = order;
    }

    @BeforeEach
    void requireEmulation() {
        assumeTrue(EmulatedDevice.library(ElementType.F32).isPresent(), "the kernels were not compiled for emulation");
    }

    /** A backend whose every slot has read other tokens. */
    private void run(long hostBytesMax, Consumer<CudaBackend> test) {
        run(device(), hostBytesMax, test);
    }

    private EmulatedDevice device() {
        return new EmulatedDevice(ElementType.F32, new EmulatedStreams(order));
    }

    static void run(EmulatedDevice device, long hostBytesMax, Consumer<CudaBackend> test) {
        var options = new CudaBackend.Options(SLOTS, SLOTS, TOKENS_MAX, true, ElementType.F32, hostBytesMax);
        try (var checkpoint = Checkpoint.open(Golden.open("g05_fla").directory());
                var backend = CudaBackend.open(device, checkpoint.config(), checkpoint.weights(), options)) {
            var batch = new Batch(SLOTS, TOKENS_MAX);
            for (int slot = 0; slot < SLOTS; slot++) {
                backend.zero(slot);
                batch.add(slot, new int[] {1 + slot, 2, 3, 4, 5}, 0, count(slot), false);
            }
            backend.enqueue(batch);
            backend.await(new StepResult(SLOTS, TOKENS_MAX));
            test.accept(backend);
        }
    }

    private static int count(int slot) {
        return 3 + slot % 3;
    }

    private static List<StateImage> images(CudaBackend backend) {
        var images = new ArrayList<StateImage>();
        for (int slot = 0; slot < SLOTS; slot++) {
            var image = new StateImage(backend.layout());
            backend.save(slot, image);
            images.add(image);
        }
        return images;
    }

    private static void assertSameState(StateImage expected, StateImage actual) {
        assertEquals(expected.tokenCount(), actual.tokenCount());
        for (int i = 0; i < expected.layout().tensors().size(); i++) {
            assertArrayEquals(expected.tensor(i), actual.tensor(i), "tensor " + i);
        }
    }

    private static void awaitRoom(CudaBackend backend) {
        long start = System.nanoTime();
        while (!backend.canBeginSave()) {
            assertTrue(System.nanoTime() - start < 60_000_000_000L, "no room for a save");
            LockSupport.parkNanos(100_000);
        }
    }

    /** Saves when the backend has room, as the scheduler does. */
    private static SavedState save(CudaBackend backend, int slot) {
        awaitRoom(backend);
        var saved = backend.beginSave(slot);
        backend.poison(slot);
        return saved.join();
    }

    @Test
    void stateIsThatOfTheMomentWhenItsSaveBegan() {
        run(0, backend -> {
            var expected = images(backend);

            var saved = new ArrayList<CompletableFuture<SavedState>>();
            for (int slot = 0; slot < SLOTS; slot++) {
                saved.add(backend.beginSave(slot));
                backend.zero(slot);
            }

            for (int slot = 0; slot < SLOTS; slot++) {
                assertSameState(expected.get(slot), saved.get(slot).join().image());
            }
        });
    }

    @Test
    void statesComeBackIntoAnySlot() {
        run(1 << 24, CudaSaveTest::moveAllStates);
    }

    /** More than there are places for at a time. */
    static void moveAllStates(CudaBackend backend) {
        var expected = images(backend);
        var saved = new ArrayList<SavedState>();
        for (int slot = 0; slot < SLOTS; slot++) {
            saved.add(save(backend, slot));
        }

        for (int slot = 0; slot < SLOTS; slot++) {
            assertInstanceOf(SlotBlock.class, saved.get(slot));
            backend.load((slot + 3) % SLOTS, saved.get(slot));
        }

        var loaded = images(backend);
        for (int slot = 0; slot < SLOTS; slot++) {
            assertSameState(expected.get(slot), loaded.get((slot + 3) % SLOTS));
        }
    }

    @Test
    void statesBeyondTheBoundMoveToTheHeapAndBack() {
        run(
                0,
                backend -> { // a few free blocks are all there are
                    var expected = images(backend);
                    var saved = new ArrayList<SavedState>();
                    for (int slot = 0; slot < SLOTS; slot++) {
                        saved.add(save(backend, slot));
                    }

                    for (int round = 0; round < 3; round++) {
                        for (int slot = 0; slot < SLOTS; slot++) {
                            assertSame(saved.get(slot), backend.prepare(saved.get(slot)));
                            backend.load(slot, saved.get(slot));
                            assertSameState(expected.get(slot), saved.get(slot).image());
                        }
                        var loaded = images(backend);
                        for (int slot = 0; slot < SLOTS; slot++) {
                            assertSameState(expected.get(slot), loaded.get(slot));
                        }
                    }
                });
    }

    /** Without them, one block too few for a garbage collector that has nothing to do. */
    @Test
    void blocksOfReleasedStatesAreUsedAgain() {
        run(0, backend -> {
            var expected = images(backend);
            var kept = save(backend, 1);
            for (int i = 0; i < 4 * SLOTS; i++) {
                awaitRoom(backend);
                var saved = backend.beginSave(i % SLOTS).join();
                assertInstanceOf(SlotBlock.class, saved);
                saved.release();
                assertThrows(IllegalStateException.class, saved::image);
            }
            assertSameState(expected.get(1), kept.image());
            backend.load(5, kept);
            assertSameState(expected.get(1), images(backend).get(5));
        });
    }

    @Test
    void stateOfAnotherDeviceIsTaken() {
        run(
                1 << 24,
                one -> run(1 << 24, other -> {
                    var expected = images(one);
                    var saved = save(one, 2);

                    other.load(5, saved); // as it is
                    awaitRoom(other);
                    var prepared = other.prepare(saved);
                    other.load(6, prepared);

                    assertNotSame(saved, prepared);
                    assertInstanceOf(SlotBlock.class, prepared);
                    assertSameState(expected.get(2), images(other).get(5));
                    assertSameState(expected.get(2), images(other).get(6));
                }));
    }

    /** Which takes longer, but nobody waits for ever. */
    @Test
    void statesAreSavedWhereNoMemoryCanBePinned() {
        run(device().withoutPinning(), 1 << 24, backend -> {
            var expected = images(backend);

            for (int slot = 0; slot < SLOTS; slot++) {
                var saved = save(backend, slot);
                assertSame(saved, backend.prepare(saved));
                backend.load(slot, saved);
                assertSameState(expected.get(slot), saved.image());
            }

            var loaded = images(backend);
            for (int slot = 0; slot < SLOTS; slot++) {
                assertSameState(expected.get(slot), loaded.get(slot));
            }
        });
    }

    private record Unreadable(StateLayout layout) implements SavedState {
        @Override
        public long tokenCount() {
            return 1;
        }

        @Override
        public long bytes() {
            return 0;
        }

        @Override
        public StateImage image() {
            throw new IllegalStateException("as told");
        }
    }

    @Test
    void stateThatCannotBeReadTakesNoBlockAway() {
        run(
                0,
                backend -> { // a few free blocks are all there are
                    var expected = images(backend);
                    awaitRoom(backend);

                    for (int i = 0; i < 2 * SLOTS; i++) {
                        assertThrows(
                                IllegalStateException.class,
                                () -> backend.prepare(new Unreadable(backend.layout())),
                                "" + i);
                    }

                    var saved = save(backend, 3);
                    assertInstanceOf(SlotBlock.class, saved);
                    assertSameState(expected.get(3), saved.image());
                });
    }

    /** Else large budgets would leave none of the JVM's own for files and sockets. */
    @Test
    void blocksAreNoDirectBuffers() {
        long before = directBytes();

        run(1 << 24, backend -> {
            var saved = new ArrayList<SavedState>();
            for (int slot = 0; slot < SLOTS; slot++) {
                saved.add(save(backend, slot));
                assertInstanceOf(SlotBlock.class, saved.get(slot));
            }
            long added = directBytes() - before;
            assertTrue(added < SLOTS * saved.getFirst().bytes(), "bytes " + added);
        });
    }

    private static long directBytes() {
        return ManagementFactory.getPlatformMXBeans(BufferPoolMXBean.class).stream()
                .filter(pool -> pool.getName().equals("direct"))
                .mapToLong(BufferPoolMXBean::getMemoryUsed)
                .findFirst()
                .orElseThrow();
    }

    @Test
    void statesOutliveTheirDevice() {
        var saved = new ArrayList<SavedState>();
        var expected = new ArrayList<StateImage>();

        run(1 << 24, backend -> {
            expected.addAll(images(backend));
            saved.add(save(backend, 1));
        });

        assertSameState(expected.get(1), saved.getFirst().image());
    }
}
