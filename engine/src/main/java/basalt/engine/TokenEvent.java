package basalt.engine;

import java.util.Optional;

/** What a {@link Generation} delivers, per choice in order. */
public sealed interface TokenEvent {
    /** The choice this belongs to, in [0, choiceCount). */
    int choice();

    /**
     * A token of the prompt with its log-probability given the tokens before it. Only choice 0 has them, before its
     * first sampled token.
     *
     * @param index position in the prompt
     * @param logprobs empty for index 0
     */
    record Scored(int choice, int index, int token, Optional<Logprobs> logprobs) implements TokenEvent {}

    /**
     * A sampled token. A stop id that ends the choice is one, too; its bytes are not part of the text.
     *
     * @param visibleBytes bytes of the choice's output text, from its start, that can no longer turn out to belong to
     *     a stop string; never falls. Without a tokenizer always 0.
     * @param logprobs empty unless asked for
     */
    record Sampled(int choice, int index, int token, long visibleBytes, Optional<Logprobs> logprobs)
            implements TokenEvent {}

    /**
     * The last event of a choice.
     *
     * @param visibleBytes final length of the output text in bytes: a matched stop string is cut off
     * @param stopString the stop string that ended it
     * @param stopToken the stop id that ended it; its bytes are not part of the text
     */
    record Finished(
            int choice,
            FinishReason reason,
            long visibleBytes,
            Optional<String> stopString,
            Optional<Integer> stopToken)
            implements TokenEvent {}

    /**
     * Natural-log probabilities over the first {@code vocabSize} logits, before any sampling parameter.
     *
     * @param chosen of the token itself
     * @param topIds ids of the likeliest tokens, likeliest first, ties to the lower id
     * @param topLogprobs their log-probabilities
     */
    record Logprobs(float chosen, int[] topIds, float[] topLogprobs) {}
}
