package basalt.engine.state;

import basalt.engine.EngineException;
import basalt.engine.backend.Backend;
import java.util.Arrays;
import org.jspecify.annotations.Nullable;

/**
 * The slots of a backend, free or held. Confined to the engine thread.
 *
 * <p>A slot is zeroed whenever it is acquired, so that nobody sees the state of whoever held it before. A pool for
 * tests also overwrites it by NaN when it is released, so that whatever still uses it shows.
 */
public final class StatePool {
    private static final System.Logger LOG = System.getLogger(StatePool.class.getName());

    private final Backend backend;
    private final Slot[] slots;
    private final Slot[] free; // the first freeCount are free; the last released is acquired next
    private final @Nullable StateImage poison; // null outside tests
    private int freeCount;

    /** All slots of a backend, free. */
    public StatePool(Backend backend) {
        this(backend, null);
    }

    private StatePool(Backend backend, @Nullable StateImage poison) {
        this.backend = backend;
        this.poison = poison;
        freeCount = backend.slotCount();
        slots = new Slot[freeCount];
        free = new Slot[freeCount];
        for (int i = 0; i < freeCount; i++) {
            slots[i] = new Slot(i);
            free[freeCount - 1 - i] = slots[i];
        }
    }

    /** A pool that fills each released slot with NaN. */
    public static StatePool poisoning(Backend backend) {
        var image = new StateImage(backend.layout());
        for (int i = 0; i < backend.layout().tensors().size(); i++) {
            Arrays.fill(image.tensor(i), Float.NaN);
        }
        return new StatePool(backend, image);
    }

    /** Where the states are. */
    public Backend backend() {
        return backend;
    }

    /** Slots in all. */
    public int slotCount() {
        return slots.length;
    }

    /** Slots that can be acquired now. */
    public int freeCount() {
        return freeCount;
    }

    /**
     * Takes a free slot with an empty state.
     *
     * @throws IllegalStateException if none is free
     */
    public Slot acquire() {
        if (freeCount == 0) {
            throw new IllegalStateException("no free slot of " + slots.length);
        }
        var slot = free[--freeCount];
        assert !slot.isHeld() : slot.index();
        slot.hold(true);
        backend.zero(slot.index());
        return slot;
    }

    /** Gives a slot back; does nothing if it is free. */
    public void release(Slot slot) {
        assert slots[slot.index()] == slot : slot.index();
        if (!slot.isHeld()) {
            return;
        }
        slot.hold(false);
        free[freeCount++] = slot;
        assert freeCount <= slots.length : freeCount;
        if (poison != null) {
            poison(slot, poison);
        }
    }

    private void poison(Slot slot, StateImage image) {
        try {
            backend.load(slot.index(), image);
        } catch (EngineException.DeviceFailure e) {
            // Whoever releases slots may do so because the device has failed, which nobody reads any more.
            LOG.log(System.Logger.Level.DEBUG, "event=not_poisoned slot=" + slot.index(), e);
        }
    }
}
