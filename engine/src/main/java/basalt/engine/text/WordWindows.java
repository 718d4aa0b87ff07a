package basalt.engine.text;

import basalt.engine.EngineException.InvalidRequest;
import com.knuddels.jtokkit.api.Encoding;
import java.util.Arrays;
import org.jspecify.annotations.Nullable;

/**
 * Encodes a word of any length with the memory of a short one: by windows that overlap, each joined to those before at
 * a token that both have at the same place. The result is that of the word as a whole, where the pair of the lowest
 * rank is merged first, and of equals the leftmost:
 *
 * <ol>
 *   <li>Tokens side by side in the encoding of a text are the encoding of what they spell: no merge crossed
 *       their borders, and a merge that comes first in the text comes first in any part of it that has it.
 *   <li>So let {@code Xt} encode {@code xt}, and {@code tY} encode {@code ty}, with {@code t} one token. Then
 *       {@code XtY} encodes {@code xty}: its first merge across a border of {@code t} would be of two tokens that lie
 *       in {@code xt}, or in {@code ty}, and be the first one there too, which it is not.
 * </ol>
 *
 * <p>Windows that have no token in common, as a vocabulary can bring about, are made again twice as long.
 */
final class WordWindows {
    /** Characters. Of windows from 128 to 512, none was faster for all of digits, letters and Chinese. */
    private static final int WINDOW = 256;

    /** Characters of the longest windows, which take 100 MB if each has three bytes. */
    private static final int WINDOW_MAX = 128 * 1_024;

    /** Of a window, the share that the next one begins before its end. */
    private static final int OVERLAP_SHARE = 8;

    private final Encoding encoding;
    private final int[] bytesOfRank;

    WordWindows(Encoding encoding, int[] bytesOfRank) {
        this.encoding = encoding;
        this.bytesOfRank = bytesOfRank;
    }

    /**
     * Ranks of a word.
     *
     * @throws InvalidRequest if windows of bounded length have too little in common
     */
    int[] encode(String word) {
        for (int size = WINDOW; size <= WINDOW_MAX; size *= 2) {
            int[] ranks = encode(word, size);
            if (ranks != null) {
                return ranks;
            }
        }
        throw new InvalidRequest(
                "text",
                "A word of " + word.length() + " characters cannot be read in parts: have white space after "
                        + WINDOW_MAX + " at most.");
    }

    private int @Nullable [] encode(String word, int size) {
        var joined = new Ranks(word.length());
        var window = window(word, 0, 0, size);
        int known = 0; // tokens of the window that are joined already
        while (window.end < word.length()) {
            PartedEncoding.checkInterrupt();
            Window next = next(word, window, known, size);
            int shared = next == null ? -1 : shared(window, known, next);
            if (next == null || shared < 0) {
                return null;
            }
            int bytes = window.startBytes + bytes(window.ranks, 0, shared);
            joined.add(window.ranks, known, shared);
            known = index(next, bytes);
            window = next;
        }
        joined.add(window.ranks, known, window.ranks.length);
        return joined.toArray();
    }

    /**
     * A piece of a word.
     *
     * @param start index of its first character
     * @param end index behind its last character
     * @param startBytes of the word before it
     * @param ranks of its tokens
     */
    @SuppressWarnings("ArrayRecordComponent") // never compared
    private record Window(int start, int end, int startBytes, int[] ranks) {}

    private Window window(String word, int start, int startBytes, int size) {
        int end = Math.min(word.length(), start + size);
        if (end < word.length() && Character.isLowSurrogate(word.charAt(end))) {
            end++;
        }
        // A part of a word is a word, as all its characters are of one class.
        int[] ranks = encoding.encodeOrdinary(word.substring(start, end)).toArray();
        return new Window(start, end, startBytes, ranks);
    }

    /** The window that begins with a token of this one, as near to its end as the overlap allows; null without one. */
    private @Nullable Window next(String word, Window window, int known, int size) {
        int last = window.end - size / OVERLAP_SHARE;
        int start = -1;
        int startBytes = 0;
        int at = window.start;
        int bytes = window.startBytes; // before the character
        int tokenBytes = window.startBytes; // before the token
        for (int i = 0; i < window.ranks.length; i++) {
            while (bytes < tokenBytes) {
                int c = word.codePointAt(at);
                at += Character.charCount(c);
                bytes += utf8Bytes(c);
            }
            if (at > last) {
                break;
            }
            if (bytes == tokenBytes && i >= known && at > window.start) {
                start = at;
                startBytes = bytes;
            }
            tokenBytes += bytesOfRank[window.ranks[i]];
        }
        return start < 0 ? null : window(word, start, startBytes, size);
    }

    private static int utf8Bytes(int codePoint) {
        return codePoint < 0x80 ? 1 : codePoint < 0x800 ? 2 : codePoint < 0x10000 ? 3 : 4;
    }

    private int bytes(int[] ranks, int from, int to) {
        int bytes = 0;
        for (int i = from; i < to; i++) {
            bytes += bytesOfRank[ranks[i]];
        }
        return bytes;
    }

    /** The first token of a window that the next one has too; negative if there is none. */
    private int shared(Window window, int known, Window next) {
        int mine = known;
        int mineAt = window.startBytes + bytes(window.ranks, 0, known);
        int other = 0;
        int otherAt = next.startBytes;
        while (mine < window.ranks.length && other < next.ranks.length) {
            if (mineAt == otherAt && window.ranks[mine] == next.ranks[other]) {
                return mine;
            }
            if (mineAt <= otherAt) {
                mineAt += bytesOfRank[window.ranks[mine++]];
            } else {
                otherAt += bytesOfRank[next.ranks[other++]];
            }
        }
        return -1;
    }

    /** The token of a window that begins behind so many bytes of the word. */
    private int index(Window window, int bytes) {
        int i = 0;
        for (int at = window.startBytes; at < bytes; i++) {
            at += bytesOfRank[window.ranks[i]];
        }
        return i;
    }

    /** Grows. */
    private static final class Ranks {
        private int[] ranks;
        private int count;

        Ranks(int characterCount) {
            ranks = new int[Math.min(characterCount, WINDOW)];
        }

        void add(int[] some, int from, int to) {
            int length = to - from;
            if (count + length > ranks.length) {
                ranks = Arrays.copyOf(ranks, Math.max(count + length, ranks.length + ranks.length / 2));
            }
            System.arraycopy(some, from, ranks, count, length);
            count += length;
        }

        int[] toArray() {
            return count == ranks.length ? ranks : Arrays.copyOf(ranks, count);
        }
    }
}
