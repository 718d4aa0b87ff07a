package basalt.engine.backend.cpu;

import static basalt.engine.backend.cpu.VectorOps.FLOATS;
import static basalt.engine.backend.cpu.VectorOps.LANES;

import basalt.engine.model.Mixer;
import basalt.engine.model.Weights;
import jdk.incubator.vector.FloatVector;

/**
 * The gated short convolution of one layer; see {@link Reference}. The input projection's panels come in pairs, a
 * channel block beside its gate, so that the task that computed a pair also convolves and gates it.
 */
final class ConvolutionMixer implements LayerMixer {
    private final int layer;
    private final int tapCount; // K
    private final float[] taps; // [K, C padded to panels]
    private final float[] tapsBias; // [C padded to panels]
    private final int stride; // C padded to panels
    private final Step step;
    private final Activations hidden;
    private final Activations mixed;
    private final Projection input;
    private final Projection output;

    ConvolutionMixer(LayerParts parts, int layer, Mixer.Convolution m, Weights.MixerWeights.Convolution w) {
        this.layer = layer;
        step = parts.step();
        hidden = parts.hidden();
        mixed = parts.mixed();
        int channels = m.channelCount();
        tapCount = m.kernelSize();
        stride = (channels + PackedMatrix.PANEL - 1) / PackedMatrix.PANEL * PackedMatrix.PANEL;
        taps = new float[tapCount * stride];
        tapsBias = new float[stride];
        for (int c = 0; c < channels; c++) {
            for (int j = 0; j < tapCount; j++) {
                taps[j * stride + c] = w.taps().at((long) c * tapCount + j);
            }
            tapsBias[c] = w.tapsBias().isPresent() ? w.tapsBias().get().at(c) : 0;
        }
        input = parts.mixerInput(layer, this::convolve);
        output = parts.mixerOutput(layer);
    }

    /** Pairs of panels, a channel block beside its gate. */
    static PackedMatrix packInput(Mixer.Convolution m, Weights.MixerWeights.Convolution w, Packing packing) {
        return packing.ofPairs(w.input(), 0, w.input(), m.channelCount(), m.channelCount());
    }

    @Override
    public void run() {
        input.run(step.tokenCount());
        output.run(step.tokenCount());
    }

    private void convolve(int panelFrom, int panelTo, int rowCount, int worker) {
        for (int row = 0; row < step.rowCount(); row++) {
            var state = (LayerState.Convolution) step.slot(row).layer(layer);
            for (int token = step.start(row); token < step.end(row); token++) {
                int ringRow = (int) (step.position(token) % state.ringLength);
                for (int panel = panelFrom; panel < panelTo; panel += 2) {
                    int channel = panel / 2 * PackedMatrix.PANEL;
                    convolve(state, token, ringRow, panel * PackedMatrix.PANEL, channel);
                    convolve(state, token, ringRow, panel * PackedMatrix.PANEL + LANES, channel + LANES);
                }
            }
        }
    }

    /** {@code c_t = Σ_j w_j · a_(t-(K-1)+j)}, {@code silu(c) · g}, of one vector of channels. */
    private void convolve(LayerState.Convolution state, int token, int ringRow, int column, int channel) {
        int at = hidden.at(token) + column;
        FloatVector current = FloatVector.fromArray(FLOATS, hidden.data(), at);
        FloatVector gate = FloatVector.fromArray(FLOATS, hidden.data(), at + PackedMatrix.PANEL);
        FloatVector sum = VectorOps.broadcast(0);
        int past = ringRow - (tapCount - 1);
        for (int j = 0; j < tapCount - 1; j++, past++) {
            int pastRow = past < 0 ? past + state.ringLength : past;
            sum = FloatVector.fromArray(FLOATS, taps, j * stride + channel)
                    .fma(FloatVector.fromArray(FLOATS, state.inputs, pastRow * stride + channel), sum);
        }
        sum = FloatVector.fromArray(FLOATS, taps, (tapCount - 1) * stride + channel)
                .fma(current, sum)
                .add(FloatVector.fromArray(FLOATS, tapsBias, channel));
        current.intoArray(state.inputs, ringRow * stride + channel);
        VectorOps.silu(sum).mul(gate).intoArray(mixed.data(), mixed.at(token) + channel);
    }
}
