package basalt.engine;

import java.time.Duration;
import java.util.List;
import java.util.Optional;

/**
 * One prompt to continue.
 *
 * @param prompt token ids, at least one, each in [0, vocabSize)
 * @param maxTokens tokens to sample at most per choice; 0 only scores the prompt, and without {@code scoresPrompt} ends
 *     at once and computes nothing
 * @param sampling how tokens are drawn
 * @param seed key of the random numbers; the same seed gives the same tokens whatever else runs
 * @param choiceCount continuations of the one prompt, each with its own random numbers
 * @param stopStrings text that ends a choice; neither it nor what follows is visible, at most
 *     {@value #STOP_STRING_COUNT_MAX}
 * @param stopTokenIds ids that end a choice beside the model's end-of-sequence id
 * @param ignoresEndOfSequence whether sampling goes on after the model's end-of-sequence id
 * @param minTokens no stop id and no stop string ends a choice before this many tokens
 * @param logprobCount log-probabilities wanted: -1 none, 0 of the chosen token only, n of the n likeliest as well, at
 *     most {@value #LOGPROB_COUNT_MAX}
 * @param scoresPrompt whether log-probabilities of the prompt's tokens are wanted, as {@link TokenEvent.Scored}
 * @param priority lower runs sooner; equal ones in order of arrival
 * @param deadline time after which the choices end with {@link FinishReason#DEADLINE}, wherever the request is by then,
 *     counted from its submission; none if empty
 */
public record GenerationRequest(
        int[] prompt,
        int maxTokens,
        SamplingParams sampling,
        long seed,
        int choiceCount,
        List<String> stopStrings,
        int[] stopTokenIds,
        boolean ignoresEndOfSequence,
        int minTokens,
        int logprobCount,
        boolean scoresPrompt,
        int priority,
        Optional<Duration> deadline) {

    /** Stop strings per request at most. */
    public static final int STOP_STRING_COUNT_MAX = 32;
    /** Bytes in UTF-8 of one stop string at most. */
    public static final int STOP_STRING_BYTES_MAX = 1_024;
    /** Stop ids per request at most. */
    public static final int STOP_TOKEN_COUNT_MAX = 32;
    /** Likeliest tokens reported per position at most. */
    public static final int LOGPROB_COUNT_MAX = 20;

    /** Checks what does not depend on the model; {@link Engine#submit} checks the rest. */
    public GenerationRequest {
        Checks.argument(prompt.length > 0, "prompt.length", prompt.length);
        Checks.argument(maxTokens >= 0, "maxTokens", maxTokens);
        Checks.argument(choiceCount > 0, "choiceCount", choiceCount);
        Checks.argument(stopStrings.size() <= STOP_STRING_COUNT_MAX, "stopStrings.size", stopStrings.size());
        Checks.argument(stopTokenIds.length <= STOP_TOKEN_COUNT_MAX, "stopTokenIds.length", stopTokenIds.length);
        Checks.argument(minTokens >= 0, "minTokens", minTokens);
        Checks.argument(logprobCount >= -1 && logprobCount <= LOGPROB_COUNT_MAX, "logprobCount", logprobCount);
        deadline.ifPresent(time -> Checks.argument(!time.isNegative(), "deadline", time));
        stopStrings = List.copyOf(stopStrings);
    }

    /** The same of another prompt. */
    public GenerationRequest withPrompt(int[] tokens) {
        return with(tokens, deadline);
    }

    /** The same with a deadline. */
    public GenerationRequest withDeadline(Duration time) {
        return with(prompt, Optional.of(time));
    }

    /** The same, submitted so much later, by which the deadline is nearer. */
    public GenerationRequest after(Duration time) {
        return with(prompt, deadline.map(left -> left.compareTo(time) > 0 ? left.minus(time) : Duration.ZERO));
    }

    private GenerationRequest with(int[] newPrompt, Optional<Duration> newDeadline) {
        return new GenerationRequest(
                newPrompt,
                maxTokens,
                sampling,
                seed,
                choiceCount,
                stopStrings,
                stopTokenIds,
                ignoresEndOfSequence,
                minTokens,
                logprobCount,
                scoresPrompt,
                priority,
                newDeadline);
    }

    /** Greedy continuation of a prompt by at most {@code maxTokens} tokens. */
    public static GenerationRequest of(int[] prompt, int maxTokens) {
        return new GenerationRequest(
                prompt,
                maxTokens,
                SamplingParams.GREEDY,
                0,
                1,
                List.of(),
                new int[0],
                false,
                0,
                -1,
                false,
                0,
                Optional.empty());
    }
}
