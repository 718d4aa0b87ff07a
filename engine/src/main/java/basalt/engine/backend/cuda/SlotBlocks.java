package basalt.engine.backend.cuda;

import basalt.engine.Checks;
import basalt.engine.EngineException;
import basalt.engine.state.SavedState;
import basalt.engine.state.StateImage;
import basalt.engine.state.StateLayout;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.ref.Cleaner;
import java.lang.ref.WeakReference;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.ThreadPoolExecutor;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.ReentrantLock;
import org.jspecify.annotations.Nullable;

/**
 * Host memory for saved states as the bytes of slots. Blocks are pinned, so that the device copies to and from them by
 * itself at the speed of its bus. Their number is bounded: a thread keeps a few free by moving the state that was used
 * least recently to the heap, from where {@link #prepare} brings it back. Safe for use by any number of threads.
 *
 * <p>A block becomes free only when the uploads that began before are done, so whatever writes into a free one, the
 * device or a thread, overtakes none of them.
 *
 * <p>The memory is this process's own and is only lent to the device: what states hold stays readable after
 * {@link #close}, and is freed when nobody holds a state or this any more.
 */
final class SlotBlocks implements AutoCloseable {
    private static final System.Logger LOG = System.getLogger(SlotBlocks.class.getName());
    private static final Cleaner CLEANER = Cleaner.create();
    private static final int FREE_MIN = 4;
    private static final int FREE_LOW = 2; // with fewer, states move to the heap
    private static final int PAGE_BYTES = 4096;
    private static final long END_SECONDS = 30;

    private final Device device;
    private final SlotMemory slotMemory;
    private final StateLayout layout;
    private final int drainedEvent;
    private final Arena arena = Arena.ofShared(); // which, unlike an automatic one, counts as no direct buffers
    private final ThreadPoolExecutor thread = new ThreadPoolExecutor(
            1,
            1,
            0,
            TimeUnit.SECONDS,
            new LinkedBlockingQueue<>(2),
            task -> Thread.ofPlatform().daemon().name("basalt-blocks").unstarted(task));

    private final ReentrantLock lock = new ReentrantLock(); // guards what follows, and where states are
    private final List<MemorySegment> all = new ArrayList<>();
    private final ArrayDeque<MemorySegment> free = new ArrayDeque<>();
    /** Blocks that hold a state, by its use, the oldest first. Nobody else need hold on to the state. */
    private final LinkedHashMap<MemorySegment, WeakReference<SlotBlock>> used = new LinkedHashMap<>(16, 0.75f, true);

    private int countMax;
    private boolean hasReleased; // some that hold nothing any more
    private boolean isRefilling;
    private boolean isClosed;

    /**
     * No blocks yet.
     *
     * @param bytesMax of states that rest in blocks; a few blocks more are kept free
     */
    SlotBlocks(Device device, SlotMemory slotMemory, StateLayout layout, long bytesMax) {
        Checks.argument(bytesMax >= 0, "bytesMax", bytesMax);
        this.device = device;
        this.slotMemory = slotMemory;
        this.layout = layout;
        countMax = (int) Math.min(Integer.MAX_VALUE, FREE_MIN + bytesMax / slotMemory.bytes());
        drainedEvent = device.createEvent();
        CLEANER.register(this, arena::close);
    }

    /** Makes the blocks, in time. */
    void start() {
        lock.lock();
        try {
            refill();
        } finally {
            lock.unlock();
        }
    }

    StateLayout layout() {
        return layout;
    }

    /** Size of a state. */
    long blockBytes() {
        return slotMemory.bytes();
    }

    /** Whether there is nothing to wait for: {@link #take} has a block now, or never will. */
    boolean hasFree() {
        lock.lock();
        try {
            refill();
            return !free.isEmpty() || countMax == 0;
        } finally {
            lock.unlock();
        }
    }

    /** A free block, which is the caller's until it is given to {@link #own} or {@link #giveBack}; null if none is. */
    @Nullable MemorySegment take() {
        lock.lock();
        try {
            var block = free.poll();
            refill();
            return block;
        } finally {
            lock.unlock();
        }
    }

