package basalt.engine.backend.cuda;

import java.util.SplittableRandom;

/** Kinds of logits that are hard on filters which find the last id they leave by histograms. */
enum DrawLogits {
    /** As of a model. */
    SPREAD,
    /** As of a model in few bits: many equal ones everywhere. */
    COARSE,
    /** All equal. */
    EQUAL,
    /** All within the width of a bin at a temperature of 1, nearly all different. */
    ONE_BIN,
    /** Different in the last bits alone; subnormal around 0. */
    LAST_BITS,
    /** At the borders of bins, and one unit in the last place to either side. */
    BIN_BORDERS,
    /** Half of them beyond the last bin, among these many equal ones. */
    BEYOND_BINS,
    /** One far above the rest. */
    SPIKE,
    /** One in fifty is finite. */
    FEW_FINITE,
    /** All but one are -infinity. */
    ONE_FINITE,
    /** Zeros of both signs, and the smallest numbers. */
    ZEROS,
    /** Far below 0. */
    LOW,
    /** So large that differences and quotients overflow. */
    HUGE,
    /** Two values, of which the lower is in the last bin. */
    TWO_VALUES,
    /** So large that Gumbel variates are rounded away, and scores are equal. */
    ROUNDED_SCORES;

    private static final float[] BASES = {0, 0, 1, -7.25f, 40};
    private static final float[] SMALLEST = {
        0, -0f, 0, -0f, Float.MIN_VALUE, -Float.MIN_VALUE, Float.MIN_NORMAL, -Float.MIN_NORMAL, 1e-40f, -1e-40f
    };

    /** So many logits. */
    float[] make(int count, SplittableRandom random) {
        float base = BASES[random.nextInt(BASES.length)];
        var logits = new float[count];
        for (int id = 0; id < count; id++) {
            logits[id] = make(base, random);
        }
        int chosen = random.nextInt(count);
        if (this == SPIKE) {
            logits[chosen] += 80;
        } else if (this == FEW_FINITE || this == ONE_FINITE) {
            logits[chosen] = base;
        } else if (this == BEYOND_BINS) {
            logits[chosen] = 0;
        }
        return logits;
    }

    private float make(float base, SplittableRandom random) {
        float gaussian = (float) (3 * random.nextGaussian());
        return switch (this) {
            case SPREAD, SPIKE -> gaussian;
            case COARSE -> Math.round(4 * gaussian) / 4f;
            case EQUAL -> base;
            case ONE_BIN -> base + random.nextInt(1 << 16) * 0x1p-23f;
            case LAST_BITS -> Float.intBitsToFloat(Float.floatToRawIntBits(base) + random.nextInt(2_000));
            case BIN_BORDERS -> {
                float border = 8.5f - random.nextInt(2_100) / 64f;
                yield switch (random.nextInt(3)) {
                    case 0 -> Math.nextDown(border);
                    case 1 -> Math.nextUp(border);
                    default -> border;
                };
            }
            case BEYOND_BINS ->
                random.nextBoolean() ? -32.5f - random.nextInt(40) / 4f : -30 - (float) random.nextDouble(2.2);
            case FEW_FINITE -> random.nextInt(50) == 0 ? gaussian : Float.NEGATIVE_INFINITY;
            case ONE_FINITE -> Float.NEGATIVE_INFINITY;
            case ZEROS -> SMALLEST[random.nextInt(SMALLEST.length)];
            case LOW -> -1_000 + gaussian;
            case HUGE -> random.nextInt(4) == 0 ? gaussian : 1e37f * gaussian;
            case TWO_VALUES -> random.nextBoolean() ? 5 : -40;
            case ROUNDED_SCORES -> 3e7f + 2 * random.nextInt(4);
        };
    }

    /**
     * Equal logits between higher and lower ones, each of these far from all others, but not so far that it
     * would never be drawn, in any order.
     *
     * @param higherCount how many are higher
     * @param equalCount how many are equal
     */
    static float[] ties(int count, int higherCount, int equalCount, SplittableRandom random) {
        var logits = new float[count];
        for (int i = 0; i < count; i++) {
            if (i < higherCount) {
                logits[i] = 2 + i * 0.125f;
            } else {
                int lower = i - higherCount - equalCount;
                logits[i] = lower < 0 ? 1.5f : 1 - lower * 0.03125f;
            }
        }
        for (int i = count - 1; i > 0; i--) {
            int other = random.nextInt(i + 1);
            float logit = logits[i];
            logits[i] = logits[other];
            logits[other] = logit;
        }
        return logits;
    }
}
