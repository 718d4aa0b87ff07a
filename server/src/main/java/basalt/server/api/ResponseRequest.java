package basalt.server.api;

import basalt.engine.GenerationRequest;
import basalt.engine.text.Tokenizer;
import basalt.server.chat.ChatMessage;
import basalt.server.chat.ChatTemplate;
import basalt.server.chat.ChatTemplateException;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.concurrent.CancellationException;
import java.util.function.Supplier;
import java.util.random.RandomGenerator;

/**
 * A {@code POST /v1/responses}, checked as far as it can be without the response that it follows.
 *
 * @param completion how the answer is made; its prompt counts for nothing
 * @param input what is said, with breakpoints of the cache
 * @param instructions what the system says before it
 * @param previous the id of the response that this one follows
 * @param isStored whether others may follow it
 * @param isBackground whether it is made without its client
 * @param maxTokens of the answer, if the client said so
 * @param metadata of the client, as JSON
 * @param time that it has
 */
@SuppressWarnings("ArrayRecordComponent") // never compared
public record ResponseRequest(
        CompletionRequest completion,
        ServedModel model,
        ChatInput input,
        Optional<String> instructions,
        Optional<String> previous,
        boolean isStored,
        boolean isBackground,
        OptionalInt maxTokens,
        byte[] metadata,
        RequestTime time) {

    /**
     * Reads a body.
     *
     * @param seeds where a seed comes from if the request has none
     * @param time that it has
     * @throws ProblemException naming the field at fault
     */
    public static ResponseRequest read(byte[] body, ServedModel model, RandomGenerator seeds, RequestTime time) {
        var fields = new ResponseFields(model.during(time), time);
        JsonReader.readObject(body, fields);
        return fields.request(seeds);
    }

    /**
     * What the engine is asked for, as a request without a past.
     *
     * @throws CancellationException if the time does not last for its texts
     */
    public GenerationRequest generation() {
        return hurried(completion.generations().getFirst().withPrompt(opening()));
    }

    /** The same within the time that is left now. */
    public GenerationRequest hurried(GenerationRequest generation) {
        return time.left().map(generation::withDeadline).orElse(generation);
    }

    /** Token ids of all that is said, where nothing was said before. */
    private int[] opening() {
        var template = model.chat();
        int[] prompt =
                encode(() -> template.encode(said(true).messages(), ChatTemplate.Opening.NEW_MESSAGE, tokenizer()));
        return CompletionRequest.begun(prompt, "input", model);
    }

    /**
     * How the beginning of a request without a past is kept.
     *
     * @param opening its prompt
     */
    public CompletionRequest.CacheUse cache(int[] opening) {
        var use = completion.cache();
        int[] breakpoints = encode(() -> said(true).breakpoints(opening, model.chat(), tokenizer()));
        return new CompletionRequest.CacheUse(use.salt(), breakpoints, use.isExplicit());
    }

    /**
     * What is said after another response.
     *
     * @param known instructions that the model has read already, and that need not be read again
     */
    public CompletionRequest.Continuation continuation(Optional<String> known) {
        boolean isNew = instructions.isPresent() && !instructions.equals(known);
        var template = model.chat();
        return encode(() -> said(isNew).continuation(ChatTemplate.Opening.NEW_MESSAGE, template, tokenizer()));
    }

    private Tokenizer tokenizer() {
        return model.tokenizer().orElseThrow();
    }

    private ChatInput said(boolean isInstructed) {
        return instructions
                .filter(text -> isInstructed)
                .map(text -> input.after(new ChatMessage(ChatMessage.Role.SYSTEM, text, Optional.empty())))
                .orElse(input);
    }

    private static <T> T encode(Supplier<T> encoding) {
        try {
            return encoding.get();
        } catch (ChatTemplateException e) {
            throw new ProblemException(
                    Problem.of(ProblemCode.INVALID_REQUEST, "input", String.valueOf(e.getMessage())));
        }
    }
}
