package basalt.engine.text;

import static org.junit.jupiter.api.Assertions.assertEquals;

import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.Random;
import java.util.stream.LongStream;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** Against a search of the whole text after each token. Seeded; {@code -Dseed=N} replays one. */
class StopMatcherPropertyTest {
    private static final int VOCAB_SIZE = 40;
    private static final int TEXTS = 50;
    private static final String[] LETTERS = {"a", "b", "é"};

    static LongStream seeds() {
        String seed = System.getProperty("seed");
        return seed == null ? LongStream.range(0, 100) : LongStream.of(Long.parseLong(seed));
    }

    @ParameterizedTest(name = "seed {0}")
    @MethodSource("seeds")
    void findsWhatASearchOfTheWholeTextFinds(long seed) {
        var random = new Random(seed);
        var vocabulary = new ArrayList<byte[]>();
        for (int i = 0; i < VOCAB_SIZE; i++) {
            // Of bytes, not characters: a token may begin or end inside a character.
            byte[] bytes = text(random, random.nextInt(4)).getBytes(StandardCharsets.ISO_8859_1);
            vocabulary.add(bytes);
        }
        var tokenBytes = new TokenBytes(new TableTokenizer(vocabulary), VOCAB_SIZE);
        for (int i = 0; i < TEXTS; i++) {
            var stops = new ArrayList<String>();
            for (int n = 1 + random.nextInt(5); n > 0; n--) {
                stops.add(letters(random, 1 + random.nextInt(7)));
            }
            compare(random, vocabulary, tokenBytes, stops, random.nextInt(3) * random.nextInt(20));
        }
    }

    private static void compare(
            Random random, List<byte[]> vocabulary, TokenBytes tokenBytes, List<String> stops, int minTokens) {
        var matcher = new StopMatcher(stops);
        var text = new StringBuilder();
        for (int n = 1; n <= 60; n++) {
            int token = random.nextInt(VOCAB_SIZE);
            int before = text.length();
            text.append(new String(vocabulary.get(token), StandardCharsets.ISO_8859_1));

            boolean isFound = matcher.append(tokenBytes, token, n >= minTokens);

            var expected = n >= minTokens ? firstStop(text, before, stops) : Optional.<Match>empty();
            assertEquals(expected.isPresent(), isFound);
            if (expected.isPresent()) {
                assertEquals(expected.get().stop(), bytesOf(stops.get(matcher.matchedIndex())));
                assertEquals(expected.get().start(), matcher.visibleBytes());
                return;
            }
            assertEquals(text.length(), matcher.byteCount());
            assertEquals(text.length() - longestBeginning(text, stops), matcher.visibleBytes());
        }
    }

    private record Match(String stop, int start) {}

    private static Optional<Match> firstStop(StringBuilder text, int from, List<String> stops) {
        for (int end = from + 1; end <= text.length(); end++) {
            String head = text.substring(0, end);
            Optional<Match> longest = Optional.empty();
            for (var stop : stops) {
                String bytes = bytesOf(stop);
                if (head.endsWith(bytes)
                        && longest.map(m -> m.stop().length() < bytes.length()).orElse(true)) {
                    longest = Optional.of(new Match(bytes, end - bytes.length()));
                }
            }
            if (longest.isPresent()) {
                return longest;
            }
        }
        return Optional.empty();
    }

    private static int longestBeginning(StringBuilder text, List<String> stops) {
        int longest = 0;
        for (var stop : stops) {
            String bytes = bytesOf(stop);
            for (int n = bytes.length() - 1; n > longest; n--) {
                if (text.toString().endsWith(bytes.substring(0, n))) {
                    longest = n;
                }
            }
        }
        return longest;
    }

    /** A string's UTF-8 bytes, one a character. */
    private static String bytesOf(String text) {
        return new String(text.getBytes(StandardCharsets.UTF_8), StandardCharsets.ISO_8859_1);
    }

    private static String text(Random random, int length) {
        String bytes = bytesOf(letters(random, length + 1));
        int from = random.nextInt(bytes.length());
        return bytes.substring(from, Math.min(bytes.length(), from + length));
    }

    private static String letters(Random random, int length) {
        var text = new StringBuilder();
        for (int i = 0; i < length; i++) {
            text.append(LETTERS[random.nextInt(LETTERS.length)]);
        }
        return text.toString();
    }

    /** Tokens of given bytes. */
    private record TableTokenizer(List<byte[]> table) implements Tokenizer {
        @Override
        public int[] encode(String text) {
            throw new UnsupportedOperationException("not needed");
        }

        @Override
        public byte[] bytes(int token) {
            return table.get(token);
        }

        @Override
        public String decode(int[] tokens) {
            throw new UnsupportedOperationException("not needed");
        }

        @Override
        public int vocabSize() {
            return table.size();
        }
    }
}
