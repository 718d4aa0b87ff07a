package basalt.engine.state;

import java.util.ArrayList;
import java.util.List;

/**
 * The portable form of one sequence's state in memory: f32 elements of each tensor of {@link StateLayout} in canonical
 * order, whatever the backend's own types (bf16 widens exactly), and the tokens consumed.
 */
public final class StateImage implements SavedState {
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

    /** The same with fewer tokens consumed, as {@link #before} allows; shares the elements. */
    StateImage earlier(long count) {
        return new StateImage(this, count);
    }

    @Override
    public StateLayout layout() {
        return layout;
    }

    /** Elements of tensor {@code index} of the layout, row-major. */
    public float[] tensor(int index) {
        return tensors.get(index);
    }

    @Override
    public long tokenCount() {
        return tokenCount;
    }

    @Override
    public long bytes() {
        return layout.tensors().stream()
                .mapToLong(tensor -> (long) Float.BYTES * tensor.elementCount())
                .sum();
    }

    @Override
    public StateImage image() {
        return this;
    }

    /** Sets the tokens this state has consumed. */
    public void tokenCount(long value) {
        tokenCount = value;
    }
}