    void giveBack(MemorySegment block) {
        lock.lock();
        try {
            free.add(block);
        } finally {
            lock.unlock();
        }
    }

    /** The state that a taken block holds by now. */
    SlotBlock own(MemorySegment block, long tokenCount) {
        var state = new SlotBlock(this, tokenCount, block);
        lock.lock();
        try {
            used.put(block, new WeakReference<>(state));
        } finally {
            lock.unlock();
        }
        return state;
    }

    /**
     * Begins to copy a state to the device, beside its steps.
     *
     * @return false if it is not in a block now
     */
    boolean upload(SlotBlock state, long to) {
        lock.lock();
        try {
            if (!state.isPinned()) {
                return false;
            }
            used.get(state.memory()); // notes the use
            device.uploadAside(to, state.memory());
            return true;
        } finally {
            lock.unlock();
        }
    }

    /** Frees the block of a state that nobody uses any more; the state has no memory then. */
    void release(SlotBlock state) {
        lock.lock();
        try {
            var reference = state.isPinned() ? used.get(state.memory()) : null;
            state.move(MemorySegment.NULL, false);
            if (reference != null) {
                reference.clear();
                hasReleased = true;
                refill();
            }
        } finally {
            lock.unlock();
        }
    }

    /** A state of this layout in a block, if one is free; else as it is. */
    SavedState prepare(SavedState state) {
        var mine = state instanceof SlotBlock block && block.blocks() == this ? block : null;
        if (mine != null && isInBlock(mine)) {
            return mine;
        }
        var block = take();
        if (block == null) {
            return state;
        }
        boolean isWritten = false;
        try {
            if (state instanceof SlotBlock other && other.layout().equals(layout)) {
                other.blocks().read(other, block);
            } else {
                slotMemory.write(state.image(), block);
            }
            isWritten = true;
        } finally {
            if (!isWritten) {
                giveBack(block);
            }
        }
        return mine == null ? own(block, state.tokenCount()) : moved(mine, block);
    }

    private boolean isInBlock(SlotBlock state) {
        lock.lock();
        try {
            return state.isPinned() && used.get(state.memory()) != null;
        } finally {
            lock.unlock();
        }
    }

    private SlotBlock moved(SlotBlock state, MemorySegment block) {
        lock.lock();
        try {
            if (state.isPinned()) { // someone else was faster
                free.add(block);
            } else {
                state.move(block, true);
                used.put(block, new WeakReference<>(state));
            }
        } finally {
            lock.unlock();
        }
        return state;
    }

    /** The portable form of a state. */
    StateImage image(SlotBlock state) {
        var image = new StateImage(layout);
        var memory = beginReading(state);
        try {
            slotMemory.read(memory, image);
        } finally {
            endReading(state);
        }
        image.tokenCount(state.tokenCount());
        return image;
    }

    private void read(SlotBlock state, MemorySegment to) {
        var memory = beginReading(state);
        try {
            to.copyFrom(memory);
        } finally {
            endReading(state);
        }
    }

    private MemorySegment beginReading(SlotBlock state) {
        lock.lock();
        try {
            if (state.memory().byteSize() == 0) { // or a copy of nothing would leave in its place what was there before
                throw new IllegalStateException("released");
            }
            state.addReaders(1);
            return state.memory();
        } finally {
            lock.unlock();
        }
    }

    private void endReading(SlotBlock state) {
        lock.lock();
        try {
            state.addReaders(-1);
        } finally {
            lock.unlock();
        }
    }

    /** Lets the thread see to free blocks. Call only when holding lock. */
    private void refill() {
        boolean isEasy = hasReleased || all.size() < countMax; // more than few can be had without moving states
        boolean isNeeded = free.size() < (isEasy ? FREE_MIN : FREE_LOW);
        if (countMax > 0 && isNeeded && !isRefilling && !isClosed) {
            isRefilling = true;
            thread.execute(this::fill);
        }
    }

