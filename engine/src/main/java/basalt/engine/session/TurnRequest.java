package basalt.engine.session;

import basalt.engine.GenerationRequest;

/**
 * What a turn of a session asks for.
 *
 * @param opening the prompt if the session has no token yet
 * @param prompt else what goes after its tokens, perhaps nothing
 * @param template everything else; its own prompt counts for nothing, it has one choice, and no prompt is scored
 * @param keepsStopToken whether a stop id that ends the turn is part of the history, as after a chat's answer
 */
@SuppressWarnings("ArrayRecordComponent") // never compared
public record TurnRequest(int[] opening, int[] prompt, GenerationRequest template, boolean keepsStopToken) {}
