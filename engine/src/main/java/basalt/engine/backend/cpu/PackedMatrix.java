package basalt.engine.backend.cpu;

import jdk.incubator.vector.FloatVector;

/**
 * A weight matrix repacked for products {@code y = x Wᵀ + b}: panels of {@link #PANEL} output columns, within a panel
 * one row for each input k. Each output is one lane and sums over k in ascending order by fused multiply-add, whatever
 * the number of rows of x, the vector width or the thread: its bits depend on nothing else.
 *
 * <p>bf16 stays bf16: column i and column i + LANES of a panel share an int (low half, high half), so that a shift
 * and a mask widen them. Everything else is kept as f32. Immutable.
 */
abstract sealed class PackedMatrix permits Bf16Matrix, F32Matrix {
    /** Output columns of a panel. */
    static final int PANEL = 2 * VectorOps.LANES;

    /** Panels that one task takes at least, so that one row of x keeps enough sums in flight. */
    static final int PANEL_GROUP = 4;

    final int inputWidth; // K
    final int panelCount;
    final float[] bias; // [panelCount · PANEL], or empty

    PackedMatrix(int inputWidth, int panelCount, float[] bias) {
        this.inputWidth = inputWidth;
        this.panelCount = panelCount;
        this.bias = bias;
    }

    /** What a product reads and writes. */
    static final class Operands {
        final float[] x; // [rows, xStride]
        final int xStride;
        final float[] y; // [rows, yStride], columns as packed
        final int yStride;
        int rowCount;

        Operands(float[] x, int xStride, float[] y, int yStride) {
            this.x = x;
            this.xStride = xStride;
            this.y = y;
            this.yStride = yStride;
        }
    }

    /** Computes columns [panelFrom·PANEL, panelTo·PANEL) of all rows. */
    final void multiply(Operands o, int panelFrom, int panelTo) {
        multiplyPanels(o, panelFrom, panelTo);
        if (bias.length > 0) {
            addBias(o, panelFrom, panelTo);
        }
    }

    private void multiplyPanels(Operands o, int panelFrom, int panelTo) {
        int wholeRows = 0;
        for (int panel = panelFrom; panel < panelTo; panel++) {
            int row = 0;
            for (; row + 6 <= o.rowCount; row += 6) {
                six(o, row, panel);
            }
            if (row + 4 <= o.rowCount) {
                four(o, row, panel);
                row += 4;
            }
            wholeRows = row;
        }
        if (o.rowCount - wholeRows >= 2) {
            int panel = panelFrom;
            for (; panel + 2 <= panelTo; panel += 2) {
                two(o, wholeRows, panel);
            }
            if (panel < panelTo) {
                twoNarrow(o, wholeRows, panel);
            }
            wholeRows += 2;
        }
        if (wholeRows < o.rowCount) {
            int panel = panelFrom;
            for (; panel + PANEL_GROUP <= panelTo; panel += PANEL_GROUP) {
                one(o, wholeRows, panel);
            }
            for (; panel < panelTo; panel++) {
                oneNarrow(o, wholeRows, panel);
            }
        }
    }

    /** Bytes of the packed weights. */
    abstract long bytes();

    /** Six rows from {@code row} on, one panel. */
    abstract void six(Operands o, int row, int panel);

    /** Four rows, one panel. */
    abstract void four(Operands o, int row, int panel);

    /** Two rows, two panels from {@code panel} on. */
    abstract void two(Operands o, int row, int panel);

    /** Two rows, one panel. */
    abstract void twoNarrow(Operands o, int row, int panel);

    /** One row, {@link #PANEL_GROUP} panels from {@code panel} on. */
    abstract void one(Operands o, int row, int panel);

    /** One row, one panel. */
    abstract void oneNarrow(Operands o, int row, int panel);

    private void addBias(Operands o, int panelFrom, int panelTo) {
        for (int row = 0; row < o.rowCount; row++) {
            int at = row * o.yStride;
            for (int column = panelFrom * PANEL; column < panelTo * PANEL; column += VectorOps.LANES) {
                FloatVector.fromArray(VectorOps.FLOATS, o.y, at + column)
                        .add(FloatVector.fromArray(VectorOps.FLOATS, bias, column))
                        .intoArray(o.y, at + column);
            }
        }
    }
}
