package basalt.engine.backend.cpu;

import static basalt.engine.backend.cpu.PackedMatrix.PANEL;

import basalt.engine.Checks;
import basalt.engine.model.ElementType;
import basalt.engine.model.Tensor;
import basalt.engine.model.Weights;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteOrder;
import org.jspecify.annotations.Nullable;

/**
 * Packs stored weights into matrices, with all workers of a pool. Runs once, so unlike the kernels it is not compiled
 * early (the launcher's options name this class).
 */
final class Packing {
    private final WorkerPool pool;

    Packing(WorkerPool pool) {
        this.pool = pool;
    }

    /** Bytes that the packed matrices of a model take at least. */
    static long bytesMin(Weights weights) {
        return weights.linears()
                .map(Weights.Linear::weight)
                .mapToLong(weight ->
                        weight.elementCount() * (weight.type() == ElementType.BF16 ? Short.BYTES : Float.BYTES))
                .sum();
    }

    /** A column of a packed matrix: a row of some stored matrix. */
    record Column(Weights.Linear linear, int row) {}

    /** Columns of whole matrices one after another, without padding between them. */
    PackedMatrix of(Weights.Linear... linears) {
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
    PackedMatrix ofPairs(Weights.Linear first, int firstRow, Weights.Linear second, int secondRow, int width) {
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
    private PackedMatrix of(@Nullable Column[] columns) {
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

    private int[] packBf16(@Nullable Column[] columns, int inputWidth, int panelCount) {
        int lanes = VectorOps.LANES;
        var pairs = new int[Math.multiplyExact(panelCount * inputWidth, lanes)];
        WorkerPool.Job packPanel = (panel, worker) -> {
            var row = new short[inputWidth];
            for (int i = 0; i < PANEL; i++) {
                int c = panel * PANEL + i;
                if (c >= columns.length || columns[c] == null) {
                    continue;
                }
                copyRow(columns[c], row);
                spread(row, pairs, panel * inputWidth * lanes + i % lanes, lanes, i < lanes ? 0 : 16);
            }
        };
        pool.run(packPanel, panelCount);
        return pairs;
    }

    /** A method of its own, so that it is compiled after some hundred calls. */
    private static void spread(short[] row, int[] pairs, int start, int step, int shift) {
        int at = start;
        for (short value : row) {
            pairs[at] |= (value & 0xffff) << shift;
            at += step;
        }
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

    private float[] packF32(@Nullable Column[] columns, int inputWidth, int panelCount) {
        var floats = new float[Math.multiplyExact(panelCount * inputWidth, PANEL)];
        WorkerPool.Job packPanel = (panel, worker) -> {
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
        };
        pool.run(packPanel, panelCount);
        return floats;
    }
}
