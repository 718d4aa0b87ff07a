package basalt.engine.backend.cpu;

import static basalt.engine.backend.cpu.VectorOps.FLOATS;
import static basalt.engine.backend.cpu.VectorOps.LANES;

import basalt.engine.model.Mixer;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import jdk.incubator.vector.FloatVector;

/**
 * What the layers of one model share: the step, the buffers and the workers.
 *
 * @param residual [T, d], the residual stream
 * @param normed [T, d], a projection's normalised input
 * @param hidden [T, widest packed projection]
 * @param mixed [T, widest output projection's input]
 * @param mixerNorms the norm before each layer's mixer
 * @param packed each layer's matrices
 * @param rotaries angles by shape of the attention
 */
record LayerParts(
        WorkerPool pool,
        Step step,
        Activations residual,
        Activations normed,
        Activations hidden,
        Activations mixed,
        List<Norm> mixerNorms,
        List<PackedLayer> packed,
        Map<RotaryShape, Rotary> rotaries,
        int tokenCountMax) {

    /** What the angles of a layer depend on. */
    record RotaryShape(int dim, double base, boolean isInterleaved) {}

    static Map<RotaryShape, Rotary> noRotaries() {
        return new HashMap<>();
    }

    Rotary rotary(Mixer.WindowAttention m) {
        var shape = new RotaryShape(m.rotaryDim(), m.rotaryBase(), m.isRotaryInterleaved());
        return rotaries.computeIfAbsent(shape, key -> new Rotary(m, tokenCountMax));
    }

    /** A mixer's input projection: norm of the residual, product into {@code hidden}. */
    Projection mixerInput(int layer, Projection.Epilogue epilogue) {
        return input(mixerNorms.get(layer), packed.get(layer).mixerInput(), epilogue);
    }

    /** A mixer's output projection: product of {@code mixed}, by way of {@code hidden} added to the residual. */
    Projection mixerOutput(int layer) {
        return output(packed.get(layer).mixerOutput());
    }

    /** The MLP's input projection, as a mixer's. */
    Projection mlpInput(int layer, Norm norm, Projection.Epilogue epilogue) {
        return input(norm, packed.get(layer).mlpInput(), epilogue);
    }

    /** The MLP's output projection, as a mixer's. */
    Projection mlpOutput(int layer) {
        return output(packed.get(layer).mlpOutput());
    }

    private Projection input(Norm norm, PackedMatrix matrix, Projection.Epilogue epilogue) {
        return new Projection(pool, matrix, norm, new Projection.Route(residual, normed, hidden), epilogue);
    }

    private Projection output(PackedMatrix matrix) {
        var route = new Projection.Route(mixed, normed, hidden);
        return new Projection(pool, matrix, null, route, this::addToResidual);
    }

    private void addToResidual(int panelFrom, int panelTo, int rowCount, int worker) {
        for (int row = 0; row < rowCount; row++) {
            int from = hidden.at(row);
            int to = residual.at(row);
            for (int i = panelFrom * PackedMatrix.PANEL; i < panelTo * PackedMatrix.PANEL; i += LANES) {
                FloatVector.fromArray(FLOATS, residual.data(), to + i)
                        .add(FloatVector.fromArray(FLOATS, hidden.data(), from + i))
                        .intoArray(residual.data(), to + i);
            }
        }
    }
}
