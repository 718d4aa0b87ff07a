package basalt.engine.backend.cpu;

import basalt.engine.model.ModelConfig.Activation;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.IntVector;
import jdk.incubator.vector.LongVector;
import jdk.incubator.vector.VectorMask;
import jdk.incubator.vector.VectorOperators;
import jdk.incubator.vector.VectorSpecies;

/**
 * Element-wise functions and sums on vectors. Functions repeat {@link FloatMath} operation by operation; sums keep one
 * partial sum a lane and add the lanes in order, never by an unspecified reduction.
 */
final class VectorOps {
    /** The widest vectors of this machine. */
    static final VectorSpecies<Float> FLOATS = FloatVector.SPECIES_PREFERRED;

    static final VectorSpecies<Integer> INTS = IntVector.SPECIES_PREFERRED;
    /** Lanes of one vector. */
    static final int LANES = FLOATS.length();

    private static final long LOW = 0xffffffffL;

    private VectorOps() {}

    /** The least multiple of {@link #LANES} that is not below a length. */
    static int padded(int length) {
        return (length + LANES - 1) / LANES * LANES;
    }

    /** {@link FloatMath#exp} of each lane. */
    static FloatVector exp(FloatVector x) {
        FloatVector bounded = x.min(FloatMath.EXP_MAX);
        FloatVector n = bounded.fma(broadcast(FloatMath.LOG2_E), broadcast(FloatMath.ROUNDER))
                .sub(FloatMath.ROUNDER);
        FloatVector r = n.neg().fma(broadcast(FloatMath.LN2_HIGH), bounded);
        r = n.neg().fma(broadcast(FloatMath.LN2_LOW), r);
        FloatVector y = broadcast(FloatMath.EXP_COEFFICIENTS[0]);
        y = y.fma(r, broadcast(FloatMath.EXP_COEFFICIENTS[1]));
        y = y.fma(r, broadcast(FloatMath.EXP_COEFFICIENTS[2]));
        y = y.fma(r, broadcast(FloatMath.EXP_COEFFICIENTS[3]));
        y = y.fma(r, broadcast(FloatMath.EXP_COEFFICIENTS[4]));
        y = y.fma(r, broadcast(FloatMath.EXP_COEFFICIENTS[5]));
        y = y.fma(r.mul(r), r).add(1);
        IntVector exponent = ((IntVector) n.convert(VectorOperators.F2I, 0)).lanewise(VectorOperators.LSHL, 23);
        FloatVector scaled = y.reinterpretAsInts().add(exponent).reinterpretAsFloats();
        VectorMask<Float> isTiny = x.compare(VectorOperators.LT, FloatMath.EXP_MIN);
        return scaled.blend(0, isTiny);
    }

    /** {@link FloatMath#log} of each lane. */
    static FloatVector log(FloatVector x) {
        IntVector bits = x.reinterpretAsInts();
        IntVector e = bits.sub(FloatMath.SQRT_HALF_BITS).lanewise(VectorOperators.ASHR, 23);
        FloatVector f = bits.sub(e.lanewise(VectorOperators.LSHL, 23))
                .reinterpretAsFloats()
                .sub(1);
        FloatVector exponent = (FloatVector) e.convert(VectorOperators.I2F, 0);
        FloatVector z = f.mul(f);
        FloatVector y = broadcast(FloatMath.LOG_COEFFICIENTS[0]);
        y = y.fma(f, broadcast(FloatMath.LOG_COEFFICIENTS[1]));
        y = y.fma(f, broadcast(FloatMath.LOG_COEFFICIENTS[2]));
        y = y.fma(f, broadcast(FloatMath.LOG_COEFFICIENTS[3]));
        y = y.fma(f, broadcast(FloatMath.LOG_COEFFICIENTS[4]));
        y = y.fma(f, broadcast(FloatMath.LOG_COEFFICIENTS[5]));
        y = y.fma(f, broadcast(FloatMath.LOG_COEFFICIENTS[6]));
        y = y.fma(f, broadcast(FloatMath.LOG_COEFFICIENTS[7]));
        y = y.fma(f, broadcast(FloatMath.LOG_COEFFICIENTS[8]));
        y = y.mul(f).mul(z);
        y = exponent.fma(broadcast(FloatMath.LN2_LOW), y);
        y = z.fma(broadcast(-0.5f), y);
        return exponent.fma(broadcast(FloatMath.LN2_HIGH), f.add(y));
    }

