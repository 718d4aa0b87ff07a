package basalt.server;

import basalt.engine.Engine;
import basalt.engine.Generation;
import basalt.engine.GenerationRequest;
import basalt.engine.SamplingParams;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;

/** Runs the engine before it serves, so that the first requests meet compiled code and weights in memory. */
final class WarmUp {
    private static final int PROMPT_TOKENS = 48;
    private static final int MAX_TOKENS = 16;
    private static final int REQUESTS_AT_ONCE = 4;

    private WarmUp() {}

    /** Runs generations for about so long. */
    static void run(Engine engine, Duration length) throws InterruptedException {
        long endNanos = System.nanoTime() + length.toNanos();
        var random = new Random(0);
        for (int round = 0; System.nanoTime() - endNanos < 0; round++) {
            int count = Math.min(1 + round % REQUESTS_AT_ONCE, engine.stats().slotCount());
            var requests = new ArrayList<GenerationRequest>();
            for (int i = 0; i < count; i++) {
                requests.add(request(engine, random, round % 2 == 0));
            }
            List<Generation> generations = engine.submit(requests);
            for (Generation generation : generations) {
                finish(generation, endNanos);
            }
        }
    }

    private static GenerationRequest request(Engine engine, Random random, boolean isGreedy) {
        int[] prompt = random.ints(PROMPT_TOKENS, 0, engine.model().vocabSize()).toArray();
        SamplingParams sampling = isGreedy ? SamplingParams.GREEDY : SamplingParams.DEFAULT.withFilters(40, 0.9f, 0);
        return new GenerationRequest(
                prompt, MAX_TOKENS, sampling, random.nextLong(), 1, List.of(), new int[0], true, 0, -1, false, 0);
    }

    private static void finish(Generation generation, long endNanos) throws InterruptedException {
        while (generation.next().isPresent()) {
            if (System.nanoTime() - endNanos >= 0) {
                generation.close();
            }
        }
    }
}
