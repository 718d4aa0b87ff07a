package basalt.engine.model;

/** The token mixer of one layer, with everything that its arithmetic depends on. */
public sealed interface Mixer {
    /**
     * Gated short convolution ("BaseConv"): {@code h = W_in x + b}; {@code a = h[0, C)}, {@code g = h[C, 2C)};
     * {@code y = W_out(silu(conv(a)) · g) + b}.
     *
     * @param channelCount C
     * @param kernelSize taps K; the last one is the current token's
     * @param projectionWidth rows of {@code W_in}, at least 2C; rows from 2C on are not used
     * @param hasProjectionBias whether both projections have a bias
     * @param hasConvolutionBias whether the convolution has a bias, added before silu
     */
    record Convolution(
            int channelCount,
            int kernelSize,
            int projectionWidth,
            boolean hasProjectionBias,
            boolean hasConvolutionBias)
            implements Mixer {}

    /**
     * Second-order Taylor linear attention: weight(q, k) = 1 + s + s²/2 with s = q·k / √scaleDim.
     *
     * @param headCount H
     * @param featureDim f, entries of one head's query and key
     * @param headWidth e, entries of one head's value
     * @param scaleDim {@code feature_map.input_dim}
     * @param epsilon added to the denominator, in prefill and step alike
     */
    record TaylorAttention(int headCount, int featureDim, int headWidth, int scaleDim, float epsilon) implements Mixer {
        /** Features of the symmetric form, D = 1 + f + f(f+1)/2: 153 for f = 16. */
        public int featureCount() {
            return 1 + featureDim + featureDim * (featureDim + 1) / 2;
        }
    }

    /**
     * Sliding-window softmax attention: a token sees itself and the {@code reach} tokens before it.
     *
     * @param headCount query heads
     * @param keyHeadCount key and value heads; query head h reads key head h / (headCount / keyHeadCount)
     * @param headWidth entries of one head
     * @param reach {@code window_size / 2}
     * @param scale factor of the scores
     * @param rotaryDim leading entries of each head that are rotated, even; 0 for none
     * @param rotaryBase base of the angles
     * @param isRotaryInterleaved pairs (2i, 2i+1) instead of (i, i + rotaryDim/2)
     * @param hasInputBias whether Wqkv has a bias
     * @param hasOutputBias whether out_proj has a bias
     */
    record WindowAttention(
            int headCount,
            int keyHeadCount,
            int headWidth,
            int reach,
            float scale,
            int rotaryDim,
            double rotaryBase,
            boolean isRotaryInterleaved,
            boolean hasInputBias,
            boolean hasOutputBias)
            implements Mixer {}
}
