package basalt.engine.text;

import java.nio.charset.StandardCharsets;
import java.util.Arrays;

/**
 * The characters that stand for bytes in the token names of a byte-level vocabulary, as GPT-2 has them: printable
 * Latin-1 characters for themselves, U+0100 and up in order for all others. So a space is {@code Ġ}.
 */
final class ByteCharacters {
    private static final int[] BYTE_OF_CHAR = byteOfChar();

    private ByteCharacters() {}

    /** Bytes of a token by its name; a name with a character that stands for no byte is taken as it is. */
    static byte[] bytes(String name) {
        var bytes = new byte[name.length()];
        for (int i = 0; i < bytes.length; i++) {
            char c = name.charAt(i);
            if (c >= BYTE_OF_CHAR.length || BYTE_OF_CHAR[c] < 0) {
                return name.getBytes(StandardCharsets.UTF_8);
            }
            bytes[i] = (byte) BYTE_OF_CHAR[c];
        }
        return bytes;
    }

    private static int[] byteOfChar() {
        var byteOfChar = new int[256 + 68];
        Arrays.fill(byteOfChar, -1);
        int next = 256;
        for (int b = 0; b < 256; b++) {
            boolean isPrintable = (b >= '!' && b <= '~') || (b >= 0xA1 && b <= 0xAC) || b >= 0xAE;
            byteOfChar[isPrintable ? b : next++] = b;
        }
        return byteOfChar;
    }
}