    /**
     * The exponential variate whose negative logarithm is {@link FloatMath#gumbel} of each lane. That logarithm is left
     * to another method: C2 takes no two of them into one, and what it calls instead gets and gives vectors as objects.
     */
    static FloatVector exponential(IntVector words) {
        FloatVector high = (FloatVector) words.lanewise(VectorOperators.LSHR, 8).convert(VectorOperators.I2F, 0);
        FloatVector low = (FloatVector) words.and(0xff).convert(VectorOperators.I2F, 0);
        FloatVector v = high.fma(broadcast(0x1p-24f), broadcast(0x1p-33f));
        v = low.fma(broadcast(0x1p-32f), v).min(FloatMath.UNIFORM_MAX);
        FloatVector u = broadcast(1).sub(v);
        FloatVector d = broadcast(1).sub(u);
        VectorMask<Float> isExact = d.compare(VectorOperators.EQ, 0);
        return log(u).neg().mul(v.div(d)).blend(v, isExact);
    }

    /** Upper halves of the 64-bit products of unsigned lanes by an unsigned 32-bit factor. */
    static IntVector multiplyHigh(IntVector x, int factor) {
        LongVector both = x.reinterpretAsLongs();
        LongVector even = both.and(LOW).mul(factor & LOW).lanewise(VectorOperators.LSHR, 32);
        LongVector odd =
                both.lanewise(VectorOperators.LSHR, 32).mul(factor & LOW).and(~LOW);
        return even.or(odd).reinterpretAsInts();
    }

    /** {@code value · activation(gate)}. */
    static FloatVector gated(Activation activation, FloatVector value, FloatVector gate) {
        return switch (activation) {
            case SILU -> value.mul(silu(gate));
            case SIGMOID -> value.div(exp(gate.neg()).add(1));
            case GELU -> value.mul(gelu(gate));
        };
    }

    /** {@code x / (1 + e^-x)}. */
    static FloatVector silu(FloatVector x) {
        return x.div(exp(x.neg()).add(1));
    }

    private static FloatVector gelu(FloatVector x) {
        float[] lanes = x.toArray();
        for (int i = 0; i < lanes.length; i++) {
            lanes[i] = (float) Reference.activation(Activation.GELU, lanes[i]);
        }
        return FloatVector.fromArray(FLOATS, lanes, 0);
    }

    /** {@code Σ (x_i - mean)²} of {@code length} elements. */
    static float sumOfSquares(float[] x, int start, int length, float mean) {
        FloatVector sum = broadcast(0);
        int i = 0;
        for (; i + LANES <= length; i += LANES) {
            FloatVector v = FloatVector.fromArray(FLOATS, x, start + i).sub(mean);
            sum = v.fma(v, sum);
        }
        float total = sumLanes(sum);
        for (; i < length; i++) {
            float v = x[start + i] - mean;
            total = Math.fma(v, v, total);
        }
        return total;
    }

    /** {@code Σ x_i}. */
    static float sum(float[] x, int start, int length) {
        FloatVector sum = broadcast(0);
        int i = 0;
        for (; i + LANES <= length; i += LANES) {
            sum = sum.add(FloatVector.fromArray(FLOATS, x, start + i));
        }
        float total = sumLanes(sum);
        for (; i < length; i++) {
            total += x[start + i];
        }
        return total;
    }

    /** {@code Σ e^(x_i - max)}. */
    static float sumOfExp(float[] x, int start, int length, float max) {
        FloatVector sum = broadcast(0);
        int i = 0;
        for (; i + LANES <= length; i += LANES) {
            sum = sum.add(exp(FloatVector.fromArray(FLOATS, x, start + i).sub(max)));
        }
        float total = sumLanes(sum);
        for (; i < length; i++) {
            total += FloatMath.exp(x[start + i] - max);
        }
        return total;
    }

    /** The largest element. */
    static float max(float[] x, int start, int length) {
        FloatVector max = broadcast(Float.NEGATIVE_INFINITY);
        int i = 0;
        for (; i + LANES <= length; i += LANES) {
            max = max.max(FloatVector.fromArray(FLOATS, x, start + i));
        }
        float largest = max.reduceLanes(VectorOperators.MAX);
        for (; i < length; i++) {
            largest = Math.max(largest, x[start + i]);
        }
        return largest;
    }

    /** Sum of the lanes, pairwise: ((0+1)+(2+3))+((4+5)+(6+7)) and so on. */
    static float sumLanes(FloatVector vector) {
        float sum = 0;
        for (int i = 0; i < LANES; i += 4) {
            sum += (vector.lane(i) + vector.lane(i + 1)) + (vector.lane(i + 2) + vector.lane(i + 3));
        }
        return sum;
    }

    static FloatVector broadcast(float value) {
        return FloatVector.broadcast(FLOATS, value);
    }
}
