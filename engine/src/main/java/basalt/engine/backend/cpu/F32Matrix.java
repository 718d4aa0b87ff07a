package basalt.engine.backend.cpu;

import static basalt.engine.backend.cpu.VectorOps.FLOATS;
import static basalt.engine.backend.cpu.VectorOps.LANES;

import jdk.incubator.vector.FloatVector;

/** f32 weights. Immutable. */
final class F32Matrix extends PackedMatrix {
    private final float[] floats; // [panelCount, K, PANEL]

    F32Matrix(int inputWidth, int panelCount, float[] bias, float[] floats) {
        super(inputWidth, panelCount, bias);
        this.floats = floats;
    }

    @Override
    long bytes() {
        return (long) Float.BYTES * floats.length;
    }

    /** Six rows, one panel: twelve sums, two weights and one input fill the sixteen registers of AVX2. */
    @Override
    void six(Operands o, int row, int panel) {
        float[] w = floats;
        float[] x = o.x;
        int at = panel * inputWidth * PANEL;
        int x0 = row * o.xStride;
        int x1 = x0 + o.xStride;
        int x2 = x1 + o.xStride;
        int x3 = x2 + o.xStride;
        int x4 = x3 + o.xStride;
        int x5 = x4 + o.xStride;
        FloatVector s00l = VectorOps.broadcast(0);
        FloatVector s00h = VectorOps.broadcast(0);
        FloatVector s10l = VectorOps.broadcast(0);
        FloatVector s10h = VectorOps.broadcast(0);
        FloatVector s20l = VectorOps.broadcast(0);
        FloatVector s20h = VectorOps.broadcast(0);
        FloatVector s30l = VectorOps.broadcast(0);
        FloatVector s30h = VectorOps.broadcast(0);
        FloatVector s40l = VectorOps.broadcast(0);
        FloatVector s40h = VectorOps.broadcast(0);
        FloatVector s50l = VectorOps.broadcast(0);
        FloatVector s50h = VectorOps.broadcast(0);
        for (int k = 0; k < inputWidth; k++, at += PANEL) {
            FloatVector low0 = FloatVector.fromArray(FLOATS, w, at);
            FloatVector high0 = FloatVector.fromArray(FLOATS, w, at + LANES);
            FloatVector v0 = VectorOps.broadcast(x[x0 + k]);
            s00l = low0.fma(v0, s00l);
            s00h = high0.fma(v0, s00h);
            FloatVector v1 = VectorOps.broadcast(x[x1 + k]);
            s10l = low0.fma(v1, s10l);
            s10h = high0.fma(v1, s10h);
            FloatVector v2 = VectorOps.broadcast(x[x2 + k]);
            s20l = low0.fma(v2, s20l);
            s20h = high0.fma(v2, s20h);
            FloatVector v3 = VectorOps.broadcast(x[x3 + k]);
            s30l = low0.fma(v3, s30l);
            s30h = high0.fma(v3, s30h);
            FloatVector v4 = VectorOps.broadcast(x[x4 + k]);
            s40l = low0.fma(v4, s40l);
            s40h = high0.fma(v4, s40h);
            FloatVector v5 = VectorOps.broadcast(x[x5 + k]);
            s50l = low0.fma(v5, s50l);
            s50h = high0.fma(v5, s50h);
        }
        int to = row * o.yStride + panel * PANEL;
        s00l.intoArray(o.y, to);
        s00h.intoArray(o.y, to + LANES);
        s10l.intoArray(o.y, to + o.yStride);
        s10h.intoArray(o.y, to + o.yStride + LANES);
        s20l.intoArray(o.y, to + 2 * o.yStride);
        s20h.intoArray(o.y, to + 2 * o.yStride + LANES);
        s30l.intoArray(o.y, to + 3 * o.yStride);
        s30h.intoArray(o.y, to + 3 * o.yStride + LANES);
        s40l.intoArray(o.y, to + 4 * o.yStride);
        s40h.intoArray(o.y, to + 4 * o.yStride + LANES);
        s50l.intoArray(o.y, to + 5 * o.yStride);
        s50h.intoArray(o.y, to + 5 * o.yStride + LANES);
    }

