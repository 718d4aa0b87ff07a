package basalt.engine.text;

import java.util.Arrays;
import java.util.HashMap;
import java.util.Map;

/**
 * The merges of a byte-pair encoding, applied as the format defines them: of all neighbours that have a merge, the
 * one that is listed first is merged, the leftmost of several, until none is left.
 *
 * <p>This takes quadratic time and serves to check a vocabulary when it is read; texts are encoded by jtokkit.
 */
final class MergeTable {
    private final int[] idOfByte;
    private final Map<Long, Integer> indexOfPair = new HashMap<>();
    private int[] idOfIndex = new int[1024];
    private int size;

    /**
     * A table without merges.
     *
     * @param idOfByte ids of the 256 single bytes
     */
    MergeTable(int[] idOfByte) {
        this.idOfByte = idOfByte;
    }

    /** Adds the next merge; false if there is one of the same pair already. */
    boolean add(int left, int right, int merged) {
        if (indexOfPair.putIfAbsent(pair(left, right), size) != null) {
            return false;
        }
        if (size == idOfIndex.length) {
            idOfIndex = Arrays.copyOf(idOfIndex, 2 * size);
        }
        idOfIndex[size++] = merged;
        return true;
    }

    /** Merges. */
    int size() {
        return size;
    }

    /** The merge that completes a token from its bytes, -1 where the merges do not lead to it. */
    int lastMerge(byte[] bytes, int token) {
        var ids = new int[bytes.length];
        for (int i = 0; i < ids.length; i++) {
            ids[i] = idOfByte[Byte.toUnsignedInt(bytes[i])];
        }
        int length = ids.length;
        int last = -1;
        while (length > 1) {
            int first = first(ids, length);
            if (first < 0) {
                return -1;
            }
            last = index(ids[first], ids[first + 1]);
            ids[first] = idOfIndex[last];
            length--;
            System.arraycopy(ids, first + 2, ids, first + 1, length - first - 1);
        }
        return length == 1 && ids[0] == token ? last : -1;
    }

    private int first(int[] ids, int length) {
        int first = -1;
        int firstIndex = Integer.MAX_VALUE;
        for (int i = 0; i + 1 < length; i++) {
            int index = index(ids[i], ids[i + 1]);
            if (index >= 0 && index < firstIndex) {
                first = i;
                firstIndex = index;
            }
        }
        return first;
    }

    private int index(int left, int right) {
        return indexOfPair.getOrDefault(pair(left, right), -1);
    }

    private static long pair(int left, int right) {
        return (long) left << 32 | right;
    }
}
