package basalt.bench;

import java.util.Arrays;

/**
 * Tokens/s over several repeats.
 *
 * @param median the middle one
 * @param min the slowest
 * @param max the fastest
 */
record Rate(double median, double min, double max) {
    static Rate of(double[] tokensPerSecond) {
        var sorted = tokensPerSecond.clone();
        Arrays.sort(sorted);
        return new Rate(sorted[sorted.length / 2], sorted[0], sorted[sorted.length - 1]);
    }
}
