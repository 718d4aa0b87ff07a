package basalt.engine.backend.cpu;

import static basalt.engine.backend.cpu.VectorOps.FLOATS;
import static basalt.engine.backend.cpu.VectorOps.LANES;

import basalt.engine.model.Mixer;
import basalt.engine.model.Weights;
import basalt.engine.state.StateLayout;
import jdk.incubator.vector.FloatVector;

/**
 * Taylor linear attention of one layer. {@code y = (φ(q)·S + Σ_j p(s_j)·v_j) / (φ(q)·z + Σ_j p(s_j) + ε)}, p(s) = 1
 * + s + s²/2, with S and z of all folded blocks and j over the raw tokens since the last fold; equal to {@link
 * Reference#taylorStep} up to rounding. Sums run over features and then over j, both ascending.
 */
final class TaylorMixer implements LayerMixer {
    private static final int BLOCK = StateLayout.FOLD_INTERVAL;
    /** Vectors of the value that one pass over the features accumulates. */
    private static final int PASS = 4;

    private final Mixer.TaylorAttention m;
    private final int layer;
    private final float queryScale;
    private final Step step;
    private final Activations hidden;
    private final Activations mixed;
    private final Projection input;
    private final Projection output;
    private final WorkerPool pool;
    private final WorkerPool.Job attention = this::attend;
    private final Scratch[] scratch; // [workers]

    /** What one worker needs beside the state. */
    private static final class Scratch {
        final float[] query; // [f], scaled
        final float[] features; // [D]
        final float[] weights = new float[BLOCK]; // p(s_j)
        final float[] y; // [e padded]
        final float[] blockFeatures; // [F, D] of a block being folded

        Scratch(Mixer.TaylorAttention m) {
            query = new float[m.featureDim()];
            features = new float[m.featureCount()];
            y = new float[(VectorOps.padded(m.headWidth()) / LANES + PASS) * LANES];
            blockFeatures = new float[BLOCK * m.featureCount()];
        }
    }

    TaylorMixer(LayerParts parts, int layer, Mixer.TaylorAttention m, Weights.MixerWeights.TaylorAttention w) {
        this.m = m;
        this.layer = layer;
        step = parts.step();
        hidden = parts.hidden();
        mixed = parts.mixed();
        pool = parts.pool();
        queryScale = (float) (1 / Math.sqrt(m.scaleDim()));
        input = parts.input(layer, PackedMatrix.of(w.query(), w.key(), w.value()), (from, to, rows, worker) -> {});
        output = parts.output(PackedMatrix.of(w.output()));
        scratch = new Scratch[pool.workerCount()];
        for (int i = 0; i < scratch.length; i++) {
            scratch[i] = new Scratch(m);
        }
    }

    @Override
    public void run() {
        input.run(step.tokenCount());
        pool.run(attention, step.rowCount() * m.headCount());
        output.run(step.tokenCount());
    }

    private void attend(int task, int worker) {
        int row = task / m.headCount();
        int head = task % m.headCount();
        var state = (LayerState.Taylor) step.slot(row).layer(layer);
        for (int token = step.start(row); token < step.end(row); token++) {
            int j = (int) (step.position(token) % BLOCK);
            if (j == 0 && step.position(token) > 0) {
                fold(state, head, scratch[worker]);
            }
            advance(state, head, j, token, scratch[worker]);
        }
    }

    private void advance(LayerState.Taylor state, int head, int j, int token, Scratch s) {
        int f = m.featureDim();
        int query = hidden.at(token) + head * f;
        int key = query + m.headCount() * f;
        int value = hidden.at(token) + 2 * m.headCount() * f + head * m.headWidth();
        for (int i = 0; i < f; i++) {
            state.keys[state.key(head, j, i)] = hidden.data()[key + i];
            s.query[i] = hidden.data()[query + i] * queryScale;
        }
        System.arraycopy(hidden.data(), value, state.values, state.value(head, j), m.headWidth());
        queryFeatures(s.query, s.features);
        float denominator = readNorms(state, head, s.features);
        weigh(state, head, s);
        for (int i = 0; i <= j; i++) {
            denominator += s.weights[i];
        }
        read(state, head, j, s);
        float scale = 1 / (denominator + m.epsilon());
        int to = mixed.at(token) + head * m.headWidth();
        for (int i = 0; i < m.headWidth(); i++) {
            mixed.data()[to + i] = s.y[i] * scale;
        }
    }

    /** {@code 1, q_i, q_i·q_j (i < j) or half of it (i = j)} of a scaled query. */
    private static void queryFeatures(float[] query, float[] features) {
        int f = query.length;
        features[0] = 1;
        int d = 1 + f;
        for (int i = 0; i < f; i++) {
            float q = query[i];
            features[1 + i] = q;
            features[d++] = q * q * 0.5f;
            for (int j = i + 1; j < f; j++) {
                features[d++] = q * query[j];
            }
        }
    }

    private float readNorms(LayerState.Taylor state, int head, float[] features) {
        float sum = 0;
        int at = head * features.length;
        for (int d = 0; d < features.length; d++) {
            sum = Math.fma(features[d], state.norms[at + d], sum);
        }
        return sum;
    }

