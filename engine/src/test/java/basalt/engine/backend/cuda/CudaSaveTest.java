package basalt.engine.backend.cuda;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import basalt.engine.backend.Batch;
import basalt.engine.backend.StepResult;
import basalt.engine.model.Checkpoint;
import basalt.engine.model.ElementType;
import basalt.engine.model.Golden;
import basalt.engine.state.StateImage;
import java.util.ArrayList;
import java.util.concurrent.CompletableFuture;
import org.junit.jupiter.api.Test;

/** States on their way from an emulated device, whose slots are overwritten meanwhile. */
final class CudaSaveTest {
    private static final int SLOTS = 8; // more than copies on their way at most
    private static final int TOKENS_MAX = 64;

    @Test
    void stateIsThatOfTheMomentWhenItsSaveBegan() {
        assumeTrue(EmulatedDevice.library(ElementType.F32).isPresent(), "the kernels were not compiled for emulation");
        var options = new CudaBackend.Options(SLOTS, SLOTS, TOKENS_MAX, true, ElementType.F32);

        try (var checkpoint = Checkpoint.open(Golden.open("g05_fla").directory());
                var backend = CudaBackend.open(
                        new EmulatedDevice(ElementType.F32), checkpoint.config(), checkpoint.weights(), options)) {
            var batch = new Batch(SLOTS, TOKENS_MAX);
            for (int slot = 0; slot < SLOTS; slot++) {
                backend.zero(slot);
                batch.add(slot, new int[] {1 + slot, 2, 3, 4, 5}, 0, 3 + slot % 3, false);
            }
            backend.enqueue(batch);
            backend.await(new StepResult(SLOTS, TOKENS_MAX));
            var expected = new ArrayList<StateImage>();
            for (int slot = 0; slot < SLOTS; slot++) {
                var image = new StateImage(backend.layout());
                backend.save(slot, image);
                expected.add(image);
            }

            var saved = new ArrayList<CompletableFuture<StateImage>>();
            for (int slot = 0; slot < SLOTS; slot++) {
                saved.add(backend.beginSave(slot));
                backend.zero(slot);
            }

            for (int slot = 0; slot < SLOTS; slot++) {
                var image = saved.get(slot).join();
                assertEquals(3 + slot % 3, image.tokenCount());
                for (int i = 0; i < backend.layout().tensors().size(); i++) {
                    assertArrayEquals(expected.get(slot).tensor(i), image.tensor(i), "slot " + slot + ", tensor " + i);
                }
            }
        }
    }
}
