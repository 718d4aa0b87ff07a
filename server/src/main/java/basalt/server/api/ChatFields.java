package basalt.server.api;

import basalt.engine.GenerationRequest;
import basalt.engine.text.Tokenizer;
import basalt.server.chat.ChatMessage;
import basalt.server.chat.ChatTemplate;
import basalt.server.chat.ChatTemplateException;
import java.util.List;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.random.RandomGenerator;

/** Collects the fields of a {@code POST /v1/chat/completions}. */
final class ChatFields implements JsonReader.FieldReader {
    /** A model of plain text may never end an answer by itself, and there is no context to be full. */
    private static final int MAX_TOKENS_DEFAULT = 1_024;

    private static final String MESSAGES = "messages";

    private final ServedModel model;
    private final AnswerFields common;
    private ChatInput input = ChatInput.NONE;
    private boolean hasLogprobs;
    private OptionalInt topLogprobs = OptionalInt.empty();
    private Optional<Boolean> opensAnswer = Optional.empty();
    private boolean continuesMessage;

    ChatFields(ServedModel model, RequestTime time) {
        this.model = model;
        this.common = new AnswerFields(model, "chat completions", time);
    }

    @Override
    public void read(String name, JsonReader json) {
        switch (name) {
            case MESSAGES -> input = MessageFields.messages(json);
            case "logprobs" -> hasLogprobs = json.bool(name);
            case "top_logprobs" ->
                topLogprobs = OptionalInt.of(json.integer(name, 0, GenerationRequest.LOGPROB_COUNT_MAX));
            case "add_generation_prompt" -> opensAnswer = Optional.of(json.bool(name));
            case "continue_final_message" -> continuesMessage = json.bool(name);
            case "prompt" -> throw AnswerFields.unsupported(name, "prompt is for /v1/completions; give messages.");
            case "echo", "chat_template", "chat_template_kwargs", "documents" -> throw AnswerFields.unsupported(name);
            default -> common.read(name, json);
        }
    }

    /** Checks what spans fields, and converts. */
    CompletionRequest request(RandomGenerator seeds) {
        if (input.messages().isEmpty()) {
            throw new ProblemException(
                    Problem.of(ProblemCode.MISSING_PARAMETER, MESSAGES, "messages are missing: what was said?"));
        }
        if (topLogprobs.isPresent() && !hasLogprobs) {
            throw new ProblemException(
                    Problem.of(ProblemCode.INVALID_VALUE, "top_logprobs", "top_logprobs needs \"logprobs\": true."));
        }
        ChatTemplate template = model.chat();
        int[] prompt = encode(template);
        var own = new AnswerFields.Own(
                List.of(prompt),
                common.isTurn() ? continuation(template) : CompletionRequest.Continuation.NONE,
                MAX_TOKENS_DEFAULT,
                false,
                hasLogprobs ? topLogprobs.orElse(0) : -1,
                template.stopStrings(),
                template.stopTokenIds(),
                input.breakpoints(prompt, template, model.tokenizer().orElseThrow()));
        return common.request(CompletionRequest.Form.CHAT, own, seeds);
    }

    private int[] encode(ChatTemplate template) {
        Tokenizer tokenizer = model.tokenizer()
                .orElseThrow(() -> new ProblemException(Problem.of(
                        ProblemCode.TOKENIZER_MISSING,
                        MESSAGES,
                        "The checkpoint has no tokenizer; use /v1/completions with token ids.")));
        try {
            int[] prompt = template.encode(input.messages(), opening(), tokenizer);
            return CompletionRequest.begun(prompt, MESSAGES, model);
        } catch (ChatTemplateException e) {
            throw new ProblemException(
                    Problem.of(ProblemCode.INVALID_REQUEST, MESSAGES, String.valueOf(e.getMessage())));
        }
    }

    private CompletionRequest.Continuation continuation(ChatTemplate template) {
        if (continuesMessage) {
            throw AnswerFields.unsupported("continue_final_message", "A session goes on by itself; send new messages.");
        }
        try {
            return input.continuation(opening(), template, model.tokenizer().orElseThrow());
        } catch (ChatTemplateException e) {
            throw new ProblemException(
                    Problem.of(ProblemCode.INVALID_REQUEST, MESSAGES, String.valueOf(e.getMessage())));
        }
    }

    private ChatTemplate.Opening opening() {
        if (!continuesMessage) {
            return opensAnswer.orElse(true) ? ChatTemplate.Opening.NEW_MESSAGE : ChatTemplate.Opening.NONE;
        }
        if (opensAnswer.orElse(false)) {
            throw new ProblemException(Problem.of(
                    ProblemCode.INVALID_VALUE,
                    "continue_final_message",
                    "continue_final_message goes on with the last message and add_generation_prompt begins a new one;"
                            + " set one of them."));
        }
        if (input.messages().getLast().role() != ChatMessage.Role.ASSISTANT) {
            throw new ProblemException(Problem.of(
                    ProblemCode.INVALID_VALUE,
                    "continue_final_message",
                    "continue_final_message needs a last message of the role assistant."));
        }
        return ChatTemplate.Opening.LAST_MESSAGE;
    }
}
