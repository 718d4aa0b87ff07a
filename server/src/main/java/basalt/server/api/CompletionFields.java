package basalt.server.api;

import basalt.engine.GenerationRequest;
import java.util.ArrayList;
import java.util.List;
import java.util.random.RandomGenerator;

/** Collects the fields of a {@code POST /v1/completions}. */
final class CompletionFields implements JsonReader.FieldReader {
    private static final int PROMPT_COUNT_MAX = 1_024;
    private static final int MAX_TOKENS_DEFAULT = 16;

    private final ServedModel model;
    private final AnswerFields common;
    private List<Prompt> prompts = List.of();
    private boolean echoes;
    private int logprobCount = -1;

    CompletionFields(ServedModel model, RequestTime time) {
        this.model = model;
        this.common = new AnswerFields(model, "completions", time);
    }

    @Override
    public void read(String name, JsonReader json) {
        switch (name) {
            case "prompt" -> prompts = prompts(json);
            case "echo" -> echoes = json.bool(name);
            case "logprobs" -> logprobCount = json.integer(name, 0, GenerationRequest.LOGPROB_COUNT_MAX);
            case "suffix" -> throw AnswerFields.unsupported(name, "suffix is not supported: text only goes on.");
            case "top_logprobs" ->
                throw AnswerFields.unsupported(name, "top_logprobs is of chats; set logprobs to the number.");
            case "messages" ->
                throw AnswerFields.unsupported(name, "messages are for /v1/chat/completions; give a prompt.");
            default -> common.read(name, json);
        }
    }

    /** A string, ids, an array of strings, or an array of arrays of ids. */
    private List<Prompt> prompts(JsonReader json) {
        if (json.isText()) {
            return List.of(new Prompt.Text(json.text("prompt")));
        }
        if (!json.isArray()) {
            throw JsonReader.wrongType("prompt", "a string, an array of strings, or token ids");
        }
        if (!json.nextElement()) {
            throw new ProblemException(Problem.of(ProblemCode.INVALID_VALUE, "prompt", "prompt is empty."));
        }
        int vocabSize = model.config().vocabSize();
        if (json.isNumber()) {
            return List.of(new Prompt.Tokens(json.idsFromFirst("prompt", vocabSize)));
        }
        boolean areTexts = json.isText();
        var read = new ArrayList<Prompt>();
        do {
            String param = "prompt[" + read.size() + "]";
            if (read.size() == PROMPT_COUNT_MAX) {
                throw JsonReader.tooMany("prompt", PROMPT_COUNT_MAX);
            }
            if (areTexts != json.isText() || areTexts == json.isArray()) {
                throw JsonReader.wrongType(param, areTexts ? "a string, as prompt[0]" : "an array of token ids");
            }
            read.add(areTexts ? new Prompt.Text(json.text(param)) : tokens(param, json, vocabSize));
        } while (json.nextElement());
        return read;
    }

    private static Prompt tokens(String param, JsonReader json, int vocabSize) {
        int[] ids = json.ids(param, vocabSize);
        if (ids.length == 0) {
            throw new ProblemException(Problem.of(ProblemCode.INVALID_VALUE, param, param + " is empty."));
        }
        return new Prompt.Tokens(ids);
    }

    /** Checks what spans fields, and converts. */
    CompletionRequest request(RandomGenerator seeds) {
        if (prompts.isEmpty() && common.isTurn()) {
            prompts = List.of(new Prompt.Text(""));
        }
        if (prompts.isEmpty()) {
            throw new ProblemException(
                    Problem.of(ProblemCode.MISSING_PARAMETER, "prompt", "prompt is missing: what shall be completed?"));
        }
        var own = new AnswerFields.Own(
                CompletionRequest.encode(prompts, model),
                common.isTurn()
                        ? new CompletionRequest.Continuation(continuation(), new int[0])
                        : CompletionRequest.Continuation.NONE,
                MAX_TOKENS_DEFAULT,
                echoes,
                logprobCount,
                List.of(),
                new int[0],
                new int[0]);
        return common.request(CompletionRequest.Form.TEXT, own, seeds);
    }

    /** Nothing begins a document where one goes on. */
    private int[] continuation() {
        return prompts.getFirst() instanceof Prompt.Text(String text) && text.isEmpty()
                ? new int[0]
                : CompletionRequest.encode(prompts.subList(0, 1), model).getFirst();
    }
}
