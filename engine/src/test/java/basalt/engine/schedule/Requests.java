package basalt.engine.schedule;

import basalt.engine.GenerationRequest;
import basalt.engine.SamplingParams;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.Random;

/** Requests for tests. */
final class Requests {
    private static final List<String> STOPS = List.of("abcab", "ca", "bbb", "aabaa", "cccc", "b", "acacac");

    private Requests() {}

    /** Greedy, up to exactly this many tokens. */
    static GenerationRequest endless(int first, int promptCount, int maxTokens) {
        return with(prompt(first, promptCount), maxTokens, 1, 0);
    }

    /** Sampled with a seed, up to exactly this many tokens. */
    static GenerationRequest sampled(int[] prompt, int maxTokens, int choices, long seed) {
        return new GenerationRequest(
                prompt,
                maxTokens,
                SamplingParams.DEFAULT,
                seed,
                choices,
                List.of(),
                new int[0],
                true,
                0,
                -1,
                false,
                0,
                Optional.empty());
    }

    static GenerationRequest with(int[] prompt, int maxTokens, int choices, int priority) {
        return new GenerationRequest(
                prompt,
                maxTokens,
                SamplingParams.GREEDY,
                0,
                choices,
                List.of(),
                new int[0],
                true,
                0,
                -1,
                false,
                priority,
                Optional.empty());
    }

    static GenerationRequest scoring(int[] prompt, int maxTokens, int choices, int logprobCount) {
        return new GenerationRequest(
                prompt,
                maxTokens,
                SamplingParams.GREEDY,
                0,
                choices,
                List.of(),
                new int[0],
                true,
                0,
                logprobCount,
                true,
                0,
                Optional.empty());
    }

    static int[] prompt(int first, int count) {
        var prompt = new int[count];
        for (int i = 0; i < count; i++) {
            prompt[i] = (int) ((first + (long) i * i) % SteppedEngine.VOCAB_SIZE);
        }
        return prompt;
    }

    /** Any request, most of them short. */
    static GenerationRequest random(Random random, int choiceCountMax) {
        int promptCount = random.nextInt(10) == 0 ? 1 + random.nextInt(700) : 1 + random.nextInt(40);
        int maxTokens = random.nextInt(10) == 0 ? random.nextInt(600) : random.nextInt(40);
        var stops = new ArrayList<String>();
        while (random.nextInt(3) == 0) {
            stops.add(STOPS.get(random.nextInt(STOPS.size())));
        }
        var stopTokens = new int[random.nextInt(3) == 0 ? random.nextInt(3) : 0];
        for (int i = 0; i < stopTokens.length; i++) {
            stopTokens[i] = random.nextInt(SteppedEngine.VOCAB_SIZE);
        }
        return new GenerationRequest(
                prompt(random.nextInt(SteppedEngine.VOCAB_SIZE), promptCount),
                maxTokens,
                random.nextBoolean() ? SamplingParams.GREEDY : SamplingParams.DEFAULT,
                random.nextLong(),
                1 + (random.nextInt(4) == 0 ? random.nextInt(choiceCountMax) : 0),
                stops,
                stopTokens,
                random.nextBoolean(),
                random.nextInt(4) == 0 ? random.nextInt(20) : 0,
                random.nextInt(3) == 0 ? random.nextInt(4) : -1,
                random.nextInt(4) == 0,
                random.nextInt(5) - 2,
                Optional.empty());
    }
}
