package basalt.engine.schedule;

import org.jspecify.annotations.Nullable;

/**
 * Finds requests whose time is up, wherever they are. Looks at all of them only once the first of their deadlines has
 * passed. Confined to the engine thread; allocates nothing.
 */
final class Deadlines {
    private final AdmissionQueue queue;
    private final Rotation<SequenceGroup> prefilling;
    private final Rotation<Sequence> decoding;
    private boolean hasNext;
    private long nextNanos; // no deadline is earlier

    Deadlines(AdmissionQueue queue, Rotation<SequenceGroup> prefilling, Rotation<Sequence> decoding) {
        this.queue = queue;
        this.prefilling = prefilling;
        this.decoding = decoding;
    }

    /** Notes a request's deadline, if it has one. */
    void add(SequenceGroup group) {
        if (group.hasDeadline() && !group.isFinished() && (!hasNext || group.deadlineNanos() - nextNanos < 0)) {
            hasNext = true;
            nextNanos = group.deadlineNanos();
        }
    }

    /** A request whose time is up and that has not ended, or null. */
    @Nullable SequenceGroup late(long nowNanos) {
        if (!hasNext || nowNanos - nextNanos < 0) {
            return null;
        }
        for (int i = 0; i < queue.count(); i++) {
            if (queue.get(i).isLate(nowNanos)) {
                return queue.get(i);
            }
        }
        for (int i = 0; i < prefilling.count(); i++) {
            if (prefilling.get(i).isLate(nowNanos)) {
                return prefilling.get(i);
            }
        }
        for (int i = 0; i < decoding.count(); i++) {
            if (decoding.get(i).group().isLate(nowNanos)) {
                return decoding.get(i).group();
            }
        }
        addAll();
        return null;
    }

    private void addAll() {
        hasNext = false;
        for (int i = 0; i < queue.count(); i++) {
            add(queue.get(i));
        }
        for (int i = 0; i < prefilling.count(); i++) {
            add(prefilling.get(i));
        }
        for (int i = 0; i < decoding.count(); i++) {
            add(decoding.get(i).group());
        }
    }
}
