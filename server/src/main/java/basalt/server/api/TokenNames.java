package basalt.server.api;

import basalt.engine.text.Tokenizer;
import java.nio.ByteBuffer;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.util.Optional;
import java.util.concurrent.atomic.AtomicReferenceArray;

/**
 * Tokens as strings of JSON, for log-probabilities: their text, {@code bytes:\xe2\x80} for a part of a character, or
 * {@code token_id:123}. Made once a token. Safe for use by any number of threads.
 */
public final class TokenNames {
    private static final byte[] NO_BYTES = {};

    private final Optional<Tokenizer> tokenizer;
    private final AtomicReferenceArray<byte[]> names;

    /** Of a model's vocabulary. */
    public TokenNames(Optional<Tokenizer> tokenizer, int vocabSize) {
        this.tokenizer = tokenizer;
        this.names = new AtomicReferenceArray<>(vocabSize);
    }

    /** Appends the name of a token, quoted. */
    void write(JsonBuffer out, int token, boolean isById) {
        if (isById || tokenizer.isEmpty()) {
            out.raw("\"token_id:").number(token).raw("\"");
            return;
        }
        byte[] name = names.get(token);
        if (name == null) {
            name = quoted(tokenizer.get(), token);
            names.set(token, name);
        }
        out.raw(name);
    }

    /** Appends the bytes of a token as an array of numbers, or null if it has none. */
    void writeBytes(JsonBuffer out, int token) {
        byte[] bytes = tokenizer.isPresent() ? tokenizer.get().bytes(token) : NO_BYTES;
        if (bytes.length == 0) {
            out.raw("null");
            return;
        }
        for (int i = 0; i < bytes.length; i++) {
            out.raw(i == 0 ? "[" : ",").number(Byte.toUnsignedInt(bytes[i]));
        }
        out.raw("]");
    }

    private static byte[] quoted(Tokenizer tokenizer, int token) {
        var out = new JsonBuffer();
        byte[] bytes = tokenizer.bytes(token);
        if (bytes.length == 0) {
            return out.string(tokenizer.specialText(token).orElse("token_id:" + token))
                    .toByteArray();
        }
        try {
            String text = StandardCharsets.UTF_8
                    .newDecoder()
                    .decode(ByteBuffer.wrap(bytes))
                    .toString();
            return out.string(text).toByteArray();
        } catch (CharacterCodingException e) {
            return out.byteName(bytes).toByteArray();
        }
    }
}
