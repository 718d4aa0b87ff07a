package basalt.engine.backend.cuda;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import basalt.engine.model.Checkpoint;
import basalt.engine.model.ElementType;
import basalt.engine.model.Golden;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Test;

/** The sampling kernels, emulated on the CPU, against the CPU backend: the same seeds draw the same tokens. */
final class CudaSamplingTest {
    @Test
    void everyFilterDrawsTheCpusTokens() {
        assumeTrue(EmulatedDevice.library(ElementType.F32).isPresent(), "the kernels were not compiled for emulation");
        var failures = new ArrayList<String>();

        try (var checkpoint = Checkpoint.open(Golden.open("g05_fla").directory())) {
            var rules = new GpuRules(checkpoint, EmulatedDevice::new, (name, value) -> {
                if (!value.toString().startsWith("ok")) {
                    failures.add(name + ": " + value);
                }
            });
            rules.drawsAreTheCpus(2, 12);
        }

        assertEquals(List.of(), failures);
    }
}