    /** Four rows, one panel. */
    @Override
    void four(Operands o, int row, int panel) {
        float[] w = floats;
        float[] x = o.x;
        int at = panel * inputWidth * PANEL;
        int x0 = row * o.xStride;
        int x1 = x0 + o.xStride;
        int x2 = x1 + o.xStride;
        int x3 = x2 + o.xStride;
        FloatVector s00l = VectorOps.broadcast(0);
        FloatVector s00h = VectorOps.broadcast(0);
        FloatVector s10l = VectorOps.broadcast(0);
        FloatVector s10h = VectorOps.broadcast(0);
        FloatVector s20l = VectorOps.broadcast(0);
        FloatVector s20h = VectorOps.broadcast(0);
        FloatVector s30l = VectorOps.broadcast(0);
        FloatVector s30h = VectorOps.broadcast(0);
        for (int k = 0; k < inputWidth; k++, at += PANEL) {
            FloatVector low0 = FloatVector.fromArray(FLOATS, w, at);
            FloatVector high0 = FloatVector.fromArray(FLOATS, w, at + LANES);
            FloatVector v0 = VectorOps.broadcast(x[x0 + k]);
            s00l = low0.fma(v0, s00l);
            s00h = high0.fma(v0, s00h);
            FloatVector v1 = VectorOps.broadcast(x[x1 + k]);
            s10l = low0.fma(v1, s10l);
            s10h = high0.fma(v1, s10h);
            FloatVector v2 = VectorOps.broadcast(x[x2 + k]);
            s20l = low0.fma(v2, s20l);
            s20h = high0.fma(v2, s20h);
            FloatVector v3 = VectorOps.broadcast(x[x3 + k]);
            s30l = low0.fma(v3, s30l);
            s30h = high0.fma(v3, s30h);
        }
        int to = row * o.yStride + panel * PANEL;
        s00l.intoArray(o.y, to);
        s00h.intoArray(o.y, to + LANES);
        s10l.intoArray(o.y, to + o.yStride);
        s10h.intoArray(o.y, to + o.yStride + LANES);
        s20l.intoArray(o.y, to + 2 * o.yStride);
        s20h.intoArray(o.y, to + 2 * o.yStride + LANES);
        s30l.intoArray(o.y, to + 3 * o.yStride);
        s30h.intoArray(o.y, to + 3 * o.yStride + LANES);
    }

    /** Two rows, two panels. */
    @Override
    void two(Operands o, int row, int panel) {
        float[] w = floats;
        float[] x = o.x;
        int at = panel * inputWidth * PANEL;
        int stride = inputWidth * PANEL;
        int x0 = row * o.xStride;
        int x1 = x0 + o.xStride;
        FloatVector s00l = VectorOps.broadcast(0);
        FloatVector s00h = VectorOps.broadcast(0);
        FloatVector s01l = VectorOps.broadcast(0);
        FloatVector s01h = VectorOps.broadcast(0);
        FloatVector s10l = VectorOps.broadcast(0);
        FloatVector s10h = VectorOps.broadcast(0);
        FloatVector s11l = VectorOps.broadcast(0);
        FloatVector s11h = VectorOps.broadcast(0);
        for (int k = 0; k < inputWidth; k++, at += PANEL) {
            FloatVector low0 = FloatVector.fromArray(FLOATS, w, at);
            FloatVector high0 = FloatVector.fromArray(FLOATS, w, at + LANES);
            FloatVector low1 = FloatVector.fromArray(FLOATS, w, at + stride);
            FloatVector high1 = FloatVector.fromArray(FLOATS, w, at + stride + LANES);
            FloatVector v0 = VectorOps.broadcast(x[x0 + k]);
            s00l = low0.fma(v0, s00l);
            s00h = high0.fma(v0, s00h);
            s01l = low1.fma(v0, s01l);
            s01h = high1.fma(v0, s01h);
            FloatVector v1 = VectorOps.broadcast(x[x1 + k]);
            s10l = low0.fma(v1, s10l);
            s10h = high0.fma(v1, s10h);
            s11l = low1.fma(v1, s11l);
            s11h = high1.fma(v1, s11h);
        }
        int to = row * o.yStride + panel * PANEL;
        s00l.intoArray(o.y, to);
        s00h.intoArray(o.y, to + LANES);
        s01l.intoArray(o.y, to + PANEL);
        s01h.intoArray(o.y, to + PANEL + LANES);
        s10l.intoArray(o.y, to + o.yStride);
        s10h.intoArray(o.y, to + o.yStride + LANES);
        s11l.intoArray(o.y, to + o.yStride + PANEL);
        s11h.intoArray(o.y, to + o.yStride + PANEL + LANES);
    }

