package basalt.engine.backend.cuda;

import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import basalt.engine.model.Mixer;
import java.util.List;
import org.junit.jupiter.api.Test;

final class PairProjectionsTest {
    private static final int MULTIPROCESSORS = 132;
    private static final DeviceModel.Norm NORM = new DeviceModel.Norm(0, 0);

    /** A convolution and a window layer, with an MLP of so many hidden units. */
    private static DeviceModel model(int width, int kernelSize, int units, int attentionWidth) {
        int channels = 2 * width;
        var fc1 = linear(2 * units, width);
        var fc2 = linear(width, units);
        var convolution = new DeviceModel.Layer(
                new Mixer.Convolution(channels, kernelSize, 2 * channels, true, false),
                NORM,
                linear(2 * channels, width),
                0,
                0,
                linear(width, channels),
                NORM,
                fc1,
                fc2);
        var window = new DeviceModel.Layer(
                new Mixer.WindowAttention(16, 16, attentionWidth / 16, 128, 1, 16, 10_000, false, false, false),
                NORM,
                linear(3 * attentionWidth, width),
                0,
                0,
                linear(width, attentionWidth),
                NORM,
                fc1,
                fc2);
        return new DeviceModel(
                BenchmarkModels.small(), 0, 0, 0, 0, List.of(convolution, window), NORM, linear(width, width), 0);
    }

    private static DeviceModel.Linear linear(int rows, int depth) {
        return new DeviceModel.Linear(0, 0, rows, depth);
    }

    private static boolean fits(int multiprocessorCount, DeviceModel model) {
        return PairProjections.fits(multiprocessorCount, model);
    }

    @Test
    void modelsOfAllSizesFit() {
        for (int width : new int[] {256, 512, 1024, 1792}) {
            assertTrue(fits(MULTIPROCESSORS, model(width, 3, 2 * width, width)), "width " + width);
        }
    }

    @Test
    void otherConvolutionsDoNot() {
        assertFalse(fits(MULTIPROCESSORS, model(1024, 4, 2048, 1024)));
    }

    @Test
    void unitsThatBlocksCannotShareDoNot() {
        assertFalse(fits(MULTIPROCESSORS, model(1024, 3, 2056, 1024)));
        assertFalse(fits(MULTIPROCESSORS, model(64, 3, 128, 64)));
    }

    @Test
    void moreBlocksThanRunSideBySideDoNot() {
        assertTrue(fits(112, model(1792, 3, 3584, 1792)));
        assertFalse(fits(111, model(1792, 3, 3584, 1792)));
    }

    @Test
    void attentionWiderThanTheModelDoesNot() {
        assertFalse(fits(MULTIPROCESSORS, model(1024, 3, 2048, 1280)));
    }
}
