package basalt.engine.text;

import java.io.ByteArrayOutputStream;

/** The UTF-8 bytes of every token in one array, so that reading them allocates nothing. Immutable. */
public final class TokenBytes {
    private final byte[] bytes; // of all tokens, one after the other
    private final int[] starts; // [vocabSize + 1], into bytes

    /** Of the first {@code vocabSize} ids of a model; ids that the tokenizer lacks have no bytes. */
    public TokenBytes(Tokenizer tokenizer, int vocabSize) {
        var all = new ByteArrayOutputStream();
        starts = new int[vocabSize + 1];
        for (int token = 0; token < vocabSize; token++) {
            if (token < tokenizer.vocabSize()) {
                all.writeBytes(tokenizer.bytes(token));
            }
            starts[token + 1] = all.size();
        }
        bytes = all.toByteArray();
    }

    /** How many bytes a token has. */
    public int count(int token) {
        return starts[token + 1] - starts[token];
    }

    /** One byte of a token. */
    public byte at(int token, int index) {
        return bytes[starts[token] + index];
    }
}
