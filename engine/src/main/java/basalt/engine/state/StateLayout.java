package basalt.engine.state;

import basalt.engine.model.ElementType;
import basalt.engine.model.Mixer;
import basalt.engine.model.ModelConfig;
import java.util.ArrayList;
import java.util.List;

/**
 * Order and shapes of one sequence's state: for each layer the tensors of its mixer, in this order.
 *
 * <ul>
 *   <li>convolution: {@code inputs} [K-1+R, C], a ring, the input of position p in row p mod (K-1+R)
 *   <li>Taylor attention: {@code sums} f32 [H, D, e] and {@code norms} f32 [H, D] of all folded tokens in the symmetric
 *       form; {@code keys} [F, H, f] and {@code values} [F, H, e], rings of the raw tokens since the last fold, F =
 *       FOLD_INTERVAL
 *   <li>window attention: {@code keys} (rotated) and {@code values} [reach+R, Hkv, e], rings
 * </ul>
 *
 * <p>Features of a key are {@code 1, k_i, k_i·k_j for i ≤ j} (i outer), raw products of unscaled entries; all weights
 * and scales are on the query: {@code 1, q_i/√scaleDim, q_i·q_j/scaleDim, halved where i = j}. So {@code norms[h, 0]}
 * is the count of folded tokens, exactly.
 *
 * <p>Rings hold R = {@link #ROLLBACK_TOKENS} tokens more than the model reads, so that a state rolls back.
 *
 * @param tensors in canonical order
 * @param bytes of one slot
 */
public record StateLayout(List<StateTensor> tensors, long bytes) {
    /** Tokens a state can take back, R: those in flight when a stop string is found, and the string's own. */
    public static final int ROLLBACK_TOKENS = 16;
    /** Raw tokens of Taylor attention are folded in aligned blocks of this many. */
    public static final int FOLD_INTERVAL = 32;

    /** What a state tensor is. */
    public enum Role {
        /** Ring of convolution inputs. */
        CONVOLUTION_INPUTS,
        /** Taylor state S. */
        TAYLOR_SUMS,
        /** Taylor state z. */
        TAYLOR_NORMS,
        /** Ring of raw keys. */
        TAYLOR_KEYS,
        /** Ring of raw values. */
        TAYLOR_VALUES,
        /** Ring of rotated keys. */
        WINDOW_KEYS,
        /** Ring of values. */
        WINDOW_VALUES
    }

    /**
     * One tensor of one layer.
     *
     * @param shape lengths, outermost first
     */
    public record StateTensor(int layer, Role role, ElementType type, List<Integer> shape) {
        /** Product of the lengths. */
        public int elementCount() {
            return shape.stream().mapToInt(Integer::intValue).reduce(1, Math::multiplyExact);
        }

        /** Size of the elements. */
        public long bytes() {
            return (long) elementCount() * type.bytes();
        }
    }

    /** Copies the list. */
    public StateLayout {
        tensors = List.copyOf(tensors);
    }

    /**
     * The layout of a model's states.
     *
     * @param ringType of all rings; S and z are always f32
     */
    public static StateLayout of(ModelConfig config, ElementType ringType) {
        var tensors = new ArrayList<StateTensor>();
        for (int layer = 0; layer < config.layerCount(); layer++) {
            addTensors(tensors, layer, config.mixers().get(layer), ringType);
        }
        return new StateLayout(
                tensors, tensors.stream().mapToLong(StateTensor::bytes).sum());
    }

    /** Whether the tensors are the same but for the types of their elements, so that images can be exchanged. */
    public boolean hasShapesOf(StateLayout other) {
        if (tensors.size() != other.tensors.size()) {
            return false;
        }
        for (int i = 0; i < tensors.size(); i++) {
            var mine = tensors.get(i);
            var its = other.tensors.get(i);
            if (mine.layer() != its.layer()
                    || mine.role() != its.role()
                    || !mine.shape().equals(its.shape())) {
                return false;
            }
        }
        return true;
    }

    /** Whether consuming the tokens at positions [from, to) folded a block. */
    public static boolean foldsBetween(long from, long to) {
        long firstFold = Math.max(1, Math.ceilDiv(from, FOLD_INTERVAL)) * FOLD_INTERVAL;
        return firstFold < to;
    }

    private static void addTensors(List<StateTensor> tensors, int layer, Mixer mixer, ElementType ringType) {
        switch (mixer) {
            case Mixer.Convolution m ->
                tensors.add(new StateTensor(
                        layer,
                        Role.CONVOLUTION_INPUTS,
                        ringType,
                        List.of(m.kernelSize() - 1 + ROLLBACK_TOKENS, m.channelCount())));
            case Mixer.TaylorAttention m -> {
                int heads = m.headCount();
                int features = m.featureCount();
                var sums = List.of(heads, features, m.headWidth());
                var keys = List.of(FOLD_INTERVAL, heads, m.featureDim());
                var values = List.of(FOLD_INTERVAL, heads, m.headWidth());
                tensors.add(new StateTensor(layer, Role.TAYLOR_SUMS, ElementType.F32, sums));
                tensors.add(new StateTensor(layer, Role.TAYLOR_NORMS, ElementType.F32, List.of(heads, features)));
                tensors.add(new StateTensor(layer, Role.TAYLOR_KEYS, ringType, keys));
                tensors.add(new StateTensor(layer, Role.TAYLOR_VALUES, ringType, values));
            }
            case Mixer.WindowAttention m -> {
                var shape = List.of(m.reach() + ROLLBACK_TOKENS, m.keyHeadCount(), m.headWidth());
                tensors.add(new StateTensor(layer, Role.WINDOW_KEYS, ringType, shape));
                tensors.add(new StateTensor(layer, Role.WINDOW_VALUES, ringType, shape));
            }
        }
    }
}
