package basalt.engine;

import basalt.engine.model.ModelConfig;
import java.nio.charset.StandardCharsets;

/** Checks of a request against the model and the capacity. */
final class RequestCheck {
    private RequestCheck() {}

    /**
     * Checks what {@link GenerationRequest} itself cannot.
     *
     * @throws EngineException.InvalidRequest naming the field and what to do
     */
    static void check(GenerationRequest request, ModelConfig model, boolean hasTokenizer, int slotCountMax) {
        checkPrompt(request.prompt(), model);
        // Without a device every request is refused, and not for its own fault.
        if (slotCountMax > 0 && request.choiceCount() > slotCountMax) {
            throw new EngineException.InvalidRequest(
                    "choiceCount",
                    request.choiceCount() + " choices need a slot each and there are " + slotCountMax
                            + "; ask for fewer or start with more slots");
        }
        if (request.logprobCount() > model.vocabSize()) {
            throw new EngineException.InvalidRequest(
                    "logprobCount", request.logprobCount() + " is more than the vocabulary, " + model.vocabSize());
        }
        checkStops(request, model, hasTokenizer);
        for (int token : request.sampling().logitBias().keySet()) {
            requireToken(token, model, "logitBias");
        }
    }

    private static void checkPrompt(int[] prompt, ModelConfig model) {
        for (int token : prompt) {
            requireToken(token, model, "prompt");
        }
        checkPositions(prompt.length, model);
    }

    /** Checks the tokens before the first sampled one, those of earlier turns included. */
    static void checkPositions(long tokenCount, ModelConfig model) {
        if (model.positionCount() > 0 && tokenCount > model.positionCount()) {
            throw new EngineException.InvalidRequest(
                    "prompt",
                    "the prompt has " + tokenCount + " tokens and this model has learned " + model.positionCount()
                            + " positions; shorten it");
        }
    }

    private static void checkStops(GenerationRequest request, ModelConfig model, boolean hasTokenizer) {
        if (!request.stopStrings().isEmpty() && !hasTokenizer) {
            throw new EngineException.InvalidRequest(
                    "stopStrings", "this model has no tokenizer; use stop token ids instead");
        }
        for (var stop : request.stopStrings()) {
            int bytes = stop.getBytes(StandardCharsets.UTF_8).length;
            if (bytes == 0 || bytes > GenerationRequest.STOP_STRING_BYTES_MAX) {
                throw new EngineException.InvalidRequest(
                        "stopStrings",
                        "a stop string has " + bytes + " bytes; it may have 1 to "
                                + GenerationRequest.STOP_STRING_BYTES_MAX);
            }
        }
        for (int token : request.stopTokenIds()) {
            requireToken(token, model, "stopTokenIds");
        }
    }

    private static void requireToken(int token, ModelConfig model, String param) {
        if (token < 0 || token >= model.vocabSize()) {
            throw new EngineException.InvalidRequest(
                    param, "token id " + token + " is not in the vocabulary, 0 to " + (model.vocabSize() - 1));
        }
    }
}
