package basalt.engine.backend;

import basalt.engine.SamplingParams;

/**
 * How one slot's rows sample, and when they freeze. A frozen row consumes nothing and samples nothing until the slot is
 * configured anew.
 *
 * @param params the distribution
 * @param seed key of the random numbers
 * @param choice second part of the key
 * @param stopTokenIds ids after whose sampling the row freezes, the end-of-sequence id among them unless ignored
 * @param minTokens ids in {@code stopTokenIds} cannot be sampled before this many tokens
 * @param maxTokens tokens after which the row freezes
 * @param logprobCount -1 none, 0 of the sampled token, n of the n likeliest as well
 * @param penalizedPrompt ids of the prompt, for the repetition penalty; empty unless it is on
 */
public record RowSampling(
        SamplingParams params,
        long seed,
        int choice,
        int[] stopTokenIds,
        int minTokens,
        int maxTokens,
        int logprobCount,
        int[] penalizedPrompt) {}
