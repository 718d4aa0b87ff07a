package basalt.engine.model;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.nio.file.Path;
import org.junit.jupiter.api.Test;

class CheckpointTest {
    private static final Path BUNDLED = Path.of("../models/based-10m");

    @Test
    void bundledModelOpens() {
        try (var checkpoint = Checkpoint.open(BUNDLED)) {
            assertEquals(10_574_592, checkpoint.parameterCount());
            assertEquals(12, checkpoint.config().layerCount());
            assertEquals(0, checkpoint.config().endOfSequence());
            assertEquals(64, checkpoint.fingerprint().length());
            assertTrue(checkpoint.tokenizerFile().isPresent());
        }
    }
}
