package basalt.engine.text;

import basalt.engine.Checks;
import java.nio.charset.StandardCharsets;
import java.util.List;

/**
 * Finds the first of several stop strings in text that arrives token by token, also across their borders, and says how
 * much of the text may be shown. Confined to one thread. Allocates nothing after construction.
 *
 * <p>The first match is the one that ends first; of several that end at the same byte, the longest. Each pattern runs
 * its own automaton (Knuth, Morris, Pratt, "Fast pattern matching in strings", 1977), so that a byte costs a constant
 * number of comparisons per pattern on average over any text. A byte that could be the beginning of a stop string is
 * held back until it cannot.
 */
public final class StopMatcher {
    private final byte[][] patterns; // [P, length]
    private final int[][] failures; // [P, length + 1]: the longest border of the first n bytes
    private final int[] matched; // [P]: how many bytes of each pattern the text ends with
    private long byteCount;
    private long visibleBytes;
    private int matchedPattern = -1;

    /** Looks for these strings, none of them empty. */
    public StopMatcher(List<String> stopStrings) {
        patterns = new byte[stopStrings.size()][];
        failures = new int[patterns.length][];
        matched = new int[patterns.length];
        for (int i = 0; i < patterns.length; i++) {
            Checks.argument(!stopStrings.get(i).isEmpty(), "stopStrings", i);
            patterns[i] = stopStrings.get(i).getBytes(StandardCharsets.UTF_8);
            failures[i] = failures(patterns[i]);
        }
    }

    private static int[] failures(byte[] pattern) {
        var failure = new int[pattern.length + 1];
        int border = 0;
        for (int n = 1; n < pattern.length; n++) {
            while (border > 0 && pattern[n] != pattern[border]) {
                border = failure[border];
            }
            if (pattern[n] == pattern[border]) {
                border++;
            }
            failure[n + 1] = border;
        }
        return failure;
    }

    /**
     * Appends one token.
     *
     * @param isStopping whether a match that ends in this token counts; else it becomes plain text
     * @return whether a stop string has been found, at which the text ends
     */
    public boolean append(TokenBytes bytes, int token, boolean isStopping) {
        Checks.argument(matchedPattern < 0, "matchedPattern", matchedPattern);
        int count = bytes.count(token);
        for (int i = 0; i < count; i++) {
            if (append(bytes.at(token, i), isStopping)) {
                return true;
            }
        }
        return false;
    }

    private boolean append(byte next, boolean isStopping) {
        byteCount++;
        int held = 0;
        for (int i = 0; i < patterns.length; i++) {
            advance(i, next);
            if (matched[i] == patterns[i].length) {
                if (isStopping && isLongestMatch(i)) {
                    matchedPattern = i;
                }
                if (!isStopping) {
                    matched[i] = failures[i][matched[i]];
                }
            }
            held = Math.max(held, matched[i]);
        }
        if (matchedPattern >= 0) {
            held = patterns[matchedPattern].length;
        }
        // A longer pattern that was under way may have begun before the match; what was held stays held.
        assert byteCount - held >= visibleBytes : held;
        visibleBytes = byteCount - held;
        return matchedPattern >= 0;
    }

    private void advance(int index, byte next) {
        var pattern = patterns[index];
        int n = matched[index];
        while (n > 0 && pattern[n] != next) {
            n = failures[index][n];
        }
        matched[index] = pattern[n] == next ? n + 1 : 0;
    }

    private boolean isLongestMatch(int index) {
        return matchedPattern < 0 || patterns[index].length > patterns[matchedPattern].length;
    }

    /**
     * Bytes of the text, from its start, that belong to no stop string, begun or found. While nothing is found more may
     * become visible; once something is, it is the final length.
     */
    public long visibleBytes() {
        return visibleBytes;
    }

    /** Bytes of all tokens appended; up to the end of the stop string once one is found. */
    public long byteCount() {
        return byteCount;
    }

    /** Index of the stop string found, or -1. */
    public int matchedIndex() {
        return matchedPattern;
    }
}
