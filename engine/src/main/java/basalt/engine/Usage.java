package basalt.engine;

/**
 * Tokens of one generation, counted over all its choices.
 *
 * @param promptTokenCount tokens of the prompt, counted once however many choices share it
 * @param completionTokenCount sampled tokens of all choices, the one that ended a choice included
 * @param cachedTokenCount prompt tokens whose state came from a snapshot and were not prefilled
 * @param cacheWriteTokenCount prompt tokens whose state was kept for other prompts that begin so
 */
public record Usage(
        long promptTokenCount, long completionTokenCount, long cachedTokenCount, long cacheWriteTokenCount) {}
