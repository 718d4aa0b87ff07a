package basalt.server.api;

import static org.junit.jupiter.api.Assertions.assertEquals;

import basalt.engine.backend.fake.FakeBackend;
import basalt.engine.model.ModelConfig;
import org.junit.jupiter.api.Test;

class EqualTransformerTest {
    private static final int WIDTH = 256;
    private static final int VOCAB = 8_192;

    private static ModelConfig config(boolean isHeadTied) {
        ModelConfig any = FakeBackend.modelConfig(VOCAB, 0, -1);
        return new ModelConfig(
                VOCAB, VOCAB, WIDTH, any.mixers(), any.mlp(), true, any.normEpsilon(), isHeadTied, false, 0, -1);
    }

    @Test
    void hasAsManyWeightsAsTheModel() {
        long embedding = (long) VOCAB * WIDTH;
        long layer = 12L * WIDTH * WIDTH;

        assertEquals(new EqualTransformer(5, 5_120), EqualTransformer.of(config(true), embedding + 5 * layer));
        assertEquals(new EqualTransformer(4, 4_096), EqualTransformer.of(config(false), 2 * embedding + 4 * layer));
    }

    @Test
    void hasOneLayerAtLeast() {
        assertEquals(1, EqualTransformer.of(config(true), 1_000).layerCount());
    }
}
