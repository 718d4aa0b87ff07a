package basalt.engine.backend.cuda;

import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import basalt.engine.model.ElementType;
import basalt.engine.model.Golden;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** The kernels, emulated on the CPU, against the goldens. */
final class CudaGoldenTest {
    record Case(String golden, ElementType type, boolean isDeterministic) {}

    /** All goldens in f32, which is fast; in bf16 the one whose shapes take the tensor-core kernels. */
    static List<Case> cases() {
        var cases = new ArrayList<Case>();
        for (String golden : Golden.NAMES) {
            cases.add(new Case(golden, ElementType.F32, false));
        }
        cases.add(new Case("p3_bf16_wide_head", ElementType.BF16, false));
        cases.add(new Case("p3_bf16_wide_head", ElementType.BF16, true));
        return cases;
    }

    @ParameterizedTest
    @MethodSource("cases")
    void logitsAreTheGoldens(Case c) {
        assumeTrue(EmulatedDevice.library(c.type()).isPresent(), "the kernels were not compiled for emulation");

        var errors = Goldens.errors(c.golden(), c.type(), c.isDeterministic(), EmulatedDevice::new);

        boolean isF32 = c.type() == ElementType.F32;
        assertTrue(
                errors.areWithin(
                        isF32 ? Goldens.F32_ERROR_MAX : Goldens.BF16_ERROR_MEAN_MAX,
                        isF32 ? Goldens.F32_ERROR_MAX : Goldens.BF16_ERROR_MAX),
                errors::toString);
    }
}
