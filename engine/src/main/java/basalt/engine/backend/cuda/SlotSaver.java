package basalt.engine.backend.cuda;

import basalt.engine.EngineException;
import basalt.engine.state.StateImage;
import basalt.engine.state.StateLayout;
import java.lang.foreign.MemorySegment;
import java.util.Optional;
import java.util.concurrent.ArrayBlockingQueue;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.ThreadPoolExecutor;
import java.util.concurrent.TimeUnit;

/**
 * Copies states to the host while the device goes on. The engine thread puts a copy into the stream, where it has its
 * turn between two steps; a thread of this class waits for it and converts it. Bounded by the buffers that copies go
 * to.
 */
final class SlotSaver implements AutoCloseable {
    private static final int BUFFER_COUNT = 4;
    private static final long END_SECONDS = 30;

    private final Device device;
    private final SlotMemory slotMemory;
    private final StateLayout layout;
    private final ArrayBlockingQueue<Buffer> free = new ArrayBlockingQueue<>(BUFFER_COUNT);
    private final ThreadPoolExecutor thread = new ThreadPoolExecutor(
            1,
            1,
            0,
            TimeUnit.SECONDS,
            new LinkedBlockingQueue<>(BUFFER_COUNT),
            task -> Thread.ofPlatform().daemon().name("basalt-save").unstarted(task));

    private record Buffer(MemorySegment memory, int event) {}

    SlotSaver(Device device, SlotMemory slotMemory, StateLayout layout) {
        this.device = device;
        this.slotMemory = slotMemory;
        this.layout = layout;
        for (int i = 0; i < BUFFER_COUNT; i++) {
            free.add(new Buffer(device.allocateMapped(slotMemory.bytes()), device.createEvent()));
        }
    }

    /**
     * Begins a copy. Called on the engine thread.
     *
     * @param address of the slot
     * @param tokenCount that it has consumed
     * @return empty if all buffers are in use
     */
    Optional<CompletableFuture<StateImage>> begin(long address, long tokenCount) {
        var buffer = free.poll();
        if (buffer == null) {
            return Optional.empty();
        }
        device.download(buffer.memory(), address, slotMemory.bytes());
        device.record(buffer.event());
        var image = new CompletableFuture<StateImage>();
        thread.execute(() -> end(buffer, tokenCount, image));
        return Optional.of(image);
    }

    private void end(Buffer buffer, long tokenCount, CompletableFuture<StateImage> image) {
        try {
            device.bind();
            device.await(buffer.event());
            var written = new StateImage(layout);
            slotMemory.read(buffer.memory(), written);
            written.tokenCount(tokenCount);
            free.add(buffer);
            image.complete(written);
        } catch (EngineException e) {
            image.completeExceptionally(e);
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
