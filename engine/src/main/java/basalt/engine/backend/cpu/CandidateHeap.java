package basalt.engine.backend.cpu;

import static basalt.engine.backend.cpu.VectorOps.FLOATS;
import static basalt.engine.backend.cpu.VectorOps.LANES;

import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.VectorOperators;

/**
 * Ids in descending order of their logits, equal ones in ascending order of id, as many as are popped. Starts with
 * those near the largest and takes in the rest only when these run out: most filters keep few. Owned by one worker.
 */
final class CandidateHeap {
    /** How far below the largest, in units of the temperature, each stage reaches; the last takes all. */
    private static final float[] REACHES = {3, 6, 12, Float.POSITIVE_INFINITY};

    private final int vocabSize;
    private final long[] keys; // [N], a max-heap in [0, size): ordered logit | inverted id
    private int size;
    private int stage;
    private float[] values = new float[0];
    private int at;
    private float max;
    private float temperature;

    CandidateHeap(int vocabSize) {
        this.vocabSize = vocabSize;
        keys = new long[vocabSize];
    }

    /** Starts over with other logits. */
    void fill(float[] logits, int start, float largest, float inverseTemperature) {
        values = logits;
        at = start;
        max = largest;
        temperature = 1 / inverseTemperature;
        stage = 0;
        size = 0;
        takeStage();
    }

    /** Removes and returns the next id; there must be one left. */
    int pop() {
        while (size == 0) {
            takeStage();
        }
        long top = keys[0];
        keys[0] = keys[--size];
        sink(0);
        return ~(int) top;
    }

    private void takeStage() {
        float upper = stage == 0 ? Float.POSITIVE_INFINITY : max - REACHES[stage - 1] * temperature;
        float lower = REACHES[stage] == Float.POSITIVE_INFINITY
                ? Float.NEGATIVE_INFINITY
                : max - REACHES[stage] * temperature;
        boolean isFirst = stage == 0;
        stage++;
        int id = 0;
        for (; id + LANES <= vocabSize; id += LANES) {
            FloatVector v = FloatVector.fromArray(FLOATS, values, at + id);
            long isIn = v.compare(VectorOperators.GE, lower).toLong(); // a mask that branches join would be an object
            if (!isFirst) {
                isIn &= v.compare(VectorOperators.LT, upper).toLong();
            }
            for (; isIn != 0; isIn &= isIn - 1) {
                take(id + Long.numberOfTrailingZeros(isIn));
            }
        }
        for (; id < vocabSize; id++) {
            float v = values[at + id];
            if (v >= lower && (isFirst || v < upper)) {
                take(id);
            }
        }
        for (int i = size / 2 - 1; i >= 0; i--) {
            sink(i);
        }
    }

    private void take(int id) {
        int bits = Float.floatToIntBits(values[at + id] + 0f);
        int ordered = bits ^ ((bits >> 31) & Integer.MAX_VALUE);
        keys[size++] = ((long) ordered << 32) | (~id & 0xffffffffL);
    }

    private void sink(int start) {
        int i = start;
        long key = keys[i];
        while (true) {
            int child = 2 * i + 1;
            if (child >= size) {
                break;
            }
            if (child + 1 < size && keys[child + 1] > keys[child]) {
                child++;
            }
            if (keys[child] <= key) {
                break;
            }
            keys[i] = keys[child];
            i = child;
        }
        keys[i] = key;
    }
}
