package basalt.engine.text;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import basalt.engine.json.JsonFields;
import com.knuddels.jtokkit.Encodings;
import com.knuddels.jtokkit.api.Encoding;
import com.knuddels.jtokkit.api.EncodingType;
import com.knuddels.jtokkit.api.IntArrayList;
import java.lang.reflect.InvocationHandler;
import java.lang.reflect.Method;
import java.lang.reflect.Proxy;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Random;
import java.util.concurrent.CancellationException;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import java.util.stream.LongStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import org.junit.jupiter.params.provider.ValueSource;

class LongTextPropertyTest {
    private static final Path BUNDLED = Path.of("../models/based-10m/tokenizer.json");
    private static final Tokenizer TOKENIZER = TokenizerFile.read(BUNDLED, 8192);
    private static final MergesReference REFERENCE = MergesReference.read(BUNDLED);
    /** Longer than any text that is to be encoded at once. */
    private static final int LONG = 30_000;

    private static final Encoding GPT2 = Encodings.newLazyEncodingRegistry().getEncoding(EncodingType.R50K_BASE);

    /** Letters of one byte, so that any run of them is one word. */
    private static final List<String> LETTERS = IntStream.concat(IntStream.range('a', '{'), IntStream.range('A', '['))
            .mapToObj(Character::toString)
            .toList();

    /** Characters of a word that has parts, and that the reference takes some seconds for. */
    private static final int LONG_WORD = 5_000;

    static LongStream seeds() {
        return Seeds.of(20);
    }

    static LongStream fewSeeds() {
        return Seeds.of(4);
    }

    /** Ranks of GPT-2, by an encoding that is watched. */
    private static int[] parted(String text, InvocationHandler encoding) {
        var bytesOfRank = new int[50_256];
        for (int i = 0; i < bytesOfRank.length; i++) {
            var one = new IntArrayList(1);
            one.add(i);
            bytesOfRank[i] = GPT2.decodeBytes(one).length;
        }
        var watched = (Encoding)
                Proxy.newProxyInstance(Encoding.class.getClassLoader(), new Class<?>[] {Encoding.class}, encoding);
        return new PartedEncoding(watched, bytesOfRank).encode(text);
    }

    private static Object encode(Object proxy, Method method, Object[] arguments) {
        return GPT2.encodeOrdinary((String) arguments[0]);
    }

    @ParameterizedTest(name = "seed {0}")
    @MethodSource("seeds")
    void textsOfManyPartsGiveTheRanksOfTheWhole(long seed) {
        String text = RandomText.of(new Random(seed), 10_000);

        int[] ranks = parted(text, LongTextPropertyTest::encode);

        assertArrayEquals(GPT2.encodeOrdinary(text).toArray(), ranks);
    }

    @ParameterizedTest
    @ValueSource(
            strings = {
                "1",
                "a",
                " ",
                "\n",
                "=",
                "'",
                "中",
                "\u00a0",
                "🙂",
                "👩‍👩‍👧",
                "ไทย",
                "中文字",
                "ab",
                "\n\t",
                "e\u0301",
                "-=",
                "'s"
            })
    void runsGiveTheRanksOfTheWhole(String part) {
        for (String lead : List.of("", " ", "x", "\n ")) {
            String text = lead + part.repeat(LONG / part.length()) + "b " + part.repeat(LONG / part.length());

            assertArrayEquals(
                    GPT2.encodeOrdinary(text).toArray(), parted(text, LongTextPropertyTest::encode), lead + part);
        }
    }

    @ParameterizedTest(name = "seed {0}")
    @MethodSource("fewSeeds")
    void longWordsGiveTheIdsOfTheMerges(long seed) {
        var random = new Random(seed);
        List<String> some = LETTERS.subList(0, 2 + random.nextInt(50));
        String word = random.ints(LONG_WORD, 0, some.size()).mapToObj(some::get).collect(Collectors.joining());

        int[] ids = TOKENIZER.encode(word);

        assertArrayEquals(REFERENCE.encode(word), ids);
    }

    /** Each pair of neighbours is merged unless the next one is, so that the last letter decides on all before it. */
    @ParameterizedTest(name = "seed {0}")
    @MethodSource("fewSeeds")
    void tokensThatDependOnWhatIsFarBehindAreThoseOfTheMerges(long seed) {
        var random = new Random(seed);
        var names = new ArrayList<String>();
        for (int b = 0; b < 256; b++) {
            names.add(MergesReference.name(b));
        }
        var merges = new ArrayList<List<String>>();
        for (int i = LETTERS.size() - 2; i >= 0; i--) {
            merges.add(List.of(LETTERS.get(i), LETTERS.get(i + 1)));
            names.add(LETTERS.get(i) + LETTERS.get(i + 1));
        }
        var ids = new HashMap<String, Integer>();
        names.forEach(name -> ids.put(name, ids.size()));
        var tokenizer = TokenizerFile.read(
                JsonFields.parse(
                        "tokenizer.json",
                        TokenizerFilePropertyTest.json(ids, merges).getBytes(StandardCharsets.UTF_8)),
                ids.size());
        String alphabet = String.join("", LETTERS);
        String word = random.ints(LONG_WORD / 48, 0, 8)
                .mapToObj(cut -> alphabet.substring(0, alphabet.length() - cut))
                .collect(Collectors.joining());

        int[] encoded = tokenizer.encode(word);

        assertArrayEquals(new MergesReference(ids, merges).encode(word), encoded);
    }

    @Test
    void noPartIsLong() {
        var longest = new AtomicInteger();
        String text = "1".repeat(LONG) + "a".repeat(LONG) + " ".repeat(LONG) + "x".repeat(LONG) + " y\n".repeat(LONG);

        parted(text, (proxy, method, arguments) -> {
            longest.accumulateAndGet(((String) arguments[0]).length(), Math::max);
            return encode(proxy, method, arguments);
        });

        assertTrue(longest.get() <= 4_096, "a part has " + longest + " characters");
    }

    @ParameterizedTest
    @ValueSource(strings = {"1", "word "})
    void interruptEndsIt(String part) {
        var count = new AtomicInteger();

        assertThrows(
                CancellationException.class,
                () -> parted(part.repeat(LONG), (proxy, method, arguments) -> {
                    if (count.incrementAndGet() == 2) {
                        Thread.currentThread().interrupt();
                    }
                    return encode(proxy, method, arguments);
                }));

        assertTrue(Thread.interrupted());
        assertEquals(2, count.get());
    }
}
