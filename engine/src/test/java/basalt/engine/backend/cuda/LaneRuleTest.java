package basalt.engine.backend.cuda;

import static org.junit.jupiter.api.Assertions.assertEquals;

import basalt.engine.model.Mixer;
import java.util.Collections;
import org.junit.jupiter.api.Test;

final class LaneRuleTest {
    private static final int TOKENS_MAX = 128;
    private static final long CACHE_BYTES = 50L << 20;
    private static final Lane.Rule NONE_OF_DECODING = new Lane.Rule(0, 0, Lane.PROMPT_TOKENS_MIN);

    /** A model of convolutions, with an MLP as wide as its channels. */
    private static DeviceModel model(int width, int kernelSize) {
        int channels = 2 * width;
        var norm = new DeviceModel.Norm(0, 0);
        var up = new DeviceModel.Linear(0, 0, 2 * channels, width);
        var down = new DeviceModel.Linear(0, 0, width, channels);
        var mixer = new Mixer.Convolution(channels, kernelSize, 2 * channels, true, false);
        var layer = new DeviceModel.Layer(mixer, norm, up, 0, 0, down, norm, up, down);
        return new DeviceModel(BenchmarkModels.small(), 0, 0, 0, 0, Collections.nCopies(2, layer), norm, down, 0);
    }

    private static Lane.Rule rule(int multiprocessorCount, DeviceModel model, int tokensMax) {
        return BatchProjections.laneRule(multiprocessorCount, CACHE_BYTES, model, tokensMax);
    }

    @Test
    void smallLayersHaveTwoLanes() {
        assertEquals(new Lane.Rule(129, 256, Lane.PROMPT_TOKENS_MIN), rule(132, model(1024, 3), TOKENS_MAX));
    }

    @Test
    void layersLargerThanTheCacheHaveOne() {
        assertEquals(NONE_OF_DECODING, rule(132, model(1792, 3), TOKENS_MAX));
    }

    @Test
    void whereHalfOfTheMultiprocessorsCannotSplitThereIsOne() {
        assertEquals(NONE_OF_DECODING, rule(60, model(1024, 3), TOKENS_MAX));
    }

    @Test
    void otherConvolutionsAndOtherKernelsHaveOne() {
        assertEquals(NONE_OF_DECODING, rule(132, model(1024, 4), TOKENS_MAX));
        assertEquals(NONE_OF_DECODING, rule(132, model(1024, 3), 0));
    }
}
