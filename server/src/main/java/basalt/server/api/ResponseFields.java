package basalt.server.api;

import java.util.List;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.Set;
import java.util.random.RandomGenerator;

/** Collects the fields of a {@code POST /v1/responses}. */
final class ResponseFields implements JsonReader.FieldReader {
    /** A model of plain text may never end an answer by itself, and there is no context to be full. */
    private static final int MAX_TOKENS_DEFAULT = 1_024;

    private static final int METADATA_COUNT_MAX = 16;
    private static final int METADATA_LENGTH_MAX = 512;
    /** Of completions and chats, where they are called otherwise or make no sense here. */
    private static final Set<String> OTHERS = Set.of(
            "max_tokens",
            "max_completion_tokens",
            "n",
            "best_of",
            "session",
            "session_wait",
            "response_format",
            "return_token_ids",
            "return_tokens_as_token_ids",
            "include_stop_str_in_output",
            "request_id",
            "prompt",
            "messages");
    /** What needs more than text, or a server that goes on without being asked. */
    private static final Set<String> UNSUPPORTED = Set.of(
            "conversation",
            "reasoning",
            "max_tool_calls",
            "top_logprobs",
            "logprobs",
            "context_management",
            "moderation");

    private final ServedModel model;
    private final RequestTime time;
    private final AnswerFields common;
    private ChatInput input = ChatInput.NONE;
    private Optional<String> instructions = Optional.empty();
    private Optional<String> previous = Optional.empty();
    private boolean isStored = true;
    private boolean isBackground;
    private OptionalInt maxTokens = OptionalInt.empty();
    private final JsonBuffer metadata = new JsonBuffer();

    ResponseFields(ServedModel model, RequestTime time) {
        this.model = model;
        this.time = time;
        this.common = new AnswerFields(model, "responses", time);
    }

    @Override
    public void read(String name, JsonReader json) {
        switch (name) {
            case "input" -> input = ResponseItems.all(name, json);
            case "instructions" -> instructions = Optional.of(json.text(name));
            case "previous_response_id" -> previous = Optional.of(json.text(name));
            case "store" -> isStored = json.bool(name);
            case "max_output_tokens" -> maxTokens = OptionalInt.of(json.integer(name, 1, Integer.MAX_VALUE));
            case "metadata" -> readMetadata(json);
            case "text" -> readText(json);
            // Nothing is ever left out of the past.
            case "truncation" -> require(name, Set.of("auto", "disabled").contains(json.text(name)), "disabled");
            case "background" -> isBackground = json.bool(name);
            case "parallel_tool_calls" -> json.bool(name); // of no tools
            case "tools", "include" -> requireEmpty(name, json);
            case "tool_choice" -> require(name, json.isText() && isWithoutTools(json.text(name)), "none");
            default -> {
                if (OTHERS.contains(name) || UNSUPPORTED.contains(name)) {
                    throw AnswerFields.unsupported(name);
                }
                common.read(name, json);
            }
        }
    }

    private static boolean isWithoutTools(String choice) {
        return Set.of("none", "auto").contains(choice);
    }

    private static void require(String name, boolean holds, String value) {
        if (!holds) {
            throw AnswerFields.unsupported(name, name + " can only be " + value + " here; leave it out.");
        }
    }

    private static void requireEmpty(String name, JsonReader json) {
        if (!json.isArray() || json.nextElement()) {
            throw AnswerFields.unsupported(name);
        }
    }

    private void readMetadata(JsonReader json) {
        metadata.clear();
        var count = new int[1];
        json.object("metadata", (name, value) -> {
            String text = value.text(name);
            String key = name.substring("metadata.".length());
            if (++count[0] > METADATA_COUNT_MAX || text.codePointCount(0, text.length()) > METADATA_LENGTH_MAX) {
                throw JsonReader.outOfBounds(
                        "metadata", METADATA_COUNT_MAX + " texts of " + METADATA_LENGTH_MAX + " characters at most");
            }
            metadata.raw(metadata.length() > 0 ? "," : "").string(key).raw(":").string(text);
        });
    }

    private static void readText(JsonReader json) {
        json.object("text", (name, value) -> {
            if (!name.equals("text.format")) {
                throw AnswerFields.unsupported(name);
            }
            value.object(name, (field, kind) -> {
                if (!field.equals("text.format.type") || !kind.text(field).equals("text")) {
                    throw AnswerFields.unsupported("text.format", "text.format can only be {\"type\": \"text\"}.");
                }
            });
        });
    }

    /** Checks what spans fields, and converts. */
    ResponseRequest request(RandomGenerator seeds) {
        if (input.messages().isEmpty()) {
            throw new ProblemException(
                    Problem.of(ProblemCode.MISSING_PARAMETER, "input", "input is missing: what was said?"));
        }
        if (model.tokenizer().isEmpty()) {
            throw new ProblemException(Problem.of(
                    ProblemCode.TOKENIZER_MISSING,
                    "input",
                    "The checkpoint has no tokenizer; use /v1/completions with token ids."));
        }
        require("store", isStored || !isBackground, "true with background");
        var template = model.chat();
        var own = new AnswerFields.Own(
                List.of(new int[] {0}), // not known before the response that this one follows is
                CompletionRequest.Continuation.NONE,
                maxTokens.orElse(MAX_TOKENS_DEFAULT),
                false,
                -1,
                template.stopStrings(),
                template.stopTokenIds(),
                new int[0]);
        var completion = common.request(CompletionRequest.Form.CHAT, own, seeds);
        require("stream", !completion.isStreamed() || !isBackground, "false with background");
        return new ResponseRequest(
                completion,
                model,
                input,
                instructions,
                previous,
                isStored,
                isBackground,
                maxTokens,
                new JsonBuffer().raw("{").raw(metadata).raw("}").toByteArray(),
                time);
    }
}
