package basalt.engine.backend.cpu;

import basalt.engine.model.ModelConfig;
import basalt.engine.state.SavedState;
import basalt.engine.state.StateImage;
import basalt.engine.state.StateLayout;
import java.util.Optional;
import java.util.concurrent.ArrayBlockingQueue;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.ThreadPoolExecutor;
import java.util.concurrent.TimeUnit;

/**
 * Writes states into images on a thread of its own: the engine thread only copies the slot, which takes a tenth of the
 * time that the new memory of an image takes. Bounded by the slots that copies go to.
 */
final class SlotSaver implements AutoCloseable {
    private static final int SLOT_COUNT = 2;

    private final StateLayout layout;
    private final ArrayBlockingQueue<CpuSlot> free = new ArrayBlockingQueue<>(SLOT_COUNT);
    private final ThreadPoolExecutor thread = new ThreadPoolExecutor(
            1,
            1,
            0,
            TimeUnit.SECONDS,
            new LinkedBlockingQueue<>(SLOT_COUNT),
            task -> Thread.ofPlatform().daemon().name("basalt-save").unstarted(task));

    SlotSaver(ModelConfig config, StateLayout layout) {
        this.layout = layout;
        for (int i = 0; i < SLOT_COUNT; i++) {
            free.add(new CpuSlot(config));
        }
    }

    /** Begins to save a slot; empty if all copies are in use. Called on the engine thread. */
    Optional<CompletableFuture<SavedState>> begin(CpuSlot slot) {
        var copy = free.poll();
        if (copy == null) {
            return Optional.empty();
        }
        copy.copyFrom(slot);
        return Optional.of(CompletableFuture.supplyAsync(() -> written(copy), thread));
    }

    private SavedState written(CpuSlot copy) {
        try {
            var image = new StateImage(layout);
            copy.save(image);
            return image;
        } finally {
            free.add(copy);
        }
    }

    /** Takes no more; what has begun ends. */
    @Override
    public void close() {
        thread.shutdown();
    }
}
