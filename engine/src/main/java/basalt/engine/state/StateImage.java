package basalt.engine.state;

import java.util.ArrayList;
import java.util.List;
import java.util.Optional;

/**
 * The portable form of one sequence's state in memory: f32 elements of each tensor of {@link StateLayout} in canonical
 * order, whatever the backend's own types (bf16 widens exactly), and the tokens consumed.
 */
public final class StateImage {
    private final StateLayout layout;
    private final List<float[]> tensors; // one for each of layout.tensors()
    private long tokenCount;

    /** An image of an empty sequence. */
    public StateImage(StateLayout layout) {
        this.layout = layout;
        tensors = new ArrayList<>(layout.tensors().size());
        for (var tensor : layout.tensors()) {
            tensors.add(new float[tensor.elementCount()]);
        }
    }

    private StateImage(StateImage other, long tokenCount) {
        layout = other.layout;
        tensors = other.tensors;
        this.tokenCount = tokenCount;
    }

    /**
     * What this state was before its last tokens; shares the elements. As a backend's rollback: rings still hold what
     * those tokens replace.
     *
     * @param count of tokens consumed then
     * @return empty if that is too long ago, or a block was folded since
     */
    public Optional<StateImage> before(long count) {
        boolean isWithinReach = count > 0
                && count <= tokenCount
                && tokenCount - count <= StateLayout.ROLLBACK_TOKENS
                && !StateLayout.foldsBetween(count, tokenCount);
        return isWithinReach ? Optional.of(new StateImage(this, count)) : Optional.empty();
    }

    /** Shapes of the tensors. */
    public StateLayout layout() {
        return layout;
    }

    /** Elements of tensor {@code index} of the layout, row-major. */
    public float[] tensor(int index) {
        return tensors.get(index);
    }

    /** Tokens this state has consumed. */
    public long tokenCount() {
        return tokenCount;
    }

    /** Sets the tokens this state has consumed. */
    public void tokenCount(long value) {
        tokenCount = value;
    }
}
