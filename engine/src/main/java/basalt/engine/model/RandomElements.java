package basalt.engine.model;

import java.nio.ByteBuffer;
import java.util.SplittableRandom;

/**
 * Normally distributed elements. Each picks one of {@value #TABLE_SIZE} drawn values by 16 bits of its own, so that a
 * model of billions of elements is written at the speed of the disk.
 */
final class RandomElements implements SafetensorsWriter.Elements {
    private static final int TABLE_SIZE = 1 << 16;

    private final ElementType type;
    private final float mean;
    private final float deviation;
    private final float[] normals;
    private final SplittableRandom random;
    private long word;
    private int wordUses;

    /**
     * Elements of one tensor.
     *
     * @param normals of {@link #normals}, shared by all tensors
     */
    RandomElements(ElementType type, double mean, double deviation, float[] normals, long seed) {
        this.type = type;
        this.mean = (float) mean;
        this.deviation = (float) deviation;
        this.normals = normals;
        random = new SplittableRandom(seed);
    }

    /** Draws the values to pick from, with mean 0 and deviation 1. */
    static float[] normals(long seed) {
        var random = new SplittableRandom(seed);
        var normals = new float[TABLE_SIZE];
        for (int i = 0; i < TABLE_SIZE; i++) {
            normals[i] = (float) random.nextGaussian();
        }
        return normals;
    }

    @Override
    public void fill(ByteBuffer buffer) {
        switch (type) {
            case F32 -> {
                while (buffer.hasRemaining()) {
                    buffer.putFloat(next());
                }
            }
            case F16 -> {
                while (buffer.hasRemaining()) {
                    buffer.putShort(Float.floatToFloat16(next()));
                }
            }
            case BF16 -> {
                while (buffer.hasRemaining()) {
                    int bits = Float.floatToRawIntBits(next());
                    // To nearest, ties to even; values are finite.
                    buffer.putShort((short) ((bits + 0x7FFF + (bits >>> 16 & 1)) >>> 16));
                }
            }
        }
    }

    private float next() {
        if (wordUses == 0) {
            word = random.nextLong();
            wordUses = 4;
        }
        float normal = normals[(int) word & (TABLE_SIZE - 1)];
        word >>>= 16;
        wordUses--;
        return mean + deviation * normal;
    }
}
