package basalt.engine.backend.cpu;

import static basalt.engine.backend.cpu.VectorOps.FLOATS;
import static basalt.engine.backend.cpu.VectorOps.LANES;

import basalt.engine.model.Mixer;
import java.util.Arrays;
import jdk.incubator.vector.FloatVector;

/**
 * Sliding-window attention of one layer over a ring; see {@link Reference}. Keys are rotated when written. Sums over
 * keys run by ascending position, wherever they lie in the ring.
 */
final class WindowMixer implements LayerMixer {
    private final Mixer.WindowAttention m;
    private final int layer;
    private final int group; // query heads of a key head
    private final Rotary rotary;
    private final Step step;
    private final Activations hidden;
    private final Activations mixed;
    private final Projection input;
    private final Projection output;
    private final WorkerPool pool;
    private final WorkerPool.Job attention = this::attend;
    private final float[][] scores; // [workers][keyStride]
    private final float[][] sums; // [workers][e padded]

    WindowMixer(LayerParts parts, int layer, Mixer.WindowAttention m) {
        this.m = m;
        this.layer = layer;
        group = m.headCount() / m.keyHeadCount();
        rotary = parts.rotary(m);
        step = parts.step();
        hidden = parts.hidden();
        mixed = parts.mixed();
        pool = parts.pool();
        input = parts.mixerInput(layer, (from, to, rows, worker) -> {});
        output = parts.mixerOutput(layer);
        var shape = new LayerState.Window(m);
        scores = new float[pool.workerCount()][shape.keyStride];
        sums = new float[pool.workerCount()][shape.valueStride];
    }

    @Override
    public void run() {
        input.run(step.tokenCount());
        pool.run(attention, step.rowCount() * m.keyHeadCount());
        output.run(step.tokenCount());
    }

    private void attend(int task, int worker) {
        int row = task / m.keyHeadCount();
        int keyHead = task % m.keyHeadCount();
        var state = (LayerState.Window) step.slot(row).layer(layer);
        for (int token = step.start(row); token < step.end(row); token++) {
            append(state, keyHead, token);
            for (int head = keyHead * group; head < (keyHead + 1) * group; head++) {
                rotary.rotate(hidden.data(), hidden.at(token) + head * m.headWidth(), token);
                score(state, keyHead, hidden.at(token) + head * m.headWidth(), scores[worker]);
                read(state, keyHead, head, token, worker);
            }
        }
    }

    /** Rotates the token's key and writes it and the value into the ring. */
    private void append(LayerState.Window state, int keyHead, int token) {
        int e = m.headWidth();
        int key = hidden.at(token) + (m.headCount() + keyHead) * e;
        int value = key + m.keyHeadCount() * e;
        int ringRow = (int) (step.position(token) % state.ringLength);
        rotary.rotate(hidden.data(), key, token);
        for (int i = 0; i < e; i++) {
            state.keys[state.key(keyHead, ringRow, i)] = hidden.data()[key + i];
        }
        System.arraycopy(hidden.data(), value, state.values, state.value(keyHead, ringRow), e);
    }

    /** Scores of all keys in the ring, whether in reach or not. */
    private void score(LayerState.Window state, int keyHead, int query, float[] to) {
        Arrays.fill(to, 0);
        state.keyRows.addTo(to, 0, hidden.data(), query, state.key(keyHead, 0, 0), m.headWidth());
        for (int j = 0; j < state.keyStride; j += LANES) {
            FloatVector.fromArray(FLOATS, to, j).mul(m.scale()).intoArray(to, j);
        }
    }

    /** Softmax over the keys in reach, times their values. */
    private void read(LayerState.Window state, int keyHead, int head, int token, int worker) {
        float[] weights = scores[worker];
        long position = step.position(token);
        int count = (int) Math.min(position, m.reach()) + 1;
        int first = (int) ((position + 1 - count) % state.ringLength);
        int firstEnd = Math.min(first + count, state.ringLength);
        int secondEnd = count - (firstEnd - first);
        float max = Math.max(largest(weights, first, firstEnd), largest(weights, 0, secondEnd));
        for (int j = 0; j < state.keyStride; j += LANES) {
            VectorOps.exp(FloatVector.fromArray(FLOATS, weights, j).sub(max)).intoArray(weights, j);
        }
        float total = 0;
        for (int j = first; j < firstEnd; j++) {
            total += weights[j];
        }
        for (int j = 0; j < secondEnd; j++) {
            total += weights[j];
        }
        float[] y = sums[worker];
        Arrays.fill(y, 0);
        state.valueRows.addTo(y, 0, weights, first, state.value(keyHead, first), firstEnd - first);
        state.valueRows.addTo(y, 0, weights, 0, state.value(keyHead, 0), secondEnd);
        float scale = 1 / total;
        int to = mixed.at(token) + head * m.headWidth();
        for (int i = 0; i < m.headWidth(); i++) {
            mixed.data()[to + i] = y[i] * scale;
        }
    }

    private static float largest(float[] scores, int from, int to) {
        float max = Float.NEGATIVE_INFINITY;
        for (int j = from; j < to; j++) {
            max = Math.max(max, scores[j]);
        }
        return max;
    }
}
