package basalt.engine.text;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import basalt.engine.json.JsonFields;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collections;
import java.util.HashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.stream.Collectors;
import java.util.stream.LongStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

class TokenizerFilePropertyTest {
    private static final Path BUNDLED = Path.of("../models/based-10m/tokenizer.json");
    private static final Tokenizer TOKENIZER = TokenizerFile.read(BUNDLED, 8192);
    private static final MergesReference REFERENCE = MergesReference.read(BUNDLED);

    static LongStream seeds() {
        return Seeds.of(100);
    }

    @ParameterizedTest(name = "seed {0}")
    @MethodSource("seeds")
    void bundledTokenizerGivesTheIdsOfTheMerges(long seed) {
        String text = RandomText.of(new Random(seed), 60);

        int[] ids = TOKENIZER.encode(text);

        assertArrayEquals(REFERENCE.encode(text), ids);
        assertEquals(text, TOKENIZER.decode(ids));
    }

    @ParameterizedTest(name = "seed {0}")
    @MethodSource("seeds")
    void anyListOfMergesGivesTheIdsOfTheMerges(long seed) {
        var random = new Random(seed);
        var names = new ArrayList<String>();
        for (int b = 0; b < 256; b++) {
            names.add(MergesReference.name(b));
        }
        List<List<String>> merges = merges(random, names);
        var distinct = new ArrayList<>(new LinkedHashSet<>(names));
        Collections.shuffle(distinct, random);
        var ids = new HashMap<String, Integer>();
        distinct.forEach(name -> ids.put(name, ids.size()));
        var reference = new MergesReference(ids, merges);
        var tokenizer = TokenizerFile.read(
                JsonFields.parse("tokenizer.json", json(ids, merges).getBytes(StandardCharsets.UTF_8)), ids.size());

        for (int i = 0; i < 20; i++) {
            String text = letters(random);
            assertArrayEquals(reference.encode(text), tokenizer.encode(text), text);
            assertEquals(text, tokenizer.decode(tokenizer.encode(text)));
        }
    }

    @Test
    void longTextsWithoutBordersEncodeInReasonableTime() {
        String text = "a".repeat(4096) + " ".repeat(4096) + "中".repeat(4096) + "ab".repeat(50_000);

        int[] ids = TOKENIZER.encode(text);

        assertEquals(text, TOKENIZER.decode(ids));
        assertTrue(ids.length < text.length());
    }

    @Test
    void longProseGivesTheIdsOfTheMerges() {
        var random = new Random(7);
        String prose = random.ints(900, 0, 8192)
                .mapToObj(id -> new String(TOKENIZER.bytes(id), StandardCharsets.UTF_8))
                .collect(Collectors.joining());
        String text = prose.substring(0, 4096);

        assertArrayEquals(REFERENCE.encode(text), TOKENIZER.encode(text));
    }

    /** Merges of any two tokens there are, so that many tokens are made in several ways or can never be made. */
    private static List<List<String>> merges(Random random, List<String> names) {
        var tokens = new ArrayList<>(List.of("a", "b", "c"));
        var merges = new LinkedHashSet<List<String>>();
        while (merges.size() < 25) {
            var pair = List.of(tokens.get(random.nextInt(tokens.size())), tokens.get(random.nextInt(tokens.size())));
            String merged = pair.get(0) + pair.get(1);
            if (merged.length() <= 8 && merges.add(pair)) {
                tokens.add(merged);
                names.add(merged);
            }
        }
        return List.copyOf(merges);
    }

    private static String letters(Random random) {
        return random.ints(random.nextInt(30), 'a', 'd')
                .mapToObj(Character::toString)
                .collect(Collectors.joining());
    }

    static String json(Map<String, Integer> ids, List<List<String>> merges) {
        String vocab = ids.entrySet().stream()
                .map(entry ->
                        "\"" + entry.getKey().replace("\\", "\\\\").replace("\"", "\\\"") + "\":" + entry.getValue())
                .collect(Collectors.joining(","));
        String pairs = merges.stream()
                .map(pair -> "\"" + pair.get(0) + " " + pair.get(1) + "\"")
                .collect(Collectors.joining(","));
        return TokenizerFileTest.json("\"vocab\":{" + vocab + "},\"merges\":[" + pairs + "]");
    }
}
