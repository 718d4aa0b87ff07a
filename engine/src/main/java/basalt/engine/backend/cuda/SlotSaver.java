package basalt.engine.backend.cuda;

import basalt.engine.EngineException;
import basalt.engine.state.SavedState;
import java.lang.foreign.MemorySegment;
import java.util.Optional;
import java.util.concurrent.ArrayBlockingQueue;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.ThreadPoolExecutor;
import java.util.concurrent.TimeUnit;

/**
 * Copies states to the host while the device goes on. Between two steps the device copies the slot to a place aside,
 * which takes microseconds; from there it goes to a block of host memory beside the steps that follow. A thread of this
 * class waits for that. Bounded by the places.
 */
final class SlotSaver implements AutoCloseable {
    /** Slots of device memory that are not among those of sequences. */
    static final int PLACE_COUNT = 4;

    private static final long END_SECONDS = 30;

    private final Device device;
    private final SlotBlocks blocks;
    private final ArrayBlockingQueue<Place> free = new ArrayBlockingQueue<>(PLACE_COUNT);
    private final ThreadPoolExecutor thread = new ThreadPoolExecutor(
            1,
            1,
            0,
            TimeUnit.SECONDS,
            new LinkedBlockingQueue<>(PLACE_COUNT),
            task -> Thread.ofPlatform().daemon().name("basalt-save").unstarted(task));

    /** Device memory for one slot, and the events when it is written and when it is read. */
    private record Place(long address, int copied, int downloaded) {}

    SlotSaver(Device device, SlotBlocks blocks) {
        this.device = device;
        this.blocks = blocks;
        for (int i = 0; i < PLACE_COUNT; i++) {
            free.add(new Place(device.allocate(blocks.blockBytes()), device.createEvent(), device.createEvent()));
        }
    }

    /** Whether {@link #begin} has room for a state now, or has no memory for any. */
    boolean hasRoom() {
        return !free.isEmpty() && blocks.hasFree();
    }

    /**
     * Begins a copy. Called on the engine thread.
     *
     * @param address of the slot
     * @param tokenCount that it has consumed
     * @return empty if there is no room
     */
    Optional<CompletableFuture<SavedState>> begin(long address, long tokenCount) {
        var place = free.poll();
        if (place == null) {
            return Optional.empty();
        }
        var block = blocks.take();
        if (block == null) {
            free.add(place);
            return Optional.empty();
        }
        device.copy(place.address(), address, blocks.blockBytes());
        device.record(place.copied());
        device.holdAside(Device.Direction.DOWN, place.copied());
        device.downloadAside(block, place.address());
        device.recordAside(Device.Direction.DOWN, place.downloaded());
        var saved = new CompletableFuture<SavedState>();
        thread.execute(() -> end(place, block, tokenCount, saved));
        return Optional.of(saved);
    }

    private void end(Place place, MemorySegment block, long tokenCount, CompletableFuture<SavedState> saved) {
        try {
            device.bind();
            device.await(place.downloaded());
            free.add(place);
            saved.complete(blocks.own(block, tokenCount));
        } catch (EngineException e) {
            // The engine thread learns of it by what it asks of the device next, so it must not wait for room.
            blocks.giveBack(block);
            free.add(place);
            saved.completeExceptionally(e);
        }
    }

    /** Ends what has begun. */
    @Override
    public void close() {
        thread.shutdown();
        try {
            if (!thread.awaitTermination(END_SECONDS, TimeUnit.SECONDS)) {
                thread.shutdownNow();
            }
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
    }
}
