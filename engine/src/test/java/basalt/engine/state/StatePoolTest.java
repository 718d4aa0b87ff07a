package basalt.engine.state;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import basalt.engine.backend.Batch;
import basalt.engine.backend.StepResult;
import basalt.engine.backend.fake.FakeBackend;
import org.junit.jupiter.api.Test;

class StatePoolTest {
    private final FakeBackend backend = new FakeBackend(FakeBackend.Options.DEFAULT.withSlots(3, 3));

    @Test
    void acquiredSlotIsEmptyWhateverItHeld() {
        var pool = new StatePool(backend);
        var first = pool.acquire();
        consume(first.index());
        pool.release(first);

        var second = pool.acquire();

        assertEquals(first.index(), second.index());
        assertEquals(0, backend.tokenCount(second.index()));
    }

    @Test
    void releaseIsIdempotent() {
        var pool = new StatePool(backend);
        var slot = pool.acquire();

        pool.release(slot);
        pool.release(slot);

        assertEquals(3, pool.freeCount());
        assertFalse(slot.isHeld());
    }

    @Test
    void slotsAreDistinctAndBounded() {
        var pool = new StatePool(backend);
        var first = pool.acquire();
        var second = pool.acquire();
        var third = pool.acquire();

        assertNotEquals(first.index(), second.index());
        assertNotEquals(second.index(), third.index());
        assertNotEquals(first.index(), third.index());
        assertThrows(IllegalStateException.class, pool::acquire);
    }

    @Test
    void poisonedSlotCannotBeUsedAfterItsRelease() {
        var pool = StatePool.poisoning(backend);
        var slot = pool.acquire();
        consume(slot.index());

        pool.release(slot);

        assertThrows(IllegalStateException.class, () -> consume(slot.index()));
        assertEquals(slot.index(), pool.acquire().index());
        consume(slot.index());
    }

    private void consume(int slot) {
        var batch = new Batch(1, 1);
        batch.add(slot, new int[] {5}, 0, 1, false);
        backend.enqueue(batch);
        backend.await(new StepResult(3, 512));
    }
}
