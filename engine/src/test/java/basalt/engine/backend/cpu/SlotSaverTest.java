package basalt.engine.backend.cpu;

import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertThrows;

import basalt.engine.model.ElementType;
import basalt.engine.state.StateLayout;
import java.util.List;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;

class SlotSaverTest {
    /** Whoever waits for it learns of it, and the copy that it was made from is free again, however often. */
    @Test
    void imageWithoutMemoryFails() {
        var config = TestConfigs.plain();
        var huge = new StateLayout.StateTensor(
                0, StateLayout.Role.TAYLOR_SUMS, ElementType.F32, List.of(Integer.MAX_VALUE));
        try (var saver = new SlotSaver(config, new StateLayout(List.of(huge), huge.bytes()))) {
            for (int i = 0; i < 5; i++) {
                var image = saver.begin(new CpuSlot(config)).orElseThrow();

                var failure = assertThrows(ExecutionException.class, () -> image.get(1, TimeUnit.MINUTES));
                assertInstanceOf(OutOfMemoryError.class, failure.getCause());
            }
        }
    }
}
