package basalt.engine.backend.cpu;

import static basalt.engine.backend.cpu.VectorOps.FLOATS;
import static basalt.engine.backend.cpu.VectorOps.LANES;

import basalt.engine.Checks;
import jdk.incubator.vector.FloatVector;

/**
 * Rows of a state array and their weighted sums: what reading and folding of states, scores and values come down to.
 *
 * @param data f32 [rows, stride]
 * @param stride elements from one row to the next
 * @param width elements of a row that take part, whole vectors
 */
record Rows(float[] data, int stride, int width) {
    /** Vectors that one pass over the rows sums: enough to hide most of the latency of the multiply-add. */
    private static final int PASS = 4 * LANES;

    Rows {
        Checks.argument(width % LANES == 0 && width <= stride, "width", width);
    }

    /**
     * {@code y_i += Σ_r coefficient_r · row_r,i} with r ascending, by fused multiply-add.
     *
     * @param at where row 0 starts
     * @param count rows
     */
    void addTo(float[] y, int yAt, float[] coefficients, int coefficientsAt, int at, int count) {
        int i = 0;
        for (; i + PASS <= width; i += PASS) {
            addPass(y, yAt + i, coefficients, coefficientsAt, at + i, count);
        }
        for (; i < width; i += LANES) {
            addVector(y, yAt + i, coefficients, coefficientsAt, at + i, count);
        }
    }

    private void addPass(float[] y, int yAt, float[] coefficients, int coefficientsAt, int at, int count) {
        float[] rows = data;
        FloatVector y0 = FloatVector.fromArray(FLOATS, y, yAt);
        FloatVector y1 = FloatVector.fromArray(FLOATS, y, yAt + LANES);
        FloatVector y2 = FloatVector.fromArray(FLOATS, y, yAt + 2 * LANES);
        FloatVector y3 = FloatVector.fromArray(FLOATS, y, yAt + 3 * LANES);
        int row = at;
        for (int r = 0; r < count; r++, row += stride) {
            FloatVector coefficient = FloatVector.broadcast(FLOATS, coefficients[coefficientsAt + r]);
            y0 = FloatVector.fromArray(FLOATS, rows, row).fma(coefficient, y0);
            y1 = FloatVector.fromArray(FLOATS, rows, row + LANES).fma(coefficient, y1);
            y2 = FloatVector.fromArray(FLOATS, rows, row + 2 * LANES).fma(coefficient, y2);
            y3 = FloatVector.fromArray(FLOATS, rows, row + 3 * LANES).fma(coefficient, y3);
        }
        y0.intoArray(y, yAt);
        y1.intoArray(y, yAt + LANES);
        y2.intoArray(y, yAt + 2 * LANES);
        y3.intoArray(y, yAt + 3 * LANES);
    }

    private void addVector(float[] y, int yAt, float[] coefficients, int coefficientsAt, int at, int count) {
        float[] rows = data;
        FloatVector sum = FloatVector.fromArray(FLOATS, y, yAt);
        int row = at;
        for (int r = 0; r < count; r++, row += stride) {
            FloatVector coefficient = FloatVector.broadcast(FLOATS, coefficients[coefficientsAt + r]);
            sum = FloatVector.fromArray(FLOATS, rows, row).fma(coefficient, sum);
        }
        sum.intoArray(y, yAt);
    }
}
