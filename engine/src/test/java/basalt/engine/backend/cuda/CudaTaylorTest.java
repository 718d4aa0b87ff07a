package basalt.engine.backend.cuda;

import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import basalt.engine.model.ElementType;
import org.junit.jupiter.api.Test;

/** Taylor attention over more tokens than the goldens have, so that prompts are of several chunks; emulated. */
final class CudaTaylorTest {
    private static final int TOKENS = 2_300; // read in two pieces: from the beginning, and from within a block

    @Test
    void chunksAreAsExactAsSingleTokens() {
        assumeTrue(EmulatedDevice.library(ElementType.BF16).isPresent(), "the kernels were not compiled for emulation");
        var taylor = new LongTaylor(new EmulatedDevice(ElementType.BF16), TOKENS, 1);

        double error = taylor.errorByChunks();

        assertTrue(error <= LongTaylor.ERROR_MAX, () -> "error " + error);
    }
}
