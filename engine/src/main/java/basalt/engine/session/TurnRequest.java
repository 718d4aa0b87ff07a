package basalt.engine.session;

import basalt.engine.Engine;
import basalt.engine.GenerationRequest;
import basalt.engine.Turn;
import basalt.engine.state.PrefixUse;
import basalt.engine.state.SessionState;
import java.util.Arrays;
import java.util.Optional;
import java.util.function.Supplier;

/**
 * What a turn of a session asks for.
 *
 * @param opening the prompt if the session has no token yet
 * @param prompt else what goes after its tokens, perhaps nothing; a stop id of the template that it begins with is left
 *     out if the session ends with it
 * @param template everything else; its own prompt counts for nothing, it has one choice, and no prompt is scored
 * @param prefixes how beginnings are kept for others, in words of the opening; none is looked for and none kept if
 *     empty
 * @param cuts token counts of the prompt where the state is kept for others that begin so, ascending
 * @param keepsStopToken whether a stop id that ends the turn is part of the history, as after a chat's answer
 */
@SuppressWarnings("ArrayRecordComponent") // never compared
public record TurnRequest(
        int[] opening,
        int[] prompt,
        GenerationRequest template,
        Optional<PrefixUse> prefixes,
        int[] cuts,
        boolean keepsStopToken) {
    /** One whose opening is read alone. */
    public TurnRequest(int[] opening, int[] prompt, GenerationRequest template, boolean keepsStopToken) {
        this(opening, prompt, template, Optional.empty(), new int[0], keepsStopToken);
    }

    /**
     * The prompt behind what is pending.
     *
     * @param endOfSequence of the model, which is a stop id too
     */
    int[] promptAfter(int[] pending, int endOfSequence) {
        boolean isThere = prompt.length > 0
                && pending.length > 0
                && pending[pending.length - 1] == prompt[0]
                && keepsStopToken
                && (prompt[0] == endOfSequence || isStop(prompt[0]));
        return isThere ? Arrays.copyOfRange(prompt, 1, prompt.length) : prompt;
    }

    /**
     * Starts the turn.
     *
     * @param start the session's state with the prompt appended
     * @param addedCount tokens appended
     * @param patience of the turn so far, which its deadline counts
     * @param history all tokens of it, if they are known; asked for only if beginnings of it are to be kept
     */
    Turn start(
            Engine engine, SessionState start, int addedCount, Patience patience, Supplier<Optional<int[]>> history) {
        var generation = template.withPrompt(start.pending()).after(patience.waited());
        if (prefixes.isPresent() && addedCount == start.tokenCount()) {
            return engine.begin(generation, keepsStopToken, prefixes.get());
        }
        var known = prefixes.isPresent() && cuts.length > 0 ? history.get() : Optional.<int[]>empty();
        if (prefixes.isEmpty() || known.isEmpty()) {
            return engine.resume(start, generation, keepsStopToken);
        }
        int before = known.get().length - prompt.length;
        int[] breakpoints = Arrays.stream(cuts).map(cut -> before + cut).toArray();
        var use = prefixes.get();
        return engine.resume(
                start,
                generation.withPrompt(known.get()),
                keepsStopToken,
                new PrefixUse(use.cache(), use.scope(), breakpoints, true));
    }

    private boolean isStop(int token) {
        return Arrays.stream(template.stopTokenIds()).anyMatch(stop -> stop == token);
    }
}
