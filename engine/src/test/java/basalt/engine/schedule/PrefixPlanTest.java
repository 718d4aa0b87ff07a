package basalt.engine.schedule;

import static org.junit.jupiter.api.Assertions.assertEquals;

import basalt.engine.model.ElementType;
import basalt.engine.state.PrefixCache;
import basalt.engine.state.PrefixUse;
import basalt.engine.state.StateImage;
import basalt.engine.state.StateLayout;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import org.junit.jupiter.api.Test;

class PrefixPlanTest {
    private static final int PROMPT = 2_000;
    private static final StateLayout LAYOUT = layout();

    private static StateLayout layout() {
        var tensor = new StateLayout.StateTensor(
                0, StateLayout.Role.CONVOLUTION_INPUTS, ElementType.F32, List.of(100, 1_000));
        return new StateLayout(List.of(tensor), tensor.bytes());
    }

    private static StateImage image(int tokenCount) {
        var image = new StateImage(LAYOUT);
        image.tokenCount(tokenCount);
        return image;
    }

    /** Where the states of a prompt are kept by a cache that has room for so many. */
    private static List<Integer> kept(int room, int[] prompt) {
        return kept(room, prompt, PrefixCache.INTERVAL);
    }

    private static List<Integer> kept(int room, int[] prompt, int interval) {
        var cache = new PrefixCache(room * (LAYOUT.bytes() + 4L * PROMPT), interval);
        cache.put(new PrefixCache.Scope("tenant", "other"), new int[] {1}, image(1));
        var plan =
                new PrefixPlan(PrefixUse.of(cache, new PrefixCache.Scope("tenant", "scope")), prompt, 0, prompt.length);
        var kept = new ArrayList<Integer>();
        for (int at = 0; at < prompt.length; ) {
            at = plan.chunkEnd(at, prompt.length);
            if (plan.isDue(at)) {
                kept.add(at);
                plan.keep(at, CompletableFuture.completedFuture(image(at)));
            }
        }
        return kept;
    }

    @Test
    void promptIsKeptAtEvenDistancesAndAtItsEnd() {
        assertEquals(List.of(256, 512, 768, 1_024, 1_280, 1_536, 1_792, 2_000), kept(100, new int[PROMPT]));
    }

    @Test
    void distanceIsThatOfTheCache() {
        assertEquals(List.of(700, 1_400, 2_000), kept(100, new int[PROMPT], 700));
        assertEquals(List.of(), kept(100, new int[PROMPT], 2_001));
    }

    @Test
    void onePromptNeverTakesMoreThanHalfOfTheCache() {
        assertEquals(List.of(1_024, 2_000), kept(4, new int[PROMPT]));
        assertEquals(List.of(2_000), kept(2, new int[PROMPT]));
        assertEquals(List.of(2_000), kept(1, new int[PROMPT]));
    }
}
