package basalt.engine.backend.cpu;

import basalt.engine.Checks;
import basalt.engine.model.Mixer;
import basalt.engine.model.ModelConfig;
import basalt.engine.model.Tensor;
import basalt.engine.model.Weights;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Optional;

/**
 * The model in scalar f64, one sequence, one token at a time, written for reading: what every fast version is tested
 * against. Owned by one thread.
 *
 * <p>arXiv 2402.18668 and the authors' code; each method cites its formula. State is kept in the naive way: all folded
 * at once, rings as lists.
 */
public final class Reference {
    private final ModelConfig config;
    private final Weights weights;
    private final List<LayerState> states; // [L]
    private int position;

    /** An empty sequence. */
    public Reference(ModelConfig config, Weights weights) {
        this.config = config;
        this.weights = weights;
        states = config.mixers().stream().map(LayerState::of).toList();
    }

    /**
     * Of one layer; what its mixer does not use is empty.
     *
     * @param inputs f64 [K-1, C], oldest first
     * @param keys rotated, oldest first, each f64 [Hkv, e]
     * @param values oldest first, each f64 [Hkv, e]
     */
    private record LayerState(double[] inputs, TaylorState taylor, List<double[]> keys, List<double[]> values) {
        static LayerState of(Mixer mixer) {
            return switch (mixer) {
                case Mixer.Convolution m -> of((m.kernelSize() - 1) * m.channelCount(), 0, 0);
                case Mixer.TaylorAttention m -> of(0, m.headCount() * m.featureCount(), m.headWidth());
                case Mixer.WindowAttention m -> of(0, 0, 0);
            };
        }

        private static LayerState of(int inputCount, int normCount, int headWidth) {
            var taylor = new TaylorState(new double[normCount * headWidth], new double[normCount]);
            return new LayerState(new double[inputCount], taylor, new ArrayList<>(), new ArrayList<>());
        }
    }

    /**
     * The recurrent state of Taylor attention.
     *
     * @param sums S, f64 [H, D, e]
     * @param norms z, f64 [H, D]
     */
    record TaylorState(double[] sums, double[] norms) {}

    /**
     * Consumes one token.
     *
     * @return logits after it, f64 [paddedVocabSize]
     */
    public double[] step(int token) {
        Checks.argument(token >= 0 && token < config.vocabSize(), "token", token);
        double[] residual = row(weights.embedding(), token);
        if (weights.positions().isPresent()) {
            add(residual, row(weights.positions().get(), position));
        }
        for (int layer = 0; layer < config.layerCount(); layer++) {
            var w = weights.layers().get(layer);
            add(residual, mix(layer, norm(residual, w.norm1())));
            add(residual, mlp(norm(residual, w.norm2()), w.mlp()));
        }
        position++;
        return linear(norm(residual, weights.finalNorm()), weights.head());
    }

    private double[] mix(int layer, double[] x) {
        return switch (config.mixers().get(layer)) {
            case Mixer.Convolution m -> convolution(layer, m, x);
            case Mixer.TaylorAttention m -> taylorAttention(layer, m, x);
            case Mixer.WindowAttention m -> windowAttention(layer, m, x);
        };
    }

    /** RMSNorm {@code x / √(mean(x²) + ε) · w}, or LayerNorm {@code (x - mean) / √(var + ε) · w + b}. */
    private double[] norm(double[] x, Weights.Norm norm) {
        double mean = config.isRmsNorm() ? 0 : Arrays.stream(x).average().orElse(0);
        double squares = 0;
        for (double value : x) {
            squares += (value - mean) * (value - mean);
        }
        double scale = 1 / Math.sqrt(squares / x.length + config.normEpsilon());
        var y = new double[x.length];
        for (int i = 0; i < x.length; i++) {
            double bias = norm.bias().isPresent() ? norm.bias().get().at(i) : 0;
            y[i] = (x[i] - mean) * scale * norm.weight().at(i) + bias;
        }
        return y;
    }

    /** {@code y = x Wᵀ + b}. */
    static double[] linear(double[] x, Weights.Linear linear) {
        int rows = linear.weight().shape().getFirst();
        Optional<Tensor> bias = linear.bias();
        var y = new double[rows];
        for (int n = 0; n < rows; n++) {
            double sum = 0;
            long start = (long) n * x.length;
            for (int k = 0; k < x.length; k++) {
                sum += x[k] * linear.weight().at(start + k);
            }
            y[n] = sum + (bias.isPresent() ? bias.get().at(n) : 0);
        }
        return y;
    }

