package basalt.engine.text;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import basalt.engine.EngineException.InvalidCheckpoint;
import basalt.engine.json.JsonFields;
import basalt.engine.model.ModelConfig;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.List;
import java.util.Optional;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class TokenizerFileTest {
    private static final Path BUNDLED = Path.of("../models/based-10m");
    private static final String BYTES = bytes();
    private static final String MODEL =
            "\"vocab\":{" + BYTES + ",\"ab\":256,\"abc\":257},\"merges\":[\"a b\",\"ab c\"]";

    /** A good file around a vocabulary and merges. */
    static String json(String model) {
        return """
                {"added_tokens":[],"normalizer":null,
                "pre_tokenizer":{"type":"ByteLevel","add_prefix_space":false,"use_regex":true},
                "post_processor":null,"decoder":{"type":"ByteLevel"},
                "model":{"type":"BPE","dropout":null,"byte_fallback":false,"ignore_merges":false,
                %s}}""".formatted(model);
    }

    @Test
    void specialTextOfAUserIsOrdinaryText() {
        Tokenizer tokenizer = Tokenizers.open(BUNDLED, config(8192)).orElseThrow();

        int[] ids = tokenizer.encode("<|endoftext|>");

        assertTrue(ids.length > 1);
        assertEquals("<|endoftext|>", tokenizer.decode(ids));
        assertEquals(Optional.of(0), tokenizer.specialToken("<|endoftext|>"));
        assertEquals(Optional.of("<|endoftext|>"), tokenizer.specialText(0));
        assertEquals(0, tokenizer.bytes(0).length);
        assertEquals("", tokenizer.decode(new int[] {0}));
    }

    @Test
    void loneSurrogatesAreRefused() {
        Tokenizer tokenizer = read(json(MODEL));

        for (String text : List.of("a\uD83D", "\uDE42", "\uD83Dx", "\uDE42\uD83D")) {
            assertThrows(IllegalArgumentException.class, () -> tokenizer.encode(text));
        }
        assertEquals("\uD83D\uDE42", tokenizer.decode(tokenizer.encode("\uD83D\uDE42")));
    }

    @Test
    void vocabularyOfGpt2NeedsNoFile(@TempDir Path directory) {
        Tokenizer tokenizer = Tokenizers.open(directory, config(50_257)).orElseThrow();

        assertArrayEquals(new int[] {15496, 11, 995, 0}, tokenizer.encode("Hello, world!"));
        assertArrayEquals(new int[] {220, 220, 220, 18435}, tokenizer.encode("    Hello"));
        assertEquals(Optional.of(50_256), tokenizer.specialToken("<|endoftext|>"));
        assertEquals(0, tokenizer.bytes(50_256).length);
        assertEquals(50_257, tokenizer.vocabSize());
        assertEquals(" world", tokenizer.decode(new int[] {995, 50_256}));
    }

    @Test
    void otherVocabulariesWithoutFileHaveNoTokenizer(@TempDir Path directory) {
        assertEquals(Optional.empty(), Tokenizers.open(directory, config(61)));
    }

    @Test
    void pairsMergeInTheOrderOfTheList() {
        assertArrayEquals(new int[] {257, 256}, read(json(MODEL)).encode("abcab"));
    }

    @ParameterizedTest(name = "{2}")
    @CsvSource(delimiter = '|', textBlock = """
            "normalizer":null            | "normalizer":{"type":"NFC"}          | normalizer
            "add_prefix_space":false     | "add_prefix_space":true              | pre_tokenizer.add_prefix_space
            "use_regex":true             | "use_regex":false                    | pre_tokenizer.use_regex
            {"type":"ByteLevel","add     | {"type":"Whitespace","add            | pre_tokenizer.type
            "decoder":{"type":"ByteLevel"| "decoder":{"type":"WordPiece"        | decoder.type
            "post_processor":null        | "post_processor":{"type":"TemplateProcessing"} | post_processor.type
            "type":"BPE"                 | "type":"Unigram"                     | model.type
            "dropout":null               | "dropout":0.1                        | model.dropout
            "byte_fallback":false        | "byte_fallback":true                 | model.byte_fallback
            "ignore_merges":false        | "ignore_merges":true                 | model.ignore_merges
            "added_tokens":[]            | "added_tokens":[{"id":3,"content":"x"}] | added_tokens[0].special
            "ab":256,                    | "ab":999,                            | model.vocab.ab
            "ab":256,                    | "ab":257,                            | model.vocab.abc
            "a":97,                      | "a":"x",                             | model.vocab.a
            "a":97,                      | "aa":97,                             | model.vocab
            "ab c"                       | "ab d"                               | model.merges[1]
            "ab c"                       | "a b"                                | model.merges[1]
            "ab c"                       | "abc"                                | model.merges[1]
            """)
    void whatCannotBeHonouredIsRefusedByName(String good, String bad, String field) {
        String json = json(MODEL);
        assertTrue(json.contains(good), good);

        var thrown = assertThrows(InvalidCheckpoint.class, () -> read(json.replace(good, bad)));

        String message = String.valueOf(thrown.getMessage());
        assertTrue(message.startsWith("tokenizer.json: " + field + " "), message);
    }

    private static Tokenizer read(String json) {
        return TokenizerFile.read(JsonFields.parse("tokenizer.json", json.getBytes(StandardCharsets.UTF_8)), 258);
    }

    private static String bytes() {
        var vocab = new StringBuilder();
        for (int b = 0; b < 256; b++) {
            String name = MergesReference.name(b).replace("\\", "\\\\").replace("\"", "\\\"");
            vocab.append(b == 0 ? "\"" : ",\"").append(name).append("\":").append(b);
        }
        return vocab.toString();
    }

    private static ModelConfig config(int vocabSize) {
        var mlp = new ModelConfig.Mlp(256, ModelConfig.Activation.SILU, true, false, false);
        return new ModelConfig(vocabSize, vocabSize, 16, List.of(), mlp, true, 1e-5f, true, false, 0, -1);
    }
}
