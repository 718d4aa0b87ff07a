package basalt.engine.schedule;

import basalt.engine.EngineException;
import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;

/** A loop, and what was sent to it. The counts change only under the lock of the {@link Front}. */
final class Device {
    final EngineLoop loop;
    final int slotCount;
    final List<Thread> threads = new ArrayList<>();
    volatile boolean isAlive = true;
    private @Nullable EngineException end; // why it is not alive
    private long sentRequests;
    private long sentTokens;
    private long sentSlots;
    private long queuedRequests;
    private long queuedTokens;

    Device(EngineLoop loop) {
        this.loop = loop;
        slotCount = loop.backend().slotCount();
    }

    /** It is in service no more. */
    void retire(EngineException cause) {
        end = cause;
        isAlive = false;
    }

    /** Throws why it is in service no more, if it is not. */
    void requireAlive() {
        if (end != null) {
            throw end;
        }
    }

    /** Whether one of its slots holds what a request goes on from. */
    boolean rests(Origin origin) {
        return origin.saved().filter(loop::rests).isPresent();
    }

    /** Notes that a request is sent; with a sign of -1 that it was not. */
    void count(SequenceGroup group, int sign) {
        sentRequests += sign;
        sentTokens += (long) sign * group.promptCount();
        sentSlots += (long) sign * group.slotCount();
        if (group.isQueued()) {
            queuedRequests += sign;
            queuedTokens += (long) sign * group.promptCount();
        }
    }

    /** Slots that requests hold or wait for. */
    long wantedSlots() {
        return sentSlots - loop.counters().releasedSlots.get();
    }

    /**
     * Whether a request of so many slots would have to wait. One of none waits for the loop's next look only, as many
     * of them as there are slots besides those that count as waiting.
     */
    boolean isQueued(int slots) {
        return slots == 0 ? unseenRequests() >= slotCount : wantedSlots() + slots > slotCount;
    }

    /** Requests that were sent and have not begun. */
    private long unseenRequests() {
        return sentRequests - loop.counters().dequeuedRequests.get();
    }

    long sentRequests() {
        return sentRequests;
    }

    long sentTokens() {
        return sentTokens;
    }

    /** Requests that wait and had found no free slot. */
    long queuedRequests() {
        return queuedRequests - loop.counters().unqueuedRequests.get();
    }

    /** Prompt tokens of those. */
    long queuedTokens() {
        return queuedTokens - loop.counters().unqueuedTokens.get();
    }
}
