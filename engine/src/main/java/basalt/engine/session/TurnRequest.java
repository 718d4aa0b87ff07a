package basalt.engine.session;

import basalt.engine.GenerationRequest;
import java.util.Arrays;

/**
 * What a turn of a session asks for.
 *
 * @param opening the prompt if the session has no token yet
 * @param prompt else what goes after its tokens, perhaps nothing; a stop id of the template that it begins with is left
 *     out if the session ends with it
 * @param template everything else; its own prompt counts for nothing, it has one choice, and no prompt is scored
 * @param keepsStopToken whether a stop id that ends the turn is part of the history, as after a chat's answer
 */
@SuppressWarnings("ArrayRecordComponent") // never compared
public record TurnRequest(int[] opening, int[] prompt, GenerationRequest template, boolean keepsStopToken) {
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
