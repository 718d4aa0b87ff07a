package basalt.engine.state;

/**
 * What a saved state was before its last tokens. All that differs is their count. Its release keeps the later state,
 * which others may hold.
 *
 * @param later the state as it was saved
 */
public record EarlierState(SavedState later, long tokenCount) implements SavedState {
    @Override
    public StateLayout layout() {
        return later.layout();
    }

    @Override
    public long bytes() {
        return later.bytes();
    }

    @Override
    public StateImage image() {
        return later.image().earlier(tokenCount);
    }

    /** The state that was saved, of this or any other. */
    public static SavedState whole(SavedState state) {
        return state instanceof EarlierState earlier ? whole(earlier.later()) : state;
    }
}