    /** Two rows, one panel. */
    @Override
    void twoNarrow(Operands o, int row, int panel) {
        float[] w = floats;
        float[] x = o.x;
        int at = panel * inputWidth * PANEL;
        int x0 = row * o.xStride;
        int x1 = x0 + o.xStride;
        FloatVector s00l = VectorOps.broadcast(0);
        FloatVector s00h = VectorOps.broadcast(0);
        FloatVector s10l = VectorOps.broadcast(0);
        FloatVector s10h = VectorOps.broadcast(0);
        for (int k = 0; k < inputWidth; k++, at += PANEL) {
            FloatVector low0 = FloatVector.fromArray(FLOATS, w, at);
            FloatVector high0 = FloatVector.fromArray(FLOATS, w, at + LANES);
            FloatVector v0 = VectorOps.broadcast(x[x0 + k]);
            s00l = low0.fma(v0, s00l);
            s00h = high0.fma(v0, s00h);
            FloatVector v1 = VectorOps.broadcast(x[x1 + k]);
            s10l = low0.fma(v1, s10l);
            s10h = high0.fma(v1, s10h);
        }
        int to = row * o.yStride + panel * PANEL;
        s00l.intoArray(o.y, to);
        s00h.intoArray(o.y, to + LANES);
        s10l.intoArray(o.y, to + o.yStride);
        s10h.intoArray(o.y, to + o.yStride + LANES);
    }

    /** One row, four panels: eight sums hide the latency of the multiply-add. */
    @Override
    void one(Operands o, int row, int panel) {
        float[] w = floats;
        float[] x = o.x;
        int at = panel * inputWidth * PANEL;
        int stride = inputWidth * PANEL;
        int x0 = row * o.xStride;
        FloatVector s00l = VectorOps.broadcast(0);
        FloatVector s00h = VectorOps.broadcast(0);
        FloatVector s01l = VectorOps.broadcast(0);
        FloatVector s01h = VectorOps.broadcast(0);
        FloatVector s02l = VectorOps.broadcast(0);
        FloatVector s02h = VectorOps.broadcast(0);
        FloatVector s03l = VectorOps.broadcast(0);
        FloatVector s03h = VectorOps.broadcast(0);
        for (int k = 0; k < inputWidth; k++, at += PANEL) {
            FloatVector low0 = FloatVector.fromArray(FLOATS, w, at);
            FloatVector high0 = FloatVector.fromArray(FLOATS, w, at + LANES);
            FloatVector low1 = FloatVector.fromArray(FLOATS, w, at + stride);
            FloatVector high1 = FloatVector.fromArray(FLOATS, w, at + stride + LANES);
            FloatVector low2 = FloatVector.fromArray(FLOATS, w, at + 2 * stride);
            FloatVector high2 = FloatVector.fromArray(FLOATS, w, at + 2 * stride + LANES);
            FloatVector low3 = FloatVector.fromArray(FLOATS, w, at + 3 * stride);
            FloatVector high3 = FloatVector.fromArray(FLOATS, w, at + 3 * stride + LANES);
            FloatVector v0 = VectorOps.broadcast(x[x0 + k]);
            s00l = low0.fma(v0, s00l);
            s00h = high0.fma(v0, s00h);
            s01l = low1.fma(v0, s01l);
            s01h = high1.fma(v0, s01h);
            s02l = low2.fma(v0, s02l);
            s02h = high2.fma(v0, s02h);
            s03l = low3.fma(v0, s03l);
            s03h = high3.fma(v0, s03h);
        }
        int to = row * o.yStride + panel * PANEL;
        s00l.intoArray(o.y, to);
        s00h.intoArray(o.y, to + LANES);
        s01l.intoArray(o.y, to + PANEL);
        s01h.intoArray(o.y, to + PANEL + LANES);
        s02l.intoArray(o.y, to + 2 * PANEL);
        s02h.intoArray(o.y, to + 2 * PANEL + LANES);
        s03l.intoArray(o.y, to + 3 * PANEL);
        s03h.intoArray(o.y, to + 3 * PANEL + LANES);
    }

    /** One row, one panel. */
    @Override
    void oneNarrow(Operands o, int row, int panel) {
        float[] w = floats;
        float[] x = o.x;
        int at = panel * inputWidth * PANEL;
        int x0 = row * o.xStride;
        FloatVector s00l = VectorOps.broadcast(0);
        FloatVector s00h = VectorOps.broadcast(0);
        for (int k = 0; k < inputWidth; k++, at += PANEL) {
            FloatVector low0 = FloatVector.fromArray(FLOATS, w, at);
            FloatVector high0 = FloatVector.fromArray(FLOATS, w, at + LANES);
            FloatVector v0 = VectorOps.broadcast(x[x0 + k]);
            s00l = low0.fma(v0, s00l);
            s00h = high0.fma(v0, s00h);
        }
        int to = row * o.yStride + panel * PANEL;
        s00l.intoArray(o.y, to);
        s00h.intoArray(o.y, to + LANES);
    }
}
