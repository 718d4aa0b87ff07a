package basalt.engine.backend.cuda;

import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import basalt.engine.backend.cuda.EmulatedStreams.Order;
import basalt.engine.backend.cuda.EmulatedStreams.Wait;
import basalt.engine.model.ElementType;
import java.util.Set;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.opentest4j.AssertionFailedError;

/** The emulation shows what a GPU may do once in a thousand times. */
final class EmulatedStreamsTest {
    @ParameterizedTest
    @CsvSource({
        "STEPS_FIRST, STEPS_FOR_COPIES",
        "LATE, STEPS_FOR_COPIES",
        "COPIES_FIRST, UPLOADS_FOR_STEPS",
        "COPIES_FIRST, DOWNLOADS_FOR_STEPS",
        "STEPS_FIRST, HOST",
        "LATE, HOST"
    })
    void aMissingWaitIsSeen(Order order, Wait wait) {
        assumeTrue(EmulatedDevice.library(ElementType.F32).isPresent(), "the kernels were not compiled for emulation");
        var device = new EmulatedDevice(ElementType.F32, new EmulatedStreams(order, Set.of(wait)));

        assertThrows(AssertionFailedError.class, () -> CudaSaveTest.run(device, 1 << 24, CudaSaveTest::moveAllStates));
    }
}
