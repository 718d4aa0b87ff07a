package basalt.engine.backend.cpu;

import static basalt.engine.backend.cpu.VectorOps.FLOATS;
import static basalt.engine.backend.cpu.VectorOps.LANES;

import basalt.engine.model.ModelConfig;
import basalt.engine.model.Weights;
import jdk.incubator.vector.FloatVector;

/** RMSNorm or LayerNorm of one row; see {@link Reference}. Immutable. */
final class Norm {
    private final float[] weight; // [d]
    private final float[] bias; // [d], zeros where there is none
    private final boolean isRms;
    private final float epsilon;

    Norm(ModelConfig config, Weights.Norm norm) {
        weight = norm.weight().toFloats();
        bias = norm.bias().isPresent() ? norm.bias().get().toFloats() : new float[weight.length];
        isRms = config.isRmsNorm();
        epsilon = config.normEpsilon();
    }

    int width() {
        return weight.length;
    }

    /** Normalises {@code width} elements of {@code from} at {@code fromAt} into {@code to} at {@code toAt}. */
    void apply(float[] from, int fromAt, float[] to, int toAt) {
        int width = weight.length;
        float mean = isRms ? 0 : VectorOps.sum(from, fromAt, width) / width;
        float squares = VectorOps.sumOfSquares(from, fromAt, width, mean);
        float scale = (float) (1 / Math.sqrt((double) squares / width + epsilon));
        int i = 0;
        for (; i + LANES <= width; i += LANES) {
            FloatVector x = FloatVector.fromArray(FLOATS, from, fromAt + i).sub(mean);
            x.mul(scale)
                    .fma(FloatVector.fromArray(FLOATS, weight, i), FloatVector.fromArray(FLOATS, bias, i))
                    .intoArray(to, toAt + i);
        }
        for (; i < width; i++) {
            to[toAt + i] = Math.fma((from[fromAt + i] - mean) * scale, weight[i], bias[i]);
        }
    }
}
