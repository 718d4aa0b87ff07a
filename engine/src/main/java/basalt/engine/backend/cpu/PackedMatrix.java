package basalt.engine.backend.cpu;

import basalt.engine.Checks;
import basalt.engine.model.ElementType;
import basalt.engine.model.Tensor;
import basalt.engine.model.Weights;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteOrder;
import java.util.stream.IntStream;
import jdk.incubator.vector.FloatVector;
import org.jspecify.annotations.Nullable;

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

    /** A column of a packed matrix: a row of some stored matrix. */
    record Column(Weights.Linear linear, int row) {}

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

    /** Columns of whole matrices one after another, without padding between them. */
    static PackedMatrix of(Weights.Linear... linears) {
        int count = 0;
        for (var linear : linears) {
            count += linear.weight().shape().getFirst();
        }
        var columns = new Column[count];
        int c = 0;
        for (var linear : linears) {
            for (int row = 0; row < linear.weight().shape().getFirst(); row++) {
                columns[c++] = new Column(linear, row);
            }
        }
        return of(columns);
    }

    /**
     * Columns in pairs of panels, the first panel of a pair from one matrix, the second from another: what a gated
     * unit needs to finish in one task. Each half is padded to whole panels.
     */
    static PackedMatrix ofPairs(Weights.Linear first, int firstRow, Weights.Linear second, int secondRow, int width) {
        int pairs = (width + PANEL - 1) / PANEL;
        var columns = new @Nullable Column[2 * pairs * PANEL];
        for (int i = 0; i < width; i++) {
            int at = i / PANEL * 2 * PANEL + i % PANEL;
            columns[at] = new Column(first, firstRow + i);
            columns[at + PANEL] = new Column(second, secondRow + i);
        }
        return of(columns);
    }

    /** Columns in the given order, null for a column of zeros; padded to whole panels. */
    private static PackedMatrix of(@Nullable Column[] columns) {
        int panelCount = (columns.length + PANEL - 1) / PANEL;
        boolean isBf16 = true;
        boolean hasBias = false;
        int inputWidth = 0;
        for (Column column : columns) {
            if (column != null) {
                isBf16 &= column.linear().weight().type() == ElementType.BF16;
                hasBias |= column.linear().bias().isPresent();
                inputWidth = column.linear().weight().shape().getLast();
            }
        }
        Checks.argument(inputWidth > 0, "inputWidth", inputWidth);
        var bias = new float[hasBias ? panelCount * PANEL : 0];
        for (int c = 0; hasBias && c < columns.length; c++) {
            Column column = columns[c];
            if (column != null && column.linear().bias().isPresent()) {
                bias[c] = column.linear().bias().get().at(column.row());
            }
        }
        return isBf16
                ? new Bf16Matrix(inputWidth, panelCount, bias, packBf16(columns, inputWidth, panelCount))
                : new F32Matrix(inputWidth, panelCount, bias, packF32(columns, inputWidth, panelCount));
    }

    private static int[] packBf16(@Nullable Column[] columns, int inputWidth, int panelCount) {
        int lanes = VectorOps.LANES;
        var pairs = new int[Math.multiplyExact(panelCount * inputWidth, lanes)];
        IntStream.range(0, panelCount).parallel().forEach(panel -> {
            var row = new short[inputWidth];
            for (int i = 0; i < PANEL; i++) {
                int c = panel * PANEL + i;
                if (c >= columns.length || columns[c] == null) {
                    continue;
                }
                copyRow(columns[c], row);
                int at = panel * inputWidth * lanes + i % lanes;
                int shift = i < lanes ? 0 : 16;
                for (int k = 0; k < inputWidth; k++) {
                    pairs[at + k * lanes] |= (row[k] & 0xffff) << shift;
                }
            }
        });
        return pairs;
    }

    private static void copyRow(Column column, short[] row) {
        Tensor weight = column.linear().weight();
        long bytes = 2L * row.length;
        MemorySegment.copy(
                weight.data(),
                ValueLayout.JAVA_SHORT_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN),
                column.row() * bytes,
                row,
                0,
                row.length);
    }

    private static float[] packF32(@Nullable Column[] columns, int inputWidth, int panelCount) {
        var floats = new float[Math.multiplyExact(panelCount * inputWidth, PANEL)];
        IntStream.range(0, panelCount).parallel().forEach(panel -> {
            for (int i = 0; i < PANEL; i++) {
                int c = panel * PANEL + i;
                if (c >= columns.length || columns[c] == null) {
                    continue;
                }
                Tensor weight = columns[c].linear().weight();
                long start = (long) columns[c].row() * inputWidth;
                for (int k = 0; k < inputWidth; k++) {
                    floats[(panel * inputWidth + k) * PANEL + i] = weight.at(start + k);
                }
            }
        });
        return floats;
    }
}