    private void fill() {
        boolean hasFailed = false;
        try {
            device.bind();
            boolean goesOn = true;
            while (goesOn) {
                goesOn = addDead() || addNew() || addEldest();
            }
        } catch (EngineException | OutOfMemoryError e) {
            hasFailed = e instanceof EngineException;
            LOG.log(System.Logger.Level.WARNING, "event=no_more_blocks reason=\"" + e.getMessage() + "\"", e);
        } finally {
            lock.lock();
            try {
                isRefilling = false;
                countMax = hasFailed ? 0 : countMax; // nobody is to wait for a device that failed
            } finally {
                lock.unlock();
            }
        }
    }

    /** Call only when holding lock. */
    private boolean isFull() {
        return isClosed || free.size() >= FREE_MIN;
    }

    /** Frees the blocks of states that nobody holds or that were released; returns whether there were any. */
    private boolean addDead() {
        var dead = new ArrayList<MemorySegment>();
        lock.lock();
        try {
            if (isFull()) {
                return false;
            }
            hasReleased = false;
            for (var entry : used.entrySet()) {
                if (entry.getValue().get() == null) {
                    dead.add(entry.getKey());
                }
            }
            dead.forEach(used::remove);
        } finally {
            lock.unlock();
        }
        if (!dead.isEmpty()) {
            addDrained(dead);
        }
        return !dead.isEmpty();
    }

    private void addDrained(List<MemorySegment> blocks) {
        device.recordAside(Device.Direction.UP, drainedEvent);
        device.await(drainedEvent);
        lock.lock();
        try {
            free.addAll(blocks);
        } finally {
            lock.unlock();
        }
    }

    /** Makes a block, whether it is needed yet or not: that takes longer than a state should have to wait. */
    private boolean addNew() {
        lock.lock();
        try {
            if (isClosed || all.size() >= countMax) {
                return false;
            }
        } finally {
            lock.unlock();
        }
        MemorySegment block;
        try {
            block = arena.allocate(slotMemory.bytes(), PAGE_BYTES);
            device.pin(block);
        } catch (EngineException | OutOfMemoryError e) {
            lock.lock();
            try {
                countMax = all.size();
            } finally {
                lock.unlock();
            }
            LOG.log(
                    System.Logger.Level.WARNING,
                    "event=host_memory_not_pinned blocks={0} of_bytes={1} reason=\"{2}\"",
                    Integer.toString(countMax),
                    Long.toString(slotMemory.bytes()),
                    e.getMessage());
            return true;
        }
        lock.lock();
        try {
            all.add(block);
            free.add(block);
        } finally {
            lock.unlock();
        }
        return true;
    }

    /**
     * Moves the state that was used least recently to the heap; returns false if none can be moved. Not before few
     * blocks are free: more often than not a state that is saved takes the place of another, which is released then.
     */
    private boolean addEldest() {
        @Nullable SlotBlock eldest = null;
        MemorySegment block;
        lock.lock();
        try {
            if (isClosed || free.size() >= FREE_LOW) {
                return false;
            }
            for (var reference : used.values()) {
                var state = reference.get();
                if (state != null && !state.isRead()) {
                    eldest = state;
                    break;
                }
            }
            if (eldest == null) {
                return false;
            }
            block = eldest.memory();
        } finally {
            lock.unlock();
        }
        var heap = MemorySegment.ofArray(new long[Math.toIntExact(slotMemory.bytes() / Long.BYTES)]);
        heap.copyFrom(block);
        lock.lock();
        try {
            if (eldest.isRead()) {
                return true; // it was needed meanwhile
            }
            used.remove(block);
            eldest.move(heap, false);
        } finally {
            lock.unlock();
        }
        addDrained(List.of(block));
        return true;
    }

    /** Takes the memory from the device. What states hold stays. */
    @Override
    public void close() {
        lock.lock();
        try {
            isClosed = true;
        } finally {
            lock.unlock();
        }
        thread.shutdown();
        try {
            if (!thread.awaitTermination(END_SECONDS, TimeUnit.SECONDS)) {
                thread.shutdownNow();
            }
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
        try {
            device.bind();
            device.synchronize(); // uploads too, each of which the steps wait for
        } finally { // a device that failed copies nothing any more either
            takeBack();
        }
    }

    private void takeBack() {
        lock.lock();
        try {
            all.forEach(device::unpin);
            free.clear();
        } finally {
            lock.unlock();
        }
    }
}
