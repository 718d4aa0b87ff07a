package basalt.bench;

import java.util.Arrays;

/** Durations in nanoseconds, in any order. Confined to one thread, or guarded by its owner. */
final class Samples {
    private long[] values = new long[64];
    private int count;

    void add(long nanos) {
        if (count == values.length) {
            values = Arrays.copyOf(values, 2 * count);
        }
        values[count++] = nanos;
    }

    void addAll(Samples other) {
        if (count + other.count > values.length) {
            values = Arrays.copyOf(values, Math.max(2 * values.length, count + other.count));
        }
        System.arraycopy(other.values, 0, values, count, other.count);
        count += other.count;
    }

    int count() {
        return count;
    }

    /** The smallest value that at least this share of all does not exceed, in milliseconds; 0 if there are none. */
    double millisAt(double share) {
        if (count == 0) {
            return 0;
        }
        Arrays.sort(values, 0, count);
        int index = (int) Math.ceil(share * count) - 1;
        return values[Math.clamp(index, 0, count - 1)] / 1e6;
    }
}
