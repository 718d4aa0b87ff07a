package basalt.engine.backend.cpu;

/**
 * A matrix of activations, one row a token.
 *
 * @param data f32 [T, stride]
 * @param stride elements from one row to the next
 */
record Activations(float[] data, int stride) {
    /** Room for so many rows of at least so many columns. */
    static Activations of(int rowCount, int columnCount) {
        int panel = PackedMatrix.PANEL;
        // One panel more than needed: rows a power of two apart would share the same few cache sets.
        int stride = (columnCount + panel - 1) / panel * panel + panel;
        return new Activations(new float[Math.multiplyExact(rowCount, stride)], stride);
    }

    int at(int row) {
        return row * stride;
    }
}
