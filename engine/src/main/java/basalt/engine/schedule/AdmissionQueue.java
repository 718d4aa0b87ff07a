package basalt.engine.schedule;

import java.util.Arrays;
import java.util.concurrent.TimeUnit;
import org.jspecify.annotations.Nullable;

/**
 * Requests that wait for slots, in the order in which they get them. Confined to the engine thread. Its bound is kept
 * by {@link Front}, before a request comes here.
 *
 * <p>A request is due at its arrival plus {@link #PRIORITY_NANOS} for each level of its priority, and the one that is
 * due first goes first. So a request of higher priority overtakes those of the last seconds only, and none waits for
 * ever: one that is {@link #PRIORITY_MAX} levels behind the others is overtaken by what arrives in the next minute.
 */
final class AdmissionQueue {
    /** How much waiting one level of priority is worth. */
    static final long PRIORITY_NANOS = TimeUnit.SECONDS.toNanos(1);
    /** Levels beyond this, or below its negative, count as this. */
    static final int PRIORITY_MAX = 30;

    // The first count entries; each is due no later than its children 2i + 1 and 2i + 2.
    private @Nullable SequenceGroup[] heap;
    private long[] dueNanos; // of the entries of heap, from originNanos
    private long[] orders; // of the entries of heap: equal ones in order of arrival
    private final long originNanos;
    private long nextOrder;
    private int count;

    /**
     * An empty queue.
     *
     * @param capacity requests that it holds without growing; it grows only when another device has failed
     * @param originNanos a moment before all arrivals
     */
    AdmissionQueue(int capacity, long originNanos) {
        heap = new SequenceGroup[capacity];
        dueNanos = new long[capacity];
        orders = new long[capacity];
        this.originNanos = originNanos;
    }

    int count() {
        return count;
    }

    /** The request that gets slots next, or null. */
    @Nullable SequenceGroup peek() {
        return count == 0 ? null : heap[0];
    }

    /** The request at a place of the heap, the first of which is the next one. */
    SequenceGroup get(int index) {
        var group = index < count ? heap[index] : null;
        if (group == null) {
            throw new IndexOutOfBoundsException(index);
        }
        return group;
    }

    /** Adds a request. */
    void add(SequenceGroup group) {
        if (count == heap.length) {
            heap = Arrays.copyOf(heap, 2 * count);
            dueNanos = Arrays.copyOf(dueNanos, 2 * count);
            orders = Arrays.copyOf(orders, 2 * count);
        }
        int priority = Math.clamp(group.request().priority(), -PRIORITY_MAX, PRIORITY_MAX);
        long due = group.arrivedNanos() - originNanos + priority * PRIORITY_NANOS;
        assert group.queueIndex() < 0 : group.queueIndex();
        put(count++, group, due, nextOrder++);
        siftUp(count - 1);
    }

    /** Removes a request, wherever it stands; returns whether it was there. */
    boolean remove(SequenceGroup group) {
        int index = group.queueIndex();
        if (index < 0) {
            return false;
        }
        assert heap[index] == group : index;
        swap(index, count - 1);
        count--;
        heap[count] = null;
        group.queueIndex(-1);
        if (index < count) {
            siftUp(index);
            siftDown(index);
        }
        return true;
    }

    private void siftUp(int start) {
        int index = start;
        while (index > 0 && isBefore(index, (index - 1) / 2)) {
            swap(index, (index - 1) / 2);
            index = (index - 1) / 2;
        }
    }

    private void siftDown(int start) {
        int index = start;
        while (true) {
            int least = index;
            for (int child = 2 * index + 1; child <= 2 * index + 2 && child < count; child++) {
                least = isBefore(child, least) ? child : least;
            }
            if (least == index) {
                return;
            }
            swap(index, least);
            index = least;
        }
    }

    private boolean isBefore(int a, int b) {
        return dueNanos[a] < dueNanos[b] || (dueNanos[a] == dueNanos[b] && orders[a] < orders[b]);
    }

    private void swap(int a, int b) {
        var group = heap[a];
        long due = dueNanos[a];
        long order = orders[a];
        put(a, heap[b], dueNanos[b], orders[b]);
        put(b, group, due, order);
    }

    private void put(int index, @Nullable SequenceGroup group, long due, long order) {
        heap[index] = group;
        dueNanos[index] = due;
        orders[index] = order;
        if (group != null) {
            group.queueIndex(index);
        }
    }
}
