package basalt.engine.backend.cpu;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.SplittableRandom;
import org.junit.jupiter.api.Test;

class FloatMathTest {
    /** Two units in the last place of an f32, relative. */
    private static final double TOLERANCE = 2.4e-7;

    @Test
    void expIsCloseToTheDoubleOne() {
        var random = new SplittableRandom(1);

        for (int i = 0; i < 1_000_000; i++) {
            float x = (float) random.nextDouble(-87, 88);
            double expected = Math.exp(x);
            assertEquals(expected, FloatMath.exp(x), expected * TOLERANCE, () -> "exp(" + x + ")");
        }
    }

    @Test
    void expOfVerySmallIsZeroAndOfZeroIsOne() {
        assertEquals(0, FloatMath.exp(-100));
        assertEquals(0, FloatMath.exp(Float.NEGATIVE_INFINITY));
        assertEquals(1, FloatMath.exp(0));
    }

    @Test
    void logIsCloseToTheDoubleOne() {
        var random = new SplittableRandom(2);

        for (int i = 0; i < 1_000_000; i++) {
            float x = (float) Math.exp(random.nextDouble(-23, 5));
            double expected = Math.log(x);
            assertEquals(expected, FloatMath.log(x), Math.abs(expected) * TOLERANCE + 6e-8, () -> "log(" + x + ")");
        }
    }

    @Test
    void gumbelIsCloseToTheDoubleOneAndFinite() {
        var random = new SplittableRandom(3);

        for (int i = 0; i < 1_000_000; i++) {
            int word = random.nextInt() >>> random.nextInt(32);
            double v = (Integer.toUnsignedLong(word) + 0.5) * 0x1p-32;
            double expected = -Math.log(-Math.log1p(-v));
            float actual = FloatMath.gumbel(word);
            assertTrue(Float.isFinite(actual), () -> "gumbel(" + word + ")");
            // Near v = 1 the f32 is coarse, but such small variates never win.
            assertEquals(expected, actual, v > 0.999 ? 0.5 : 2e-6 * Math.max(1, Math.abs(expected)), () -> "v " + v);
        }
    }

    @Test
    void philoxMatchesThePublishedVectors() {
        // Known answers of the Random123 distribution, philox4x32 10, counter and key all zero.
        assertEquals(0x6627e8d5, Philox.word(0, 0, 0, 0));
        assertEquals(0xe169c58d, Philox.word(0, 0, 0, 1));
        assertEquals(0xbc57ac4c, Philox.word(0, 0, 0, 2));
        assertEquals(0x9b00dbd8, Philox.word(0, 0, 0, 3));
    }
}
