package basalt.engine.backend.cuda;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import basalt.engine.model.Checkpoint;
import basalt.engine.model.ElementType;
import basalt.engine.model.Golden;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Test;

/** The rules of sessions on the kernels, emulated on the CPU. */
final class CudaSessionsTest {
    @Test
    void sessionsGoOnAsTheUninterruptedText() {
        assumeTrue(EmulatedDevice.library(ElementType.F32).isPresent(), "the kernels were not compiled for emulation");
        var failures = new ArrayList<String>();

        try (var checkpoint = Checkpoint.open(Golden.open("g05_fla").directory())) {
            new GpuSessions(checkpoint, ElementType.F32, 40, EmulatedDevice::new, (name, value) -> {
                        if (!value.toString().startsWith("ok")) {
                            failures.add(name + ": " + value);
                        }
                    })
                    .run();
        }

        assertEquals(List.of(), failures);
    }
}
