package basalt.engine.schedule;

import basalt.engine.state.Slot;
import basalt.engine.state.StateImage;
import basalt.engine.state.StatePool;
import java.util.ArrayDeque;
import java.util.concurrent.CompletableFuture;
import org.jspecify.annotations.Nullable;

/**
 * Slots that hold on to what turns of sessions left in them, so that the next turn need not load it. Each state was
 * saved as well; so a slot is given up without a copy, the least recently used first, whenever a request needs it.
 * Confined to the engine thread.
 */
final class ResidentSlots {
    private final StatePool statePool;
    private final int countMax;
    private final LoopCounters counters;
    private final ArrayDeque<Resident> residents = new ArrayDeque<>(); // the oldest first

    /**
     * A slot that rests.
     *
     * @param image what it holds, once it is saved
     */
    record Resident(Slot slot, CompletableFuture<StateImage> image) {}

    /** @param countMax slots that rest at most; 0 lets none */
    ResidentSlots(StatePool statePool, int countMax, LoopCounters counters) {
        this.statePool = statePool;
        this.countMax = countMax;
        this.counters = counters;
    }

    /** Slots that a request can have now. */
    int freeCount() {
        return statePool.freeCount() + residents.size();
    }

    /** An empty slot, if need be one that rests. */
    Slot acquire() {
        if (statePool.freeCount() == 0) {
            giveUpEldest();
        }
        return statePool.acquire();
    }

    /** The slot that holds this image, or null; it rests no more. */
    @Nullable Slot take(StateImage image) {
        for (var it = residents.iterator(); it.hasNext(); ) {
            var resident = it.next();
            if (isDone(resident) && resident.image().getNow(image) == image) {
                it.remove();
                counters.residentSlots.set(residents.size());
                LoopCounters.add(counters.residentHits, 1);
                return resident.slot();
            }
        }
        return null;
    }

    private static boolean isDone(Resident resident) {
        return resident.image().isDone() && !resident.image().isCompletedExceptionally();
    }

    /** Lets a slot rest, or gives it back where that is not wanted. */
    void rest(Resident resident) {
        if (countMax == 0) {
            statePool.release(resident.slot());
            return;
        }
        if (residents.size() == countMax) {
            giveUpEldest();
        }
        residents.add(resident);
        counters.residentSlots.set(residents.size());
    }

    private void giveUpEldest() {
        statePool.release(residents.remove().slot());
        counters.residentSlots.set(residents.size());
    }
}
