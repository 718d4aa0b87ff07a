package basalt.engine.text;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.Random;
import java.util.stream.LongStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

class Utf8JoinerPropertyTest {
    static LongStream seeds() {
        return Seeds.of(300);
    }

    @ParameterizedTest(name = "seed {0}")
    @MethodSource("seeds")
    void piecesJoinToTheTextOfAllVisibleBytes(long seed) {
        var random = new Random(seed);
        byte[] all = bytes(random);
        var joiner = new Utf8Joiner();
        var text = new StringBuilder();
        int added = 0;
        int visible = 0;

        while (added < all.length) {
            int count = Math.min(all.length - added, random.nextInt(6));
            visible += random.nextInt(added + count - visible + 1);
            text.append(joiner.append(Arrays.copyOfRange(all, added, added + count), visible));
            added += count;
            assertWholeCharacters(text);
            // Text is never later than the visible bytes allow, but for an unfinished character.
            int shown = text.toString().getBytes(StandardCharsets.UTF_8).length;
            assertTrue(shown >= visible - 3 || text.indexOf("\uFFFD") >= 0, "shown " + shown + " of " + visible);
        }
        int end = visible + random.nextInt(all.length - visible + 1);
        text.append(joiner.finish(end));

        assertEquals(new String(all, 0, end, StandardCharsets.UTF_8), text.toString());
    }

    @Test
    void characterAcrossTokensComesWhole() {
        byte[] euro = "€".getBytes(StandardCharsets.UTF_8);
        var joiner = new Utf8Joiner();

        assertEquals("", joiner.append(new byte[] {euro[0]}, 1));
        assertEquals("", joiner.append(new byte[] {euro[1]}, 2));
        assertEquals("€", joiner.append(new byte[] {euro[2]}, 3));
        assertEquals("", joiner.finish(3));
    }

    @Test
    void bytesBeyondTheVisibleOnesAreDroppedAtTheEnd() {
        var joiner = new Utf8Joiner();

        assertEquals("ab", joiner.append("abSTOP".getBytes(StandardCharsets.UTF_8), 2));
        assertEquals("", joiner.finish(2));
    }

    @Test
    void pendingBytesAreBounded() {
        var joiner = new Utf8Joiner();
        joiner.append(new byte[Utf8Joiner.PENDING_BYTES_MAX], 0);

        assertThrows(IllegalArgumentException.class, () -> joiner.append(new byte[1], 0));
    }

    @Test
    void moreVisibleBytesThanThereAreAreRefused() {
        assertThrows(IllegalArgumentException.class, () -> new Utf8Joiner().append(new byte[1], 2));
    }

    private static void assertWholeCharacters(CharSequence text) {
        for (int i = 0; i < text.length(); i++) {
            if (Character.isHighSurrogate(text.charAt(i))) {
                i++;
                assertTrue(i < text.length() && Character.isLowSurrogate(text.charAt(i)));
            } else {
                assertTrue(!Character.isLowSurrogate(text.charAt(i)));
            }
        }
    }

    /** Valid text, noise, or text with bytes taken out. */
    private static byte[] bytes(Random random) {
        byte[] bytes = RandomText.of(random, random.nextInt(40)).getBytes(StandardCharsets.UTF_8);
        if (random.nextBoolean()) {
            for (int i = 0; i < bytes.length; i++) {
                if (random.nextInt(8) == 0) {
                    bytes[i] = (byte) random.nextInt(256);
                }
            }
        }
        return bytes;
    }
}
