package basalt.engine.backend.cpu;

import basalt.engine.model.Mixer;
import basalt.engine.state.StateImage;
import basalt.engine.state.StateLayout;
import java.util.Arrays;

/**
 * One layer's state of one slot, in the arrangement that the vector code reads. Confined to the engine thread and the
 * workers it waits for.
 */
sealed interface LayerState {
    /** All numbers of this layer. */
    float[][] arrays();

    /** Writes the layer's tensors into an image, from tensor {@code index} of the layout on; returns the next index. */
    int save(StateImage image, int index);

    /** Reads what {@link #save} wrote. */
    int load(StateImage image, int index);

    /** An empty state for a mixer. */
    static LayerState of(Mixer mixer) {
        return switch (mixer) {
            case Mixer.Convolution m -> new Convolution(m);
            case Mixer.TaylorAttention m -> new Taylor(m);
            case Mixer.WindowAttention m -> new Window(m);
        };
    }

    /** Sets every number. */
    default void fill(float value) {
        for (float[] array : arrays()) {
            Arrays.fill(array, value);
        }
    }

    /** Becomes equal to another state of the same mixer. */
    default void copyFrom(LayerState other) {
        float[][] from = other.arrays();
        float[][] to = arrays();
        for (int i = 0; i < to.length; i++) {
            System.arraycopy(from[i], 0, to[i], 0, to[i].length);
        }
    }

    /** Ring of the convolution's last inputs. */
    final class Convolution implements LayerState {
        final int ringLength; // K-1+R
        final int stride; // C padded to panels
        final float[] inputs; // [ringLength, stride]
        private final int channelCount;

        Convolution(Mixer.Convolution m) {
            channelCount = m.channelCount();
            ringLength = m.kernelSize() - 1 + StateLayout.ROLLBACK_TOKENS;
            stride = (channelCount + PackedMatrix.PANEL - 1) / PackedMatrix.PANEL * PackedMatrix.PANEL;
            inputs = new float[ringLength * stride];
        }

        @Override
        public float[][] arrays() {
            return new float[][] {inputs};
        }

        @Override
        public int save(StateImage image, int index) {
            copyRows(inputs, stride, image.tensor(index), channelCount, ringLength, channelCount);
            return index + 1;
        }

        @Override
        public int load(StateImage image, int index) {
            copyRows(image.tensor(index), channelCount, inputs, stride, ringLength, channelCount);
            return index + 1;
        }
    }

    /** Folded sums and the raw keys and values since the last fold. */
    final class Taylor implements LayerState {
        final int valueStride; // e padded to lanes
        final float[] sums; // [H, D, valueStride]
        final float[] norms; // [H, D]
        final float[] keys; // [H, f, F]: one entry of all keys side by side
        final float[] values; // [H, F, valueStride]
        final Rows sumRows;
        final Rows keyRows;
        final Rows valueRows;
        private final Mixer.TaylorAttention m;

        Taylor(Mixer.TaylorAttention m) {
            this.m = m;
            valueStride = VectorOps.padded(m.headWidth());
            sums = new float[m.headCount() * m.featureCount() * valueStride];
            norms = new float[m.headCount() * m.featureCount()];
            keys = new float[m.headCount() * m.featureDim() * StateLayout.FOLD_INTERVAL];
            values = new float[m.headCount() * StateLayout.FOLD_INTERVAL * valueStride];
            sumRows = new Rows(sums, valueStride, valueStride);
            keyRows = new Rows(keys, StateLayout.FOLD_INTERVAL, StateLayout.FOLD_INTERVAL);
            valueRows = new Rows(values, valueStride, valueStride);
        }

        @Override
        public float[][] arrays() {
            return new float[][] {sums, norms, keys, values};
        }

        @Override
        public int save(StateImage image, int index) {
            int e = m.headWidth();
            copyRows(sums, valueStride, image.tensor(index), e, m.headCount() * m.featureCount(), e);
            System.arraycopy(norms, 0, image.tensor(index + 1), 0, norms.length);
            for (int head = 0; head < m.headCount(); head++) {
                for (int j = 0; j < StateLayout.FOLD_INTERVAL; j++) {
                    for (int i = 0; i < m.featureDim(); i++) {
                        image.tensor(index + 2)[imageKey(head, j, i)] = keys[key(head, j, i)];
                    }
                    System.arraycopy(values, value(head, j), image.tensor(index + 3), imageValue(head, j), e);
                }
            }
            return index + 4;
        }

