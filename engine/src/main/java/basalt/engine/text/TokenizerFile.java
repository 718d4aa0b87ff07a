package basalt.engine.text;

import basalt.engine.EngineException.InvalidCheckpoint;
import basalt.engine.json.JsonFields;
import com.knuddels.jtokkit.Encodings;
import com.knuddels.jtokkit.api.GptBytePairEncodingParams;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.HashMap;
import java.util.IdentityHashMap;
import java.util.List;
import java.util.Map;

/**
 * Reads {@code tokenizer.json}: byte-level byte-pair encoding with GPT-2's splitting of text, and nothing else. What
 * would give other ids is refused by the field's name.
 *
 * <p>The file lists merges of pairs, jtokkit merges any two neighbours that together are a token, by rank. Both give
 * the same ids once a token's rank is the index of the merge that completes it from its bytes, and tokens that their
 * own bytes do not lead to are left out: a pair that is no such merge never comes to stand side by side, for its bytes
 * alone would then not lead to the token. {@code TokenizerFilePropertyTest} compares the two.
 */
final class TokenizerFile {
    private static final long FILE_BYTES_MAX = 64 << 20;
    private static final int TOKEN_BYTES_MAX = 512;
    private static final int BYTES = 256;

    private final JsonFields top;
    private final JsonFields model;
    private final int vocabSize;
    private final Map<String, Integer> specialTokens = new HashMap<>();
    private final Map<String, Integer> ids = new HashMap<>();
    private final byte[][] bytesOfId;

    private TokenizerFile(JsonFields top, int vocabSize) {
        this.top = top;
        this.vocabSize = vocabSize;
        model = top.object("model").orElseThrow(() -> top.wrong("model", "is missing"));
        bytesOfId = new byte[vocabSize][];
    }

    /**
     * Reads a file.
     *
     * @param vocabSize ids of the model
     * @throws InvalidCheckpoint naming the field that is wrong or that cannot be honoured
     */
    static Tokenizer read(Path file, int vocabSize) {
        return read(JsonFields.read(file, FILE_BYTES_MAX), vocabSize);
    }

    /** As {@link #read(Path, int)}. */
    static Tokenizer read(JsonFields top, int vocabSize) {
        return new TokenizerFile(top, vocabSize).tokenizer();
    }

    private Tokenizer tokenizer() {
        checkSteps();
        checkModel();
        readSpecialTokens();
        readVocabulary();
        MergeTable merges = merges();
        // Ranks: the 256 bytes, then the merges.
        var idOfRank = new int[BYTES + merges.size()];
        var ranks = new IdentityHashMap<byte[], Integer>(); // jtokkit asks for arrays as keys
        int[] idOfByte = idOfByte();
        for (int b = 0; b < BYTES; b++) {
            idOfRank[b] = idOfByte[b];
            ranks.put(new byte[] {(byte) b}, b);
        }
        ids.forEach((name, id) -> {
            int merge = bytesOfId[id].length > 1 ? merges.lastMerge(bytesOfId[id], id) : -1;
            if (merge >= 0) {
                idOfRank[BYTES + merge] = id;
                ranks.put(bytesOfId[id], BYTES + merge);
            }
        });
        for (int id = 0; id < vocabSize; id++) {
            if (bytesOfId[id] == null || specialTokens.containsValue(id)) {
                bytesOfId[id] = new byte[0];
            }
        }
        var encoding = Encodings.newLazyEncodingRegistry()
                .registerGptBytePairEncoding(
                        new GptBytePairEncodingParams("tokenizer.json", PartedEncoding.WORDS, ranks, Map.of()))
                .getEncoding("tokenizer.json")
                .orElseThrow();
        return new BytePairTokenizer(encoding, idOfRank, bytesOfId, specialTokens);
    }

