package basalt.engine.backend.cpu;

import basalt.engine.model.Mixer;

/**
 * Rotary embedding: sines and cosines of the step's tokens, computed once a step in f64 (an f32 angle is off by 6e-3 at
 * position 100,000) for all layers of the same shape. Owned by the engine thread, read by workers.
 */
final class Rotary {
    private final int rotaryDim;
    private final int half;
    private final boolean isInterleaved;
    private final double[] frequencies; // [half]
    private final float[] cosines; // [T, half]
    private final float[] sines; // [T, half]

    Rotary(Mixer.WindowAttention m, int tokenCountMax) {
        rotaryDim = m.rotaryDim();
        half = rotaryDim / 2;
        isInterleaved = m.isRotaryInterleaved();
        frequencies = new double[half];
        for (int i = 0; i < half; i++) {
            frequencies[i] = Math.pow(m.rotaryBase(), -2.0 * i / rotaryDim);
        }
        cosines = new float[tokenCountMax * half];
        sines = new float[tokenCountMax * half];
    }

    /** Computes the angles of one token of the step. */
    void prepare(int token, long position) {
        for (int i = 0; i < half; i++) {
            double angle = position * frequencies[i];
            cosines[token * half + i] = (float) Math.cos(angle);
            sines[token * half + i] = (float) Math.sin(angle);
        }
    }

    /** Rotates the head at {@code at} by the angles of a token. */
    void rotate(float[] data, int at, int token) {
        int low = at;
        int gap = isInterleaved ? 1 : half;
        int stride = isInterleaved ? 2 : 1;
        for (int i = 0; i < half; i++, low += stride) {
            float cosine = cosines[token * half + i];
            float sine = sines[token * half + i];
            float a = data[low];
            float b = data[low + gap];
            data[low] = a * cosine - b * sine;
            data[low + gap] = a * sine + b * cosine;
        }
    }
}
