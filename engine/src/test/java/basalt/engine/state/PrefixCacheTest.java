package basalt.engine.state;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertTrue;

import basalt.engine.model.ElementType;
import java.util.Arrays;
import java.util.List;
import java.util.Optional;
import java.util.Random;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicLong;
import org.junit.jupiter.api.Test;

class PrefixCacheTest {
    private static final int[] PROMPT = new Random(1).ints(1_000, 0, 100).toArray();
    private static final StateLayout LAYOUT = layout();
    private static final PrefixCache.Scope A = new PrefixCache.Scope("a", "");
    private static final PrefixCache.Scope B = new PrefixCache.Scope("b", "");
    private static final long BYTES = 4 * 100 + 4 * 500; // of a state that has read 500 tokens

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
        cache.put(A, PROMPT, first);
        cache.put(A, PROMPT, second);

        assertSame(second, cache.longest(A, PROMPT, 999).orElseThrow());
        assertSame(second, cache.longest(A, PROMPT, 613).orElseThrow());
        assertEquals(612, cache.longest(A, PROMPT, 612).orElseThrow().tokenCount());
        assertSame(first, cache.longest(A, PROMPT, 596).orElseThrow());
        assertEquals(6, cache.longest(A, PROMPT, 6).orElseThrow().tokenCount());
    }

    /** A prompt that is sent again needs its last token unread. */
    @Test
    void stateGoesBackAFewTokensUnlessABlockWasFolded() {
        var cache = new PrefixCache(1 << 20);
        cache.put(A, PROMPT, image(500));
        int[] same = Arrays.copyOf(PROMPT, 500);

        assertEquals(499, cache.longest(A, same, 499).orElseThrow().tokenCount());
        assertEquals(484, cache.longest(A, same, 484).orElseThrow().tokenCount());
        assertEquals(Optional.empty(), cache.longest(A, same, 483));
        assertEquals(Optional.empty(), cache.longest(A, Arrays.copyOf(PROMPT, 499), 498));

        cache.put(A, PROMPT, image(481));
        assertEquals(Optional.empty(), cache.longest(A, Arrays.copyOf(PROMPT, 481), 480));
    }

    @Test
    void oneOtherTokenIsAnotherPrompt() {
        var cache = new PrefixCache(1 << 20);
        cache.put(A, PROMPT, image(500));
        int[] other = PROMPT.clone();
        other[499]++;

        assertEquals(Optional.empty(), cache.longest(A, other, 999));
        other[499]--;
        other[500]++;
        assertTrue(cache.longest(A, other, 999).isPresent());
    }

    @Test
    void scopesDoNotSeeEachOther() {
        var cache = new PrefixCache(1 << 20);
        cache.put(A, PROMPT, image(500));

        assertEquals(Optional.empty(), cache.longest(B, PROMPT, 999));
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
        cache.put(A, prompts[0], image(500));
        cache.put(A, prompts[1], image(500));
        assertTrue(cache.longest(A, prompts[0], 999).isPresent());

        cache.put(A, prompts[2], image(500));

        assertTrue(cache.longest(A, prompts[0], 999).isPresent());
        assertTrue(cache.longest(A, prompts[1], 999).isEmpty());
        assertTrue(cache.longest(A, prompts[2], 999).isPresent());
        assertEquals(2 * each, cache.stats().bytes());
        cache.put(A, Arrays.copyOf(prompts[2], 1_000), image(1_000)); // larger than what is left
        assertTrue(cache.stats().bytes() <= 2 * each);
    }

    /** A state that notes its end. */
    private static final class Released implements SavedState {
        private boolean isReleased;

        @Override
        public StateLayout layout() {
            return LAYOUT;
        }

        @Override
        public long tokenCount() {
            return 500;
        }

        @Override
        public long bytes() {
            return 400;
        }

        @Override
        public void release() {
            isReleased = true;
        }

        @Override
        public StateImage image() {
            return PrefixCacheTest.image(500);
        }
    }

    @Test
    void statesThatNobodyElseHoldsAreReleasedWhenTheyGo() {
        var cache = new PrefixCache(BYTES);
        var states = new Released[5];
        for (int i = 0; i < states.length; i++) {
            states[i] = new Released();
        }

        cache.put(A, prompt(0), states[0]);
        cache.put(A, prompt(0), states[1]);
        assertTrue(states[0].isReleased);
        assertTrue(cache.longest(A, prompt(0), 999).isPresent());
        cache.put(A, prompt(1), states[2]);
        assertFalse(states[1].isReleased); // it was found
        assertTrue(cache.longest(A, prompt(1), 499).isPresent());
        cache.put(A, prompt(2), states[3]);
        assertFalse(states[2].isReleased); // what it was a token before was found
        assertFalse(states[3].isReleased);
        new PrefixCache(BYTES - 1).put(A, prompt(3), states[4]);
        assertTrue(states[4].isReleased);
    }

    private static int[] prompt(int first) {
        int[] prompt = PROMPT.clone();
        prompt[0] = 1_000 + first;
        return prompt;
    }

    /** How many of the first prompts a tenant still finds. */
    private static int found(PrefixCache cache, PrefixCache.Scope scope, int count) {
        int found = 0;
        for (int i = 0; i < count; i++) {
            found += cache.longest(scope, prompt(i), 999).isPresent() ? 1 : 0;
        }
        return found;
    }

    /** Nor by salts of its own. */
    @Test
    void tenantTakesNoMoreThanItsShareFromOthers() {
        var cache = new PrefixCache(8 * BYTES);
        for (int i = 0; i < 3; i++) {
            cache.put(B, prompt(i), image(500));
        }

        for (int i = 0; i < 100; i++) {
            cache.put(new PrefixCache.Scope("a", "salt " + i % 7), prompt(i), image(500));
        }

        assertEquals(3, found(cache, B, 3));
        assertEquals(8 * BYTES, cache.stats().bytes());
        for (int i = 0; i < 100; i++) {
            cache.put(B, prompt(i), image(500));
        }
        assertEquals(8, cache.stats().entries());
        int ofA = 0;
        for (int i = 0; i < 100; i++) {
            ofA += cache.longest(new PrefixCache.Scope("a", "salt " + i % 7), prompt(i), 999)
                            .isPresent()
                    ? 1
                    : 0;
        }
        assertEquals(4, ofA);
    }

    @Test
    void whatNobodyUsesForLongGoesFirstWhoeverHasIt() {
        var now = new AtomicLong();
        var cache = new PrefixCache(8 * BYTES, PrefixCache.INTERVAL, now::get);
        for (int i = 0; i < 4; i++) {
            cache.put(B, prompt(i), image(500));
        }
        now.addAndGet(TimeUnit.MINUTES.toNanos(6));
        assertTrue(cache.longest(B, prompt(2), 999).isPresent());
        now.addAndGet(TimeUnit.MINUTES.toNanos(6));

        for (int i = 0; i < 20; i++) {
            cache.put(A, prompt(i), image(500));
        }

        assertEquals(1, found(cache, B, 4));
        assertEquals(7, found(cache, A, 20));
    }

    @Test
    void sameBeginningTakesItsPlace() {
        var cache = new PrefixCache(1 << 20);
        cache.put(A, PROMPT, image(500));
        long bytes = cache.stats().bytes();
        var newer = image(500);

        cache.put(A, PROMPT, newer);

        assertEquals(bytes, cache.stats().bytes());
        assertSame(newer, cache.longest(A, PROMPT, 999).orElseThrow());
    }
}
