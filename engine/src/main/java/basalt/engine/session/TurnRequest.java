package basalt.engine.session;

import basalt.engine.GenerationRequest;
import basalt.engine.state.PrefixUse;
import java.util.Arrays;
import java.util.Optional;

/**
 * What a turn of a session asks for.
 *
 * @param opening the prompt if the session has no token yet
 * @param prompt else what goes after its tokens, perhaps nothing; a stop id of the template that it begins with is left
 *     out if the session ends with it
 * @param template everything else; its own prompt counts for nothing, it has one choice, and no prompt is scored
 * @param prefixes of the opening, which may begin as others do; none is looked for and none kept if empty
 * @param keepsStopToken whether a stop id that ends the turn is part of the history, as after a chat's answer
 */
@SuppressWarnings("ArrayRecordComponent") // never compared
public record TurnRequest(
        int[] opening, int[] prompt, GenerationRequest template, Optional<PrefixUse> prefixes, boolean keepsStopToken) {
    /** One whose opening is read alone. */
    public TurnRequest(int[] opening, int[] prompt, GenerationRequest template, boolean keepsStopToken) {
        this(opening, prompt, template, Optional.empty(), keepsStopToken);
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

    private boolean isStop(int token) {
        return Arrays.stream(template.stopTokenIds()).anyMatch(stop -> stop == token);
    }
}
