package basalt.engine.backend.cpu;

import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import basalt.engine.EngineException;
import basalt.engine.model.ElementType;
import basalt.engine.model.ModelConfig;
import basalt.engine.model.Tensor;
import basalt.engine.model.Weights;
import java.lang.foreign.MemorySegment;
import java.util.List;
import java.util.Optional;
import org.junit.jupiter.api.Test;

class CpuMemoryTest {
    /** Not a byte of these can be read, so they are refused by their sizes. */
    @Test
    @SuppressWarnings("restricted") // Addresses without memory.
    void weightsThatTheHeapCannotHoldAreRefusedBeforeTheyArePacked() {
        ModelConfig config = TestConfigs.plain();
        Weights small = RandomWeights.of(config, ElementType.BF16, 1);
        int rows = Math.toIntExact(Runtime.getRuntime().maxMemory() >> 20);
        var unreadable = MemorySegment.NULL.reinterpret(rows * (2L << 19));
        var head = new Weights.Linear(
                new Tensor("head", ElementType.BF16, List.of(rows, 1 << 19), unreadable), Optional.empty());
        var weights = new Weights(small.embedding(), small.positions(), small.layers(), small.finalNorm(), head);

        var refusal = assertThrows(
                EngineException.InsufficientMemory.class, () -> CpuBackend.open(config, weights, 2, 2, 8, 2));

        assertNull(refusal.getCause()); // that would be a full heap
        assertTrue(String.valueOf(refusal.getMessage()).contains("raise it (-Xmx)"), refusal.getMessage());
    }
}