    /** Truncation and padding are not looked at: they are for batches of training, and callers switch them off. */
    private void checkSteps() {
        if (top.has("normalizer")) {
            throw top.wrong("normalizer", "must be null");
        }
        JsonFields words = top.object("pre_tokenizer").orElseThrow(() -> top.wrong("pre_tokenizer", "is missing"));
        checkIs(words, "type", "ByteLevel");
        if (words.flagOr("add_prefix_space", true)) {
            throw words.wrong("add_prefix_space", "must be false");
        }
        if (!words.flagOr("use_regex", true)) {
            throw words.wrong("use_regex", "must be true");
        }
        JsonFields decoder = top.object("decoder").orElseThrow(() -> top.wrong("decoder", "is missing"));
        checkIs(decoder, "type", "ByteLevel");
        top.object("post_processor").ifPresent(step -> checkIs(step, "type", "ByteLevel"));
    }

    private void checkModel() {
        checkIs(model, "type", "BPE");
        if (model.numberOr("dropout", 0, 0, 1) != 0) {
            throw model.wrong("dropout", "must be null or 0");
        }
        for (String affix : List.of("continuing_subword_prefix", "end_of_word_suffix")) {
            if (!model.text(affix).orElse("").isEmpty()) {
                throw model.wrong(affix, "must be null or empty");
            }
        }
        for (String flag : List.of("byte_fallback", "ignore_merges")) {
            if (model.flagOr(flag, false)) {
                throw model.wrong(flag, "must be false");
            }
        }
    }

    private static void checkIs(JsonFields fields, String name, String value) {
        String found = fields.text(name).orElse("missing");
        if (!found.equals(value)) {
            throw fields.wrong(name, "must be " + value + ", is " + found);
        }
    }

    /** Special tokens beyond the ids of the model can never occur and are left out. */
    private void readSpecialTokens() {
        for (JsonFields token : top.objects("added_tokens")) {
            long id = token.integer("id", 0, Integer.MAX_VALUE);
            String content = token.text("content").orElseThrow(() -> token.wrong("content", "is missing"));
            if (!token.flagOr("special", false)) {
                throw token.wrong("special", "must be true");
            }
            if (id < vocabSize) {
                specialTokens.put(content, (int) id);
            }
        }
    }

    private void readVocabulary() {
        JsonFields vocabulary = model.object("vocab").orElseThrow(() -> model.wrong("vocab", "is missing"));
        for (String name : vocabulary.names()) {
            if (specialTokens.containsKey(name)) {
                continue;
            }
            int id = (int) vocabulary.integer(name, 0, vocabSize - 1L);
            if (bytesOfId[id] != null) {
                throw vocabulary.wrong(name, "has the id " + id + " of another token");
            }
            bytesOfId[id] = ByteCharacters.bytes(name);
            if (bytesOfId[id].length > TOKEN_BYTES_MAX) {
                throw vocabulary.wrong(name.substring(0, 20) + "...", "is longer than " + TOKEN_BYTES_MAX + " bytes");
            }
            ids.put(name, id);
        }
    }

    private int[] idOfByte() {
        var idOfByte = new int[BYTES];
        Arrays.fill(idOfByte, -1);
        for (int id : ids.values()) {
            if (bytesOfId[id].length == 1) {
                idOfByte[Byte.toUnsignedInt(bytesOfId[id][0])] = id;
            }
        }
        for (int b = 0; b < BYTES; b++) {
            if (idOfByte[b] < 0) {
                throw model.wrong("vocab", "has no token for the byte " + b);
            }
        }
        return idOfByte;
    }

    private MergeTable merges() {
        var table = new MergeTable(idOfByte());
        List<?> merges = model.items("merges");
        for (int i = 0; i < merges.size(); i++) {
            String place = "merges[" + i + "]";
            // Older files have "left right", newer ones ["left", "right"].
            List<?> pair = merges.get(i) instanceof String text
                    ? Arrays.asList(text.split(" ", -1))
                    : merges.get(i) instanceof List<?> list ? list : List.of();
            if (pair.size() != 2 || !(pair.get(0) instanceof String first) || !(pair.get(1) instanceof String second)) {
                throw model.wrong(place, "must be two tokens");
            }
            Integer left = ids.get(first);
            Integer right = ids.get(second);
            Integer merged = ids.get(first + second);
            if (left == null || right == null || merged == null) {
                throw model.wrong(place, "has a token or makes one that is not in vocab");
            }
            if (!table.add(left, right, merged)) {
                throw model.wrong(place, "is there twice");
            }
        }
        return table;
    }
}
