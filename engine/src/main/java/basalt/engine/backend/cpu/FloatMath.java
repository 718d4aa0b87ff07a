package basalt.engine.backend.cpu;

/**
 * exp, log and the Gumbel transform in f32, as fixed sequences of IEEE operations and fused multiply-adds. Vector and
 * GPU code repeat them operation by operation and get the same bits, so that a draw is the same on every backend.
 *
 * <p>Polynomials: Cephes, expf and logf (S. Moshier); error below 2 units in the last place over the ranges used.
 */
final class FloatMath {
    static final float LOG2_E = 1.442695f;
    static final float LN2_HIGH = 0.6933594f;
    static final float LN2_LOW = -0.00021219444f;
    /** Adding and subtracting it rounds to an integer. */
    static final float ROUNDER = 12_582_912f;
    /** exp is 0 below: the smallest argument whose result is a normal number. */
    static final float EXP_MIN = -87.33654f;

    static final float EXP_MAX = 88.37626f;

    /** Bits of √½: log's argument is split into m · 2^e with m in [√½, √2). */
    static final int SQRT_HALF_BITS = 0x3f3504f3;

    static final float[] EXP_COEFFICIENTS = {
        0.00019875691f, 0.0013981999f, 0.008333452f, 0.041665796f, 0.16666666f, 0.5f
    };
    static final float[] LOG_COEFFICIENTS = {
        0.070376836f,
        -0.1151461f,
        0.116769984f,
        -0.12420141f,
        0.14249323f,
        -0.16668057f,
        0.20000714f,
        -0.24999994f,
        0.3333333f
    };

    /** Below 1 by one unit in the last place: the largest uniform number. */
    static final float UNIFORM_MAX = 0x1.fffffep-1f;

    private FloatMath() {}

    /** e^x; 0 below {@link #EXP_MIN}, e^{@link #EXP_MAX} above that. */
    static float exp(float x) {
        if (x < EXP_MIN) {
            return 0;
        }
        float bounded = Math.min(x, EXP_MAX);
        float n = Math.fma(bounded, LOG2_E, ROUNDER) - ROUNDER;
        float r = Math.fma(-n, LN2_HIGH, bounded);
        r = Math.fma(-n, LN2_LOW, r);
        float y = EXP_COEFFICIENTS[0];
        for (int i = 1; i < EXP_COEFFICIENTS.length; i++) {
            y = Math.fma(y, r, EXP_COEFFICIENTS[i]);
        }
        y = Math.fma(y, r * r, r) + 1;
        return Float.intBitsToFloat(Float.floatToRawIntBits(y) + ((int) n << 23));
    }

    /** Natural logarithm of a positive normal number. */
    static float log(float x) {
        int bits = Float.floatToRawIntBits(x);
        int e = (bits - SQRT_HALF_BITS) >> 23;
        float f = Float.intBitsToFloat(bits - (e << 23)) - 1;
        float z = f * f;
        float y = LOG_COEFFICIENTS[0];
        for (int i = 1; i < LOG_COEFFICIENTS.length; i++) {
            y = Math.fma(y, f, LOG_COEFFICIENTS[i]);
        }
        y = y * f * z;
        y = Math.fma(e, LN2_LOW, y);
        y = Math.fma(-0.5f, z, y);
        return Math.fma(e, LN2_HIGH, f + y);
    }

    /**
     * The Gumbel variate -log(-log(1 - v)) of a random word, v = (word + ½) · 2⁻³² as an f32. Large variates, which
     * win, come from small v, where an f32 is finest: the largest is 22.9.
     */
    static float gumbel(int word) {
        float v = Math.fma((float) (word >>> 8), 0x1p-24f, 0x1p-33f);
        v = Math.min(Math.fma((float) (word & 0xff), 0x1p-32f, v), UNIFORM_MAX);
        // -log(1 - v) by Kahan's correction for the rounding of 1 - v.
        float u = 1 - v;
        float d = 1 - u;
        float exponential = d == 0 ? v : -log(u) * (v / d);
        return -log(exponential);
    }
}
