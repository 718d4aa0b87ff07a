package basalt.engine.text;

import java.nio.ByteBuffer;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;

/** Finds tokens whose bytes are given ones, exactly. Safe for use by any number of threads. */
public final class ByteSpelling {
    private static final int BYTES = 256;

    private final Tokenizer tokenizer;
    private final int[] byteTokens = new int[BYTES]; // of one byte each; -1 where there is none

    /** Of a model's first {@code vocabSize} tokens. */
    public ByteSpelling(Tokenizer tokenizer, TokenBytes bytes, int vocabSize) {
        this.tokenizer = tokenizer;
        Arrays.fill(byteTokens, -1);
        for (int token = vocabSize - 1; token >= 0; token--) {
            if (bytes.count(token) == 1) {
                byteTokens[bytes.at(token, 0) & 0xff] = token;
            }
        }
    }

    /**
     * As the tokenizer encodes the text that the bytes are; bytes that it does not give back are spelled one by one, as
     * far as the vocabulary has them.
     */
    public int[] encode(byte[] bytes) {
        if (bytes.length == 0) {
            return new int[0];
        }
        try {
            String text = StandardCharsets.UTF_8
                    .newDecoder()
                    .decode(ByteBuffer.wrap(bytes))
                    .toString();
            int[] tokens = tokenizer.encode(text);
            if (isSpelledBy(tokens, bytes)) {
                return tokens;
            }
        } catch (CharacterCodingException e) {
            return spell(bytes);
        }
        return spell(bytes);
    }

    private boolean isSpelledBy(int[] tokens, byte[] bytes) {
        int at = 0;
        for (int token : tokens) {
            byte[] part = tokenizer.bytes(token);
            if (at + part.length > bytes.length || !Arrays.equals(part, 0, part.length, bytes, at, at + part.length)) {
                return false;
            }
            at += part.length;
        }
        return at == bytes.length;
    }

    private int[] spell(byte[] bytes) {
        var tokens = new int[bytes.length];
        int count = 0;
        for (byte value : bytes) {
            int token = byteTokens[value & 0xff];
            if (token >= 0) {
                tokens[count++] = token;
            }
        }
        return Arrays.copyOf(tokens, count);
    }
}
