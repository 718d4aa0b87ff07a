package basalt.engine.backend.cpu;

import static basalt.engine.backend.cpu.VectorOps.FLOATS;
import static basalt.engine.backend.cpu.VectorOps.LANES;

import basalt.engine.model.ModelConfig;
import basalt.engine.model.ModelConfig.Activation;
import basalt.engine.model.Weights;
import jdk.incubator.vector.FloatVector;

/** The MLP of one layer; see {@link Reference}. Value and gate come in pairs of panels. */
final class GatedMlp {
    private final Step step;
    private final Activations hidden;
    private final Activations mixed;
    private final Activation activation;
    private final Projection input;
    private final Projection output;

    GatedMlp(LayerParts parts, int layer, Norm norm, Activation activation) {
        step = parts.step();
        hidden = parts.hidden();
        mixed = parts.mixed();
        this.activation = activation;
        input = parts.mlpInput(layer, norm, this::gate);
        output = parts.mlpOutput(layer);
    }

    /** Pairs of panels, values beside their gates. */
    static PackedMatrix packInput(ModelConfig.Mlp config, Weights.MlpWeights w, Packing packing) {
        int inner = config.innerWidth();
        return w.fc3().isPresent()
                ? packing.ofPairs(w.fc3().get(), 0, w.fc1(), 0, inner)
                : packing.ofPairs(w.fc1(), 0, w.fc1(), inner, inner);
    }

    /** Adds the MLP to the residual of all tokens. */
    void run() {
        input.run(step.tokenCount());
        output.run(step.tokenCount());
    }

    private void gate(int panelFrom, int panelTo, int rowCount, int worker) {
        for (int row = 0; row < rowCount; row++) {
            int from = hidden.at(row);
            int to = mixed.at(row);
            for (int panel = panelFrom; panel < panelTo; panel += 2) {
                int column = from + panel * PackedMatrix.PANEL;
                int inner = to + panel / 2 * PackedMatrix.PANEL;
                for (int i = 0; i < PackedMatrix.PANEL; i += LANES) {
                    FloatVector value = FloatVector.fromArray(FLOATS, hidden.data(), column + i);
                    FloatVector gate = FloatVector.fromArray(FLOATS, hidden.data(), column + PackedMatrix.PANEL + i);
                    VectorOps.gated(activation, value, gate).intoArray(mixed.data(), inner + i);
                }
            }
        }
    }
}