    /** {@code p(q·k_j)} of all raw keys at once; those not yet there are never used. */
    private void weigh(LayerState.Taylor state, int head, Scratch s) {
        for (int j = 0; j < BLOCK; j += LANES) {
            int at = state.key(head, j, 0);
            FloatVector dot = VectorOps.broadcast(0);
            for (int i = 0; i < s.query.length; i++, at += BLOCK) {
                dot = FloatVector.fromArray(FLOATS, state.keys, at).fma(VectorOps.broadcast(s.query[i]), dot);
            }
            FloatVector half = dot.fma(VectorOps.broadcast(0.5f), VectorOps.broadcast(1));
            half.fma(dot, VectorOps.broadcast(1)).intoArray(s.weights, j);
        }
    }

    private void read(LayerState.Taylor state, int head, int last, Scratch s) {
        int stride = state.valueStride;
        int i = 0;
        for (; i + PASS * LANES <= stride; i += PASS * LANES) {
            readPass(state, head, last, i, s);
        }
        for (; i < stride; i += LANES) {
            readVector(state, head, last, i, s);
        }
    }

    /** {@code φ(q)·S + Σ_j p_j·v_j} for {@link #PASS} vectors of the value. */
    private void readPass(LayerState.Taylor state, int head, int last, int column, Scratch s) {
        float[] sums = state.sums;
        int stride = state.valueStride;
        FloatVector y0 = VectorOps.broadcast(0);
        FloatVector y1 = y0;
        FloatVector y2 = y0;
        FloatVector y3 = y0;
        int at = head * s.features.length * stride + column;
        for (int d = 0; d < s.features.length; d++, at += stride) {
            FloatVector feature = VectorOps.broadcast(s.features[d]);
            y0 = FloatVector.fromArray(FLOATS, sums, at).fma(feature, y0);
            y1 = FloatVector.fromArray(FLOATS, sums, at + LANES).fma(feature, y1);
            y2 = FloatVector.fromArray(FLOATS, sums, at + 2 * LANES).fma(feature, y2);
            y3 = FloatVector.fromArray(FLOATS, sums, at + 3 * LANES).fma(feature, y3);
        }
        float[] values = state.values;
        at = state.value(head, 0) + column;
        for (int j = 0; j <= last; j++, at += stride) {
            FloatVector weight = VectorOps.broadcast(s.weights[j]);
            y0 = FloatVector.fromArray(FLOATS, values, at).fma(weight, y0);
            y1 = FloatVector.fromArray(FLOATS, values, at + LANES).fma(weight, y1);
            y2 = FloatVector.fromArray(FLOATS, values, at + 2 * LANES).fma(weight, y2);
            y3 = FloatVector.fromArray(FLOATS, values, at + 3 * LANES).fma(weight, y3);
        }
        y0.intoArray(s.y, column);
        y1.intoArray(s.y, column + LANES);
        y2.intoArray(s.y, column + 2 * LANES);
        y3.intoArray(s.y, column + 3 * LANES);
    }

    private void readVector(LayerState.Taylor state, int head, int last, int column, Scratch s) {
        int stride = state.valueStride;
        FloatVector y = VectorOps.broadcast(0);
        int at = head * s.features.length * stride + column;
        for (int d = 0; d < s.features.length; d++, at += stride) {
            y = FloatVector.fromArray(FLOATS, state.sums, at).fma(VectorOps.broadcast(s.features[d]), y);
        }
        at = state.value(head, 0) + column;
        for (int j = 0; j <= last; j++, at += stride) {
            y = FloatVector.fromArray(FLOATS, state.values, at).fma(VectorOps.broadcast(s.weights[j]), y);
        }
        y.intoArray(s.y, column);
    }

    /** {@code S ← S + Σ_j φ(k_j)·v_jᵀ}, {@code z ← z + Σ_j φ(k_j)} over a whole block, j ascending. */
    private void fold(LayerState.Taylor state, int head, Scratch s) {
        int features = s.features.length;
        for (int j = 0; j < BLOCK; j++) {
            keyFeatures(state, head, j, s.blockFeatures);
        }
        int stride = state.valueStride;
        for (int d = 0; d < features; d++) {
            int norm = head * features + d;
            for (int j = 0; j < BLOCK; j++) {
                state.norms[norm] += s.blockFeatures[j * features + d];
            }
            for (int i = 0; i < stride; i += LANES) {
                FloatVector sum = FloatVector.fromArray(FLOATS, state.sums, norm * stride + i);
                int at = state.value(head, 0) + i;
                for (int j = 0; j < BLOCK; j++, at += stride) {
                    sum = FloatVector.fromArray(FLOATS, state.values, at)
                            .fma(VectorOps.broadcast(s.blockFeatures[j * features + d]), sum);
                }
                sum.intoArray(state.sums, norm * stride + i);
            }
        }
    }

    private void keyFeatures(LayerState.Taylor state, int head, int j, float[] blockFeatures) {
        int f = m.featureDim();
        int start = j * m.featureCount();
        blockFeatures[start] = 1;
        int d = start + 1 + f;
        for (int i = 0; i < f; i++) {
            float k = state.keys[state.key(head, j, i)];
            blockFeatures[start + 1 + i] = k;
            for (int n = i; n < f; n++) {
                blockFeatures[d++] = k * state.keys[state.key(head, j, n)];
            }
        }
    }
}
