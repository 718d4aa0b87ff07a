package basalt.engine.text;

import com.knuddels.jtokkit.api.Encoding;
import java.util.Arrays;
import java.util.concurrent.CancellationException;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.IntStream;

/**
 * Encodes long texts part by part, with the result of encoding them whole: jtokkit takes 180 bytes of heap and more for
 * a byte of one word, and cannot be interrupted. Safe for use by any number of threads.
 */
final class PartedEncoding {
    /** GPT-2's, with {@code \s} as Unicode's white space. */
    static final Pattern WORDS = Pattern.compile(
            "'(?:[sdmt]|ll|ve|re)| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+",
            Pattern.UNICODE_CHARACTER_CLASS);

    /** Characters that are encoded at once: a millisecond's work. */
    private static final int PART = 4_096;

    private final Encoding encoding;
    private final WordWindows windows;

    /**
     * Of an encoding that splits text by {@link #WORDS}.
     *
     * @param bytesOfRank bytes of each token
     */
    PartedEncoding(Encoding encoding, int[] bytesOfRank) {
        this.encoding = encoding;
        windows = new WordWindows(encoding, bytesOfRank);
    }

    /**
     * Ranks of a text.
     *
     * @throws CancellationException if the thread is interrupted before the end of a long text
     */
    int[] encode(String text) {
        if (text.length() <= PART) {
            return encoding.encodeOrdinary(text).toArray();
        }
        var ranks = IntStream.builder();
        int at = 0;
        while (at < text.length()) {
            checkInterrupt();
            int end = cut(text, at);
            if (end > at) {
                add(encoding.encodeOrdinary(text.substring(at, end)).toArray(), ranks);
                at = end;
            } else {
                at = encodeWords(text, at, ranks);
            }
        }
        return ranks.build().toArray();
    }

    static void checkInterrupt() {
        if (Thread.currentThread().isInterrupted()) {
            throw new CancellationException("interrupted while a text is encoded");
        }
    }

    private static void add(int[] some, IntStream.Builder all) {
        Arrays.stream(some).forEach(all);
    }

    /**
     * The end of a part that encodes as it does within the text; its start if there is none. White space is in a word
     * with others only as its first character, so no word has what is before and after the beginning of white space,
     * and none looks across it.
     */
    private static int cut(String text, int start) {
        int end = start + PART;
        if (end >= text.length()) {
            return text.length();
        }
        while (end > start && !(isBlank(text.charAt(end)) && isVisible(text.charAt(end - 1)))) {
            end--;
        }
        return end;
    }

    private static boolean isBlank(char c) {
        return c == ' ' || c == '\n';
    }

    /** Whether it is surely no white space. */
    private static boolean isVisible(char c) {
        return !Character.isWhitespace(c) && !Character.isSpaceChar(c) && c != '\u0085';
    }

    /** Encodes a part's words one by one; the last one may end behind it. */
    private int encodeWords(String text, int start, IntStream.Builder ranks) {
        Matcher words = WORDS.matcher(text).region(start, text.length());
        int end = start;
        while (end < start + PART && words.find()) {
            end = words.end();
            add(windows.encode(words.group()), ranks);
        }
        return end;
    }
}