        @Override
        public int load(StateImage image, int index) {
            int e = m.headWidth();
            copyRows(image.tensor(index), e, sums, valueStride, m.headCount() * m.featureCount(), e);
            System.arraycopy(image.tensor(index + 1), 0, norms, 0, norms.length);
            for (int head = 0; head < m.headCount(); head++) {
                for (int j = 0; j < StateLayout.FOLD_INTERVAL; j++) {
                    for (int i = 0; i < m.featureDim(); i++) {
                        keys[key(head, j, i)] = image.tensor(index + 2)[imageKey(head, j, i)];
                    }
                    System.arraycopy(image.tensor(index + 3), imageValue(head, j), values, value(head, j), e);
                }
            }
            return index + 4;
        }

        int key(int head, int j, int i) {
            return (head * m.featureDim() + i) * StateLayout.FOLD_INTERVAL + j;
        }

        int value(int head, int j) {
            return (head * StateLayout.FOLD_INTERVAL + j) * valueStride;
        }

        int sum(int head, int d) {
            return (head * m.featureCount() + d) * valueStride;
        }

        private int imageKey(int head, int j, int i) {
            return (j * m.headCount() + head) * m.featureDim() + i;
        }

        private int imageValue(int head, int j) {
            return (j * m.headCount() + head) * m.headWidth();
        }
    }

    /** Rings of the last rotated keys and values. */
    final class Window implements LayerState {
        final int ringLength; // reach+R
        final int keyStride; // ringLength padded to lanes
        final int valueStride; // e padded to lanes
        final float[] keys; // [Hkv, e, keyStride]: one entry of all keys side by side
        final float[] values; // [Hkv, ringLength, valueStride]
        final Rows keyRows;
        final Rows valueRows;
        private final Mixer.WindowAttention m;

        Window(Mixer.WindowAttention m) {
            this.m = m;
            ringLength = m.reach() + StateLayout.ROLLBACK_TOKENS;
            keyStride = VectorOps.padded(ringLength);
            valueStride = VectorOps.padded(m.headWidth());
            keys = new float[m.keyHeadCount() * m.headWidth() * keyStride];
            values = new float[m.keyHeadCount() * ringLength * valueStride];
            keyRows = new Rows(keys, keyStride, keyStride);
            valueRows = new Rows(values, valueStride, valueStride);
        }

        @Override
        public float[][] arrays() {
            return new float[][] {keys, values};
        }

        @Override
        public int save(StateImage image, int index) {
            for (int j = 0; j < ringLength; j++) {
                for (int head = 0; head < m.keyHeadCount(); head++) {
                    int at = (j * m.keyHeadCount() + head) * m.headWidth();
                    for (int i = 0; i < m.headWidth(); i++) {
                        image.tensor(index)[at + i] = keys[key(head, j, i)];
                    }
                    System.arraycopy(values, value(head, j), image.tensor(index + 1), at, m.headWidth());
                }
            }
            return index + 2;
        }

        @Override
        public int load(StateImage image, int index) {
            for (int j = 0; j < ringLength; j++) {
                for (int head = 0; head < m.keyHeadCount(); head++) {
                    int at = (j * m.keyHeadCount() + head) * m.headWidth();
                    for (int i = 0; i < m.headWidth(); i++) {
                        keys[key(head, j, i)] = image.tensor(index)[at + i];
                    }
                    System.arraycopy(image.tensor(index + 1), at, values, value(head, j), m.headWidth());
                }
            }
            return index + 2;
        }

        int key(int head, int j, int i) {
            return (head * m.headWidth() + i) * keyStride + j;
        }

        int value(int head, int j) {
            return (head * ringLength + j) * valueStride;
        }
    }

    private static void copyRows(float[] from, int fromStride, float[] to, int toStride, int rows, int width) {
        for (int row = 0; row < rows; row++) {
            System.arraycopy(from, row * fromStride, to, row * toStride, width);
        }
    }
}
