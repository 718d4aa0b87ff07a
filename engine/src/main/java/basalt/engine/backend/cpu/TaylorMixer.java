package basalt.engine.backend.cpu;

import static basalt.engine.backend.cpu.VectorOps.FLOATS;
import static basalt.engine.backend.cpu.VectorOps.LANES;

import basalt.engine.model.Mixer;
import basalt.engine.state.StateLayout;
import java.util.Arrays;
import jdk.incubator.vector.FloatVector;

/**
 * Taylor linear attention of one layer. {@code y = (φ(q)·S + Σ_j p(s_j)·v_j) / (φ(q)·z + Σ_j p(s_j) + ε)}, p(s) = 1
 * + s + s²/2, with S and z of all folded blocks and j over the raw tokens since the last fold; equal to {@link
 * Reference#taylorStep} up to rounding. Sums run over features and then over j, both ascending.
 */
final class TaylorMixer implements LayerMixer {
    private static final int BLOCK = StateLayout.FOLD_INTERVAL;

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
        final float[] blockFeatures; // [D, F] of a block being folded

        Scratch(Mixer.TaylorAttention m) {
            query = new float[m.featureDim()];
            features = new float[m.featureCount()];
            y = new float[VectorOps.padded(m.headWidth())];
            blockFeatures = new float[m.featureCount() * BLOCK];
        }
    }

    TaylorMixer(LayerParts parts, int layer, Mixer.TaylorAttention m) {
        this.m = m;
        this.layer = layer;
        step = parts.step();
        hidden = parts.hidden();
        mixed = parts.mixed();
        pool = parts.pool();
        queryScale = (float) (1 / Math.sqrt(m.scaleDim()));
        input = parts.mixerInput(layer, (from, to, rows, worker) -> {});
        output = parts.mixerOutput(layer);
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
        Arrays.fill(s.y, 0);
        state.sumRows.addTo(s.y, 0, s.features, 0, state.sum(head, 0), s.features.length);
        state.valueRows.addTo(s.y, 0, s.weights, 0, state.value(head, 0), j + 1);
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

    /** {@code φ(q)·z}, one partial sum a lane. */
    private float readNorms(LayerState.Taylor state, int head, float[] features) {
        FloatVector sums = VectorOps.broadcast(0);
        int at = head * features.length;
        int d = 0;
        for (; d + LANES <= features.length; d += LANES) {
            sums = FloatVector.fromArray(FLOATS, features, d)
                    .fma(FloatVector.fromArray(FLOATS, state.norms, at + d), sums);
        }
        float sum = VectorOps.sumLanes(sums);
        for (; d < features.length; d++) {
            sum = Math.fma(features[d], state.norms[at + d], sum);
        }
        return sum;
    }

    /** {@code p(q·k_j)} of all raw keys at once; those not yet there are never used. */
    private void weigh(LayerState.Taylor state, int head, Scratch s) {
        Arrays.fill(s.weights, 0);
        state.keyRows.addTo(s.weights, 0, s.query, 0, state.key(head, 0, 0), s.query.length);
        for (int j = 0; j < BLOCK; j += LANES) {
            FloatVector dot = FloatVector.fromArray(FLOATS, s.weights, j);
            FloatVector half = dot.fma(VectorOps.broadcast(0.5f), VectorOps.broadcast(1));
            half.fma(dot, VectorOps.broadcast(1)).intoArray(s.weights, j);
        }
    }

    /** {@code S ← S + Σ_j φ(k_j)·v_jᵀ}, {@code z ← z + Σ_j φ(k_j)} over a whole block, j ascending. */
    private void fold(LayerState.Taylor state, int head, Scratch s) {
        keyFeatures(state, head, s.blockFeatures);
        for (int d = 0; d < s.features.length; d++) {
            int norm = head * s.features.length + d;
            float sum = state.norms[norm];
            for (int j = 0; j < BLOCK; j++) {
                sum += s.blockFeatures[d * BLOCK + j];
            }
            state.norms[norm] = sum;
            state.valueRows.addTo(
                    state.sums, state.sum(head, d), s.blockFeatures, d * BLOCK, state.value(head, 0), BLOCK);
        }
    }

    /** {@code 1, k_i, k_i·k_n (i ≤ n)} of all keys of the block, side by side. */
    private void keyFeatures(LayerState.Taylor state, int head, float[] features) {
        int f = m.featureDim();
        Arrays.fill(features, 0, BLOCK, 1);
        System.arraycopy(state.keys, state.key(head, 0, 0), features, BLOCK, f * BLOCK);
        int to = (1 + f) * BLOCK;
        for (int i = 0; i < f; i++) {
            for (int n = i; n < f; n++, to += BLOCK) {
                for (int j = 0; j < BLOCK; j += LANES) {
                    FloatVector.fromArray(FLOATS, state.keys, state.key(head, j, i))
                            .mul(FloatVector.fromArray(FLOATS, state.keys, state.key(head, j, n)))
                            .intoArray(features, to + j);
                }
            }
        }
    }
}