    /** BaseConv: {@code c_t = Σ_j w_j · a_(t-(K-1)+j)}; {@code y = W_out(silu(c) · g) + b_out}. */
    private double[] convolution(int layer, Mixer.Convolution m, double[] x) {
        var w = (Weights.MixerWeights.Convolution) weights.layers().get(layer).mixer();
        int channels = m.channelCount();
        int taps = m.kernelSize();
        double[] h = linear(x, w.input());
        double[] past = states.get(layer).inputs();
        var y = new double[channels];
        for (int c = 0; c < channels; c++) {
            double sum = 0;
            for (int j = 0; j < taps - 1; j++) {
                sum += w.taps().at((long) c * taps + j) * past[j * channels + c];
            }
            sum += w.taps().at((long) c * taps + taps - 1) * h[c];
            sum += w.tapsBias().isPresent() ? w.tapsBias().get().at(c) : 0;
            y[c] = silu(sum) * h[channels + c];
        }
        if (taps > 1) {
            System.arraycopy(past, channels, past, 0, past.length - channels);
            System.arraycopy(h, 0, past, past.length - channels, channels);
        }
        return linear(y, w.output());
    }

    private double[] taylorAttention(int layer, Mixer.TaylorAttention m, double[] x) {
        var w = (Weights.MixerWeights.TaylorAttention)
                weights.layers().get(layer).mixer();
        double[] query = linear(x, w.query());
        double[] key = linear(x, w.key());
        double[] value = linear(x, w.value());
        var y = new double[m.headCount() * m.headWidth()];
        for (int head = 0; head < m.headCount(); head++) {
            taylorStep(m, head, query, key, value, states.get(layer).taylor(), y);
        }
        return linear(y, w.output());
    }

    /**
     * Advances one head by one token: {@code S ← S + φ(k)·vᵀ}, {@code z ← z + φ(k)}, {@code y = φ(q)·S / (φ(q)·z + ε)}.
     *
     * <p>arXiv 2402.18668, Taylor linear attention, with φ in its symmetric form: 1 + f + f(f+1)/2 features, all
     * weights on the query's side, so that {@code φ(q)·φ(k) = 1 + s + s²/2} with s = q·k / √scaleDim.
     *
     * @param query f64 [H, f], not scaled
     * @param key f64 [H, f]
     * @param value f64 [H, e]
     * @param state read and written
     * @param y f64 [H, e], the head's part is written
     */
    static void taylorStep(
            Mixer.TaylorAttention m,
            int head,
            double[] query,
            double[] key,
            double[] value,
            TaylorState state,
            double[] y) {
        int f = m.featureDim();
        int e = m.headWidth();
        double[] keyFeatures = keyFeatures(key, head * f, f);
        double[] queryFeatures = queryFeatures(query, head * f, f, m.scaleDim());
        double denominator = m.epsilon();
        for (int d = 0; d < keyFeatures.length; d++) {
            int row = head * keyFeatures.length + d;
            state.norms()[row] += keyFeatures[d];
            denominator += queryFeatures[d] * state.norms()[row];
            for (int i = 0; i < e; i++) {
                state.sums()[row * e + i] += keyFeatures[d] * value[head * e + i];
                y[head * e + i] += queryFeatures[d] * state.sums()[row * e + i];
            }
        }
        for (int i = 0; i < e; i++) {
            y[head * e + i] /= denominator;
        }
    }

    /** {@code 1, k_i, k_i·k_j (i ≤ j)}. */
    static double[] keyFeatures(double[] key, int start, int f) {
        var features = new double[1 + f + f * (f + 1) / 2];
        features[0] = 1;
        int d = 1 + f;
        for (int i = 0; i < f; i++) {
            features[1 + i] = key[start + i];
            for (int j = i; j < f; j++) {
                features[d++] = key[start + i] * key[start + j];
            }
        }
        return features;
    }

    /** {@code 1, q_i/√scaleDim, q_i·q_j/scaleDim (i < j) or half of it (i = j)}. */
    static double[] queryFeatures(double[] query, int start, int f, int scaleDim) {
        var scaled = new double[f];
        for (int i = 0; i < f; i++) {
            scaled[i] = query[start + i] / Math.sqrt(scaleDim);
        }
        double[] features = keyFeatures(scaled, 0, f);
        int d = 1 + f;
        for (int i = 0; i < f; i++) {
            features[d] /= 2;
            d += f - i;
        }
        return features;
    }

