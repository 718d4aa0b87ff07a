package basalt.engine.backend.cuda;

import java.lang.foreign.MemorySegment;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.EnumMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Set;
import java.util.concurrent.locks.ReentrantLock;
import org.jspecify.annotations.Nullable;

/**
 * The streams of an emulated device: that of the steps, that of their branches and one of copies for each direction.
 * Each does its work in order; which of them goes on is bound by events alone, and else by an {@link Order} that a
 * device could take, too. Safe for use by any number of threads.
 */
final class EmulatedStreams {
    private final Set<Wait> leftOut;
    private final boolean isInTurn;
    private final ReentrantLock lock = new ReentrantLock(); // guards all that follows
    private final Stream steps = new Stream();
    private final Stream branches = new Stream();
    private final Map<Device.Direction, Stream> aside = new EnumMap<>(Device.Direction.class);
    private final List<Stream> hasty = new ArrayList<>(); // these do their work as soon as they may
    private final List<Mark> events = new ArrayList<>();
    private final Set<Long> pinned = new HashSet<>(); // addresses

    /** What goes on where nothing is waited for. */
    enum Order {
        /** Nothing. */
        LATE,
        /** The steps; branches and copies aside come late. */
        STEPS_FIRST,
        /** Branches and copies aside; the steps come late. */
        COPIES_FIRST,
        /** Nothing; but with each piece of work of the steps goes one of their branches, if it may, and the reverse. */
        IN_TURN
    }

    /** A kind of waiting, which a test may leave out. */
    enum Wait {
        STEPS_FOR_COPIES,
        UPLOADS_FOR_STEPS,
        DOWNLOADS_FOR_STEPS,
        HOST
    }

    private static final class Stream {
        private final ArrayDeque<Work> left = new ArrayDeque<>();
        private long added;
        private long done;
        private boolean isBusy; // with its next piece of work, which may still wait
    }

    /** How far a stream has come. */
    private record Mark(Stream stream, long count) {
        boolean isPassed() {
            return stream.done >= count;
        }
    }

    /** Something to do, or something to wait for. */
    private record Work(@Nullable Mark mark, @Nullable MemorySegment lent, Runnable action) {
        boolean isReady() {
            return mark == null || mark.isPassed();
        }
    }

    EmulatedStreams(Order order) {
        this(order, Set.of());
    }

    /** Streams that do not wait as they are told. */
    EmulatedStreams(Order order, Set<Wait> leftOut) {
        this.leftOut = leftOut;
        isInTurn = order == Order.IN_TURN;
        for (var direction : Device.Direction.values()) {
            aside.put(direction, new Stream());
        }
        switch (order) {
            case LATE, IN_TURN -> {}
            case STEPS_FIRST -> hasty.add(steps);
            case COPIES_FIRST -> {
                hasty.addAll(aside.values());
                hasty.add(branches);
            }
        }
    }

    void addStep(Runnable action, boolean isInBranch) {
        add(isInBranch ? branches : steps, new Work(null, null, action));
    }

    void beginBranch() {
        follow(branches, steps);
    }

    void joinBranches() {
        follow(steps, branches);
    }

    private void follow(Stream stream, Stream other) {
        lock.lock();
        try {
            add(stream, new Work(new Mark(other, other.added), null, () -> {}));
        } finally {
            lock.unlock();
        }
    }

    void addAside(Device.Direction direction, MemorySegment lent, Runnable action) {
        lock.lock();
        try {
            if (!pinned.contains(lent.address())) {
                throw new IllegalStateException("copied aside, but not pinned");
            }
            add(aside(direction), new Work(null, lent, action));
        } finally {
            lock.unlock();
        }
    }

    private Stream aside(Device.Direction direction) {
        return Objects.requireNonNull(aside.get(direction));
    }

    private void add(Stream stream, Work work) {
        lock.lock();
        try {
            stream.left.add(work);
            stream.added++;
            goOn();
        } finally {
            lock.unlock();
        }
    }

    /** Lets the hasty streams come as far as they may. Call only when holding lock. */
    private void goOn() {
        boolean isAnyDone = true;
        while (isAnyDone) {
            isAnyDone = false;
            for (var stream : hasty) {
                for (var next = stream.left.peek(); next != null && next.isReady(); next = stream.left.peek()) {
                    doNext(stream);
                    isAnyDone = true;
                }
            }
        }
    }

    /** Call only when holding lock. */
    private void doNext(Stream stream) {
        doOne(stream);
        var other = stream == steps ? branches : steps;
        var next = other.left.peek();
        if (isInTurn && !other.isBusy && next != null && next.isReady()) {
            doOne(other);
        }
    }

    /** Call only when holding lock. */
    private void doOne(Stream stream) {
        var work = stream.left.element();
        stream.isBusy = true;
        if (work.mark() != null) {
            reach(work.mark());
        }
        work.action().run();
        stream.left.remove();
        stream.done++;
        stream.isBusy = false;
    }

    /** Does what has to be done until a mark is passed, and no more. Call only when holding lock. */
    private void reach(Mark mark) {
        while (!mark.isPassed()) {
            doNext(mark.stream());
        }
    }

    int createEvent() {
        lock.lock();
        try {
            events.add(new Mark(steps, 0));
            return events.size() - 1;
        } finally {
            lock.unlock();
        }
    }

    void record(int event) {
        record(steps, event);
    }

    void recordAside(Device.Direction direction, int event) {
        record(aside(direction), event);
    }

    private void record(Stream stream, int event) {
        lock.lock();
        try {
            events.set(event, new Mark(stream, stream.added));
        } finally {
            lock.unlock();
        }
    }

    void hold(int event) {
        if (!leftOut.contains(Wait.STEPS_FOR_COPIES)) {
            hold(steps, event);
        }
    }

    void holdAside(Device.Direction direction, int event) {
        var wait = direction == Device.Direction.UP ? Wait.UPLOADS_FOR_STEPS : Wait.DOWNLOADS_FOR_STEPS;
        if (!leftOut.contains(wait)) {
            hold(aside(direction), event);
        }
    }

    private void hold(Stream stream, int event) {
        lock.lock();
        try {
            add(stream, new Work(events.get(event), null, () -> {}));
        } finally {
            lock.unlock();
        }
    }

    void await(int event) {
        lock.lock();
        try {
            var mark = events.get(event);
            if (mark.stream() == steps || !leftOut.contains(Wait.HOST)) {
                reach(mark);
                goOn();
            }
        } finally {
            lock.unlock();
        }
    }

    void synchronize() {
        lock.lock();
        try {
            reach(new Mark(steps, steps.added));
            goOn();
        } finally {
            lock.unlock();
        }
    }

    void pin(MemorySegment memory) {
        lock.lock();
        try {
            pinned.add(memory.address());
        } finally {
            lock.unlock();
        }
    }

    void unpin(MemorySegment memory) {
        lock.lock();
        try {
            pinned.remove(memory.address());
            for (var stream : aside.values()) {
                for (var work : stream.left) {
                    if (work.lent() != null && work.lent().address() == memory.address()) {
                        throw new IllegalStateException("taken back while a copy of it is on its way");
                    }
                }
            }
        } finally {
            lock.unlock();
        }
    }

    /** Does all that is left. */
    void finish() {
        lock.lock();
        try {
            aside.values().forEach(stream -> reach(new Mark(stream, stream.added)));
            reach(new Mark(branches, branches.added));
            synchronize();
        } finally {
            lock.unlock();
        }
    }
}
