package basalt.engine.text;

import java.io.ByteArrayOutputStream;
import java.util.Arrays;

/**
 * Where a text ends that is cut inside its tokens: the tokens wholly before the cut, and the bytes between them and the
 * cut. The bytes begin at a character's border if the text has one near.
 *
 * @param keptCount tokens that stay
 * @param rest bytes of the text behind those tokens
 */
@SuppressWarnings("ArrayRecordComponent") // never compared
public record TextCut(int keptCount, byte[] rest) {
    /** A character has no more bytes behind its first. */
    private static final int CONTINUATION_MAX = 3;

    /**
     * Cuts a text.
     *
     * @param tokens of the text, the first {@code count}
     * @param visibleBytes length of the text before the cut
     */
    public static TextCut of(TokenBytes bytes, int[] tokens, int count, long visibleBytes) {
        int kept = 0;
        long keptBytes = 0;
        while (kept < count && keptBytes + bytes.count(tokens[kept]) <= visibleBytes) {
            keptBytes += bytes.count(tokens[kept]);
            kept++;
        }
        int first = kept;
        long start = keptBytes;
        while (start < visibleBytes
                && first > 0
                && kept - first <= CONTINUATION_MAX
                && beginsInside(bytes, tokens[first])) {
            first--;
            start -= bytes.count(tokens[first]);
        }
        if (start < visibleBytes && beginsInside(bytes, tokens[first])) {
            first = kept; // no character begins near
            start = keptBytes;
        }
        return new TextCut(first, bytes(bytes, tokens, first, (int) (visibleBytes - start)));
    }

    /** Whether a token's first byte continues a character. A token without bytes says nothing, so one looks on. */
    private static boolean beginsInside(TokenBytes bytes, int token) {
        return bytes.count(token) == 0 || (bytes.at(token, 0) & 0xc0) == 0x80;
    }

    private static byte[] bytes(TokenBytes bytes, int[] tokens, int first, int length) {
        var out = new ByteArrayOutputStream();
        for (int index = first; out.size() < length; index++) {
            for (int i = 0; i < bytes.count(tokens[index]); i++) {
                out.write(bytes.at(tokens[index], i));
            }
        }
        return Arrays.copyOf(out.toByteArray(), length);
    }
}