    /** Softmax attention over the token itself and the {@code reach} before it, rotary by absolute position. */
    private double[] windowAttention(int layer, Mixer.WindowAttention m, double[] x) {
        var w = (Weights.MixerWeights.WindowAttention)
                weights.layers().get(layer).mixer();
        int e = m.headWidth();
        double[] h = linear(x, w.input());
        int queryEnd = m.headCount() * e;
        int keyEnd = queryEnd + m.keyHeadCount() * e;
        double[] query = Arrays.copyOfRange(h, 0, queryEnd);
        double[] key = Arrays.copyOfRange(h, queryEnd, keyEnd);
        rotate(m, query, position);
        rotate(m, key, position);
        var keys = states.get(layer).keys();
        var values = states.get(layer).values();
        keys.add(key);
        values.add(Arrays.copyOfRange(h, keyEnd, h.length));
        if (keys.size() > m.reach() + 1) {
            keys.removeFirst();
            values.removeFirst();
        }
        var y = new double[queryEnd];
        for (int head = 0; head < m.headCount(); head++) {
            attend(m, head, query, keys, values, y);
        }
        return linear(y, w.output());
    }

    private static void attend(
            Mixer.WindowAttention m, int head, double[] query, List<double[]> keys, List<double[]> values, double[] y) {
        int e = m.headWidth();
        int keyHead = head / (m.headCount() / m.keyHeadCount());
        var scores = new double[keys.size()];
        for (int j = 0; j < scores.length; j++) {
            double dot = 0;
            for (int i = 0; i < e; i++) {
                dot += query[head * e + i] * keys.get(j)[keyHead * e + i];
            }
            scores[j] = dot * m.scale();
        }
        double max = Arrays.stream(scores).max().orElseThrow();
        double total = 0;
        for (int j = 0; j < scores.length; j++) {
            scores[j] = Math.exp(scores[j] - max);
            total += scores[j];
        }
        for (int j = 0; j < scores.length; j++) {
            for (int i = 0; i < e; i++) {
                y[head * e + i] += scores[j] / total * values.get(j)[keyHead * e + i];
            }
        }
    }

    /** Rotates the first rotaryDim entries of each head: angle {@code position · base^(-2i/rotaryDim)}. */
    static void rotate(Mixer.WindowAttention m, double[] heads, long position) {
        int half = m.rotaryDim() / 2;
        for (int start = 0; start < heads.length; start += m.headWidth()) {
            for (int i = 0; i < half; i++) {
                double angle = position * Math.pow(m.rotaryBase(), -2.0 * i / m.rotaryDim());
                int low = start + (m.isRotaryInterleaved() ? 2 * i : i);
                int high = m.isRotaryInterleaved() ? low + 1 : low + half;
                double a = heads[low];
                double b = heads[high];
                heads[low] = a * Math.cos(angle) - b * Math.sin(angle);
                heads[high] = a * Math.sin(angle) + b * Math.cos(angle);
            }
        }
    }

    /** {@code fc2(value · activation(gate))}. */
    private double[] mlp(double[] x, Weights.MlpWeights w) {
        int inner = config.mlp().innerWidth();
        double[] h = linear(x, w.fc1());
        double[] value = w.fc3().isPresent() ? linear(x, w.fc3().get()) : Arrays.copyOf(h, inner);
        double[] gate = w.fc3().isPresent() ? h : Arrays.copyOfRange(h, inner, 2 * inner);
        var y = new double[inner];
        for (int i = 0; i < inner; i++) {
            y[i] = value[i] * activation(config.mlp().activation(), gate[i]);
        }
        return linear(y, w.fc2());
    }

    static double activation(ModelConfig.Activation activation, double x) {
        return switch (activation) {
            case SILU -> silu(x);
            case SIGMOID -> 1 / (1 + Math.exp(-x));
            case GELU -> x * 0.5 * (1 + erf(x / Math.sqrt(2)));
        };
    }

    private static double silu(double x) {
        return x / (1 + Math.exp(-x));
    }

    /** Error function by its Maclaurin series, and 1 minus a continued fraction where that converges slowly. */
    static double erf(double x) {
        double magnitude = Math.abs(x);
        if (magnitude > 6) {
            return Math.signum(x);
        }
        if (magnitude < 3) {
            double term = x;
            double sum = x;
            for (int n = 1; n < 100; n++) {
                term *= -x * x / n;
                sum += term / (2 * n + 1);
            }
            return 2 / Math.sqrt(Math.PI) * sum;
        }
        double fraction = 0;
        for (int n = 60; n > 0; n--) {
            fraction = n / 2.0 / (magnitude + fraction);
        }
        double complement = Math.exp(-x * x) / Math.sqrt(Math.PI) / (magnitude + fraction);
        return Math.signum(x) * (1 - complement);
    }

    private static double[] row(Tensor tensor, int index) {
        int width = tensor.shape().getLast();
        var row = new double[width];
        for (int i = 0; i < width; i++) {
            row[i] = tensor.at((long) index * width + i);
        }
        return row;
    }

    private static void add(double[] sum, double[] addend) {
        for (int i = 0; i < sum.length; i++) {
            sum[i] += addend[i];
        }
    }
}
