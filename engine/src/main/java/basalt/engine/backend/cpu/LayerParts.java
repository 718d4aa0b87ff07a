package basalt.engine.backend.cpu;

import basalt.engine.model.Mixer;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/**
 * What the layers of one model share: the step, the buffers and the workers.
 *
 * @param residual [T, d], the residual stream
 * @param normed [T, d], a projection's normalised input
 * @param hidden [T, widest packed input projection]
 * @param mixed [T, widest output projection's input]
 * @param mixerNorms the norm before each layer's mixer
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
    Projection input(int layer, PackedMatrix matrix, Projection.Epilogue epilogue) {
        return input(mixerNorms.get(layer), matrix, epilogue);
    }

    /** An input projection with its own norm. */
    Projection input(Norm norm, PackedMatrix matrix, Projection.Epilogue epilogue) {
        return new Projection(pool, matrix, norm, new Projection.Route(residual, normed, hidden), false, epilogue);
    }

    /** An output projection: product of {@code mixed}, added to the residual. */
    Projection output(PackedMatrix matrix) {
        var route = new Projection.Route(mixed, normed, residual);
        return new Projection(pool, matrix, null, route, true, (from, to, rows, worker) -> {});
    }
}
