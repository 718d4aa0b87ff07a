package basalt.engine.backend.cuda;

import java.util.Arrays;

/** Numbers of rows that a pass is padded to, ascending up to the most there can be. */
final class RowBuckets {
    private static final int[] SIZES = {1, 2, 3, 4, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512};

    private final int[] sizes;

    RowBuckets(int rowCountMax) {
        int below =
                (int) Arrays.stream(SIZES).filter(rows -> rows < rowCountMax).count();
        sizes = Arrays.copyOf(SIZES, below + 1);
        sizes[below] = rowCountMax;
    }

    int count() {
        return sizes.length;
    }

    int size(int index) {
        return sizes[index];
    }

    /** Index of the smallest with room for so many rows. */
    int indexOf(int rowCount) {
        int index = 0;
        while (sizes[index] < rowCount) {
            index++;
        }
        return index;
    }

    /** The smallest with room for so many rows; 0 for none. */
    int atLeast(int rowCount) {
        return rowCount == 0 ? 0 : sizes[indexOf(rowCount)];
    }
}
