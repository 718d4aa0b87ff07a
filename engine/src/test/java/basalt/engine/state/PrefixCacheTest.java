package basalt.engine.state;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertTrue;

import basalt.engine.model.ElementType;
import java.util.Arrays;
import java.util.List;
import java.util.Optional;
import java.util.Random;
import org.junit.jupiter.api.Test;

class PrefixCacheTest {
    private static final int[] PROMPT = new Random(1).ints(1_000, 0, 100).toArray();
    private static final StateLayout LAYOUT = layout();

    private static StateLayout layout() {
        var tensor = new StateLayout.StateTensor(0, StateLayout.Role.TAYLOR_SUMS, ElementType.F32, List.of(100));
        return new StateLayout(List.of(tensor), tensor.bytes());
    }

    private static StateImage image(int count) {
        var image = new StateImage(LAYOUT);
        image.tokenCount(count);
        return image;
    }

    @Test
    void longestBeginningIsFoundWhateverItsLength() {
        var cache = new PrefixCache(1 << 20);
        var first = image(7);
        var second = image(613);
        cache.put("a", PROMPT, first);
        cache.put("a", PROMPT, second);

        assertSame(second, cache.longest("a", PROMPT, 999).orElseThrow());
        assertSame(second, cache.longest("a", PROMPT, 613).orElseThrow());
        assertEquals(612, cache.longest("a", PROMPT, 612).orElseThrow().tokenCount());
        assertSame(first, cache.longest("a", PROMPT, 596).orElseThrow());
        assertEquals(6, cache.longest("a", PROMPT, 6).orElseThrow().tokenCount());
    }

    /** A prompt that is sent again needs its last token unread. */
    @Test
    void stateGoesBackAFewTokensUnlessABlockWasFolded() {
        var cache = new PrefixCache(1 << 20);
        cache.put("a", PROMPT, image(500));
        int[] same = Arrays.copyOf(PROMPT, 500);

        assertEquals(499, cache.longest("a", same, 499).orElseThrow().tokenCount());
        assertEquals(484, cache.longest("a", same, 484).orElseThrow().tokenCount());
        assertEquals(Optional.empty(), cache.longest("a", same, 483));
        assertEquals(Optional.empty(), cache.longest("a", Arrays.copyOf(PROMPT, 499), 498));

        cache.put("a", PROMPT, image(481));
        assertEquals(Optional.empty(), cache.longest("a", Arrays.copyOf(PROMPT, 481), 480));
    }

    @Test
    void oneOtherTokenIsAnotherPrompt() {
        var cache = new PrefixCache(1 << 20);
        cache.put("a", PROMPT, image(500));
        int[] other = PROMPT.clone();
        other[499]++;

        assertEquals(Optional.empty(), cache.longest("a", other, 999));
        other[499]--;
        other[500]++;
        assertTrue(cache.longest("a", other, 999).isPresent());
    }

    @Test
    void scopesDoNotSeeEachOther() {
        var cache = new PrefixCache(1 << 20);
        cache.put("a", PROMPT, image(500));

        assertEquals(Optional.empty(), cache.longest("b", PROMPT, 999));
    }

    @Test
    void leastRecentlyUsedGoesWhenTheBytesAreUsedUp() {
        long each = 4 * 100 + 4 * 500;
        var cache = new PrefixCache(2 * each);
        var prompts = new int[3][];
        for (int i = 0; i < 3; i++) {
            prompts[i] = PROMPT.clone();
            prompts[i][0] = 200 + i;
        }
        cache.put("a", prompts[0], image(500));
        cache.put("a", prompts[1], image(500));
        assertTrue(cache.longest("a", prompts[0], 999).isPresent());

        cache.put("a", prompts[2], image(500));

        assertTrue(cache.longest("a", prompts[0], 999).isPresent());
        assertTrue(cache.longest("a", prompts[1], 999).isEmpty());
        assertTrue(cache.longest("a", prompts[2], 999).isPresent());
        assertEquals(2 * each, cache.stats().bytes());
        cache.put("a", Arrays.copyOf(prompts[2], 1_000), image(1_000)); // larger than what is left
        assertTrue(cache.stats().bytes() <= 2 * each);
    }

    @Test
    void sameBeginningTakesItsPlace() {
        var cache = new PrefixCache(1 << 20);
        cache.put("a", PROMPT, image(500));
        long bytes = cache.stats().bytes();
        var newer = image(500);

        cache.put("a", PROMPT, newer);

        assertEquals(bytes, cache.stats().bytes());
        assertSame(newer, cache.longest("a", PROMPT, 999).orElseThrow());
    }
}
