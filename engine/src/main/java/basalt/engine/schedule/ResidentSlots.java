package basalt.engine.schedule;

import basalt.engine.state.SavedState;
import basalt.engine.state.Slot;
import basalt.engine.state.StatePool;
import java.lang.ref.WeakReference;
import java.util.concurrent.ConcurrentLinkedDeque;
import org.jspecify.annotations.Nullable;

/**
 * Slots that hold on to what turns of sessions left in them, so that the next turn need not load it. Each state was
 * saved as well; so a slot is given up without a copy, the least recently used first, whenever a request needs it.
 * Confined to the engine thread, but for {@link #holds}.
 */
final class ResidentSlots {
    private final StatePool statePool;
    private final int countMax;
    private final LoopCounters counters;
    private final ConcurrentLinkedDeque<Resident> residents = new ConcurrentLinkedDeque<>(); // the oldest first
    private int count;

    /** A slot that rests. It does not keep what it holds from being dropped from host memory. */
    static final class Resident {
        private final Slot slot;
        private volatile @Nullable WeakReference<SavedState> saved;

        /** A slot with a state that is being saved. */
        Resident(Slot slot) {
            this.slot = slot;
        }

        Slot slot() {
            return slot;
        }

        /** Notes what the slot holds. Called by any thread, before anyone else knows of the saved state. */
        void saved(SavedState state) {
            saved = new WeakReference<>(state);
        }

        boolean holds(SavedState state) {
            var reference = saved;
            return reference != null && reference.refersTo(state); // states are told apart by identity
        }
    }

    /** @param countMax slots that rest at most; 0 lets none */
    ResidentSlots(StatePool statePool, int countMax, LoopCounters counters) {
        this.statePool = statePool;
        this.countMax = countMax;
        this.counters = counters;
    }

    /** Slots that a request can have now. */
    int freeCount() {
        return statePool.freeCount() + count;
    }

    /** An empty slot, if need be one that rests. */
    Slot acquire() {
        if (statePool.freeCount() == 0) {
            giveUpEldest();
        }
        return statePool.acquire();
    }

    /** The slot that holds this state, or null; it rests no more. */
    @Nullable Slot take(SavedState state) {
        for (var it = residents.iterator(); it.hasNext(); ) {
            var resident = it.next();
            if (resident.holds(state)) {
                it.remove();
                count(count - 1);
                LoopCounters.add(counters.residentHits, 1);
                return resident.slot();
            }
        }
        return null;
    }

    /** Whether a slot holds this state, by now. May be asked by any thread. */
    boolean holds(SavedState state) {
        for (var resident : residents) {
            if (resident.holds(state)) {
                return true;
            }
        }
        return false;
    }

    /** Lets a slot rest, or gives it back where that is not wanted. */
    void rest(Resident resident) {
        if (countMax == 0) {
            statePool.release(resident.slot());
            return;
        }
        if (count == countMax) {
            giveUpEldest();
        }
        residents.add(resident);
        count(count + 1);
    }

    private void giveUpEldest() {
        statePool.release(residents.remove().slot());
        count(count - 1);
    }

    private void count(int value) {
        count = value;
        counters.residentSlots.set(value);
    }
}
