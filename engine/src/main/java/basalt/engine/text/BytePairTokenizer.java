package basalt.engine.text;

import basalt.engine.Checks;
import com.knuddels.jtokkit.api.Encoding;
import java.io.ByteArrayOutputStream;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.HashMap;
import java.util.Map;
import java.util.Optional;

/** Byte-level byte-pair encoding: jtokkit's, whose numbers are ranks of merges, with the ids of a vocabulary. */
final class BytePairTokenizer implements Tokenizer {
    private static final byte[] NO_BYTES = {};

    private final PartedEncoding encoding;
    private final int[] idOfRank;
    private final byte[][] bytesOfId;
    private final Map<String, Integer> specialTokens;
    private final Map<Integer, String> specialTexts = new HashMap<>();

    /**
     * Takes the arrays and maps over.
     *
     * @param encoding gives ranks, and splits text by {@link PartedEncoding#WORDS}
     * @param idOfRank ids by rank
     * @param bytesOfId bytes by id, none for special tokens
     * @param specialTokens ids by text
     */
    BytePairTokenizer(Encoding encoding, int[] idOfRank, byte[][] bytesOfId, Map<String, Integer> specialTokens) {
        this.encoding = new PartedEncoding(
                encoding,
                Arrays.stream(idOfRank).map(id -> bytesOfId[id].length).toArray());
        this.idOfRank = idOfRank;
        this.bytesOfId = bytesOfId;
        this.specialTokens = Map.copyOf(specialTokens);
        specialTokens.forEach((text, id) -> specialTexts.put(id, text));
    }

    @Override
    public int[] encode(String text) {
        checkSurrogates(text);
        int[] ids = encoding.encode(text);
        for (int i = 0; i < ids.length; i++) {
            ids[i] = idOfRank[ids[i]];
        }
        return ids;
    }

    private static void checkSurrogates(String text) {
        for (int i = 0; i < text.length(); i++) {
            char c = text.charAt(i);
            if (Character.isSurrogate(c)) {
                boolean isPair = Character.isHighSurrogate(c)
                        && i + 1 < text.length()
                        && Character.isLowSurrogate(text.charAt(i + 1));
                if (!isPair) {
                    throw new IllegalArgumentException("the text has a lone surrogate at index " + i);
                }
                i++;
            }
        }
    }

    @Override
    public byte[] bytes(int token) {
        Checks.argument(token >= 0, "token", token);
        return token < bytesOfId.length ? bytesOfId[token].clone() : NO_BYTES;
    }

    @Override
    public String decode(int[] tokens) {
        var bytes = new ByteArrayOutputStream(4 * tokens.length);
        for (int token : tokens) {
            bytes.writeBytes(bytes(token));
        }
        return bytes.toString(StandardCharsets.UTF_8);
    }

    @Override
    public int vocabSize() {
        return bytesOfId.length;
    }

    @Override
    public Optional<Integer> specialToken(String text) {
        return Optional.ofNullable(specialTokens.get(text));
    }

    @Override
    public Optional<String> specialText(int token) {
        return Optional.ofNullable(specialTexts.get(token));
    }
}
