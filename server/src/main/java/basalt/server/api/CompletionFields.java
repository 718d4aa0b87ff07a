package basalt.server.api;

import basalt.engine.GenerationRequest;
import java.util.ArrayList;
import java.util.List;
import java.util.Set;
import java.util.random.RandomGenerator;

/** Collects the fields of a {@code POST /v1/completions}. */
final class CompletionFields implements JsonReader.FieldReader {
    private static final int PROMPT_COUNT_MAX = 1_024;
    private static final int MAX_TOKENS_DEFAULT = 16;
    /** Positions times entries of an answer with log-probabilities that is not streamed, so that it fits the memory. */
    private static final long HELD_LOGPROBS_MAX = 4_000_000;

    /** Sent by clients for the operator's benefit, or true of this server anyway. */
    private static final Set<String> HARMLESS = Set.of(
            "user",
            "metadata",
            "safety_identifier",
            "prompt_cache_key",
            "request_id",
            "service_tier",
            "store",
            "skip_special_tokens",
            "spaces_between_special_tokens",
            "add_special_tokens",
            "cache_salt");
    /** Known elsewhere, and of no meaning or not implemented here: refused, so that nobody believes they work. */
    private static final Set<String> UNSUPPORTED = Set.of(
            "suffix",
            "tools",
            "tool_choice",
            "functions",
            "function_call",
            "prompt_logprobs",
            "prompt_embeds",
            "use_beam_search",
            "length_penalty",
            "guided_json",
            "guided_regex",
            "guided_choice",
            "guided_grammar",
            "structured_outputs",
            "logits_processors",
            "truncate_prompt_tokens",
            "allowed_token_ids",
            "bad_words",
            "messages");

    private final ServedModel model;
    private final SamplingFields sampling;
    private List<Prompt> prompts = List.of();
    private int maxTokens = MAX_TOKENS_DEFAULT;
    private int bestOf;
    private boolean echoes;
    private int logprobCount = -1;
    private boolean isStreamed;
    private boolean includesUsage;
    private boolean hasStreamOptions;
    private boolean returnsTokenIds;
    private boolean namesTokensById;

    CompletionFields(ServedModel model) {
        this.model = model;
        this.sampling = new SamplingFields(model.config().vocabSize());
    }

    @Override
    public void read(String name, JsonReader json) {
        if (sampling.read(name, json)) {
            return;
        }
        switch (name) {
            case "model" -> model.requireName(json.text(name));
            case "prompt" -> prompts = prompts(json);
            case "max_tokens" -> maxTokens = json.integer(name, 0, Integer.MAX_VALUE);
            case "best_of" -> bestOf = json.integer(name, 1, SamplingFields.CHOICE_COUNT_MAX);
            case "echo" -> echoes = json.bool(name);
            case "logprobs" -> logprobCount = json.integer(name, 0, GenerationRequest.LOGPROB_COUNT_MAX);
            case "stream" -> isStreamed = json.bool(name);
            case "stream_options" -> readStreamOptions(json);
            case "return_token_ids" -> returnsTokenIds = json.bool(name);
            case "return_tokens_as_token_ids" -> namesTokensById = json.bool(name);
            case "response_format" -> readResponseFormat(json);
            default -> readOther(name, json);
        }
    }

    private static void readOther(String name, JsonReader json) {
        if (HARMLESS.contains(name)) {
            json.skip();
        } else if (UNSUPPORTED.contains(name)) {
            throw unsupported(name, name + " is not supported; leave it out.");
        } else {
            throw new ProblemException(Problem.of(
                    ProblemCode.UNKNOWN_PARAMETER, name, "\"" + name + "\" is no parameter of completions."));
        }
    }

    private static ProblemException unsupported(String param, String message) {
        return new ProblemException(Problem.of(ProblemCode.UNSUPPORTED_PARAMETER, param, message));
    }

    private void readStreamOptions(JsonReader json) {
        hasStreamOptions = true;
        json.object("stream_options", (name, value) -> {
            switch (name) {
                case "stream_options.include_usage" -> includesUsage = value.bool(name);
                case "stream_options.include_obfuscation" -> {
                    if (value.bool(name)) {
                        throw unsupported(name, name + " is not supported; leave it out.");
                    }
                }
                default ->
                    throw new ProblemException(
                            Problem.of(ProblemCode.UNKNOWN_PARAMETER, name, name + " is no option of streams."));
            }
        });
    }

    private static void readResponseFormat(JsonReader json) {
        json.object("response_format", (name, value) -> {
            if (!name.equals("response_format.type") || !value.text(name).equals("text")) {
                throw unsupported("response_format", "response_format can only be {\"type\": \"text\"}.");
            }
        });
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
        if (json.isWholeNumber()) {
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
        if (prompts.isEmpty()) {
            throw new ProblemException(
                    Problem.of(ProblemCode.MISSING_PARAMETER, "prompt", "prompt is missing: what shall be completed?"));
        }
        if (hasStreamOptions && !isStreamed) {
            throw new ProblemException(
                    Problem.of(ProblemCode.INVALID_VALUE, "stream_options", "stream_options needs \"stream\": true."));
        }
        if (bestOf != 0 && bestOf != sampling.choiceCount()) {
            throw unsupported("best_of", "best_of is only supported where it equals n.");
        }
        if (!sampling.stopStrings().isEmpty() && model.tokenizer().isEmpty()) {
            throw new ProblemException(Problem.of(
                    ProblemCode.TOKENIZER_MISSING,
                    "stop",
                    "The checkpoint has no tokenizer, so stop strings cannot be matched; use stop_token_ids."));
        }
        if (sampling.minTokens() > maxTokens) {
            throw JsonReader.outOfBounds("min_tokens", "max_tokens (" + maxTokens + ") at most");
        }
        boolean scoresPrompt = echoes && logprobCount >= 0;
        var generations = new ArrayList<GenerationRequest>(prompts.size());
        for (int[] prompt : CompletionRequest.encode(prompts, model)) {
            generations.add(generation(prompt, scoresPrompt, seeds));
        }
        requireHeldLogprobs(generations);
        return new CompletionRequest(
                generations,
                new CompletionRequest.Output(
                        echoes, logprobCount, returnsTokenIds, namesTokensById, sampling.includesStopString()),
                isStreamed,
                includesUsage);
    }

    private GenerationRequest generation(int[] prompt, boolean scoresPrompt, RandomGenerator seeds) {
        return new GenerationRequest(
                prompt,
                maxTokens,
                sampling.params(),
                sampling.seed().orElseGet(seeds::nextLong),
                sampling.choiceCount(),
                sampling.stopStrings(),
                sampling.stopTokenIds(),
                sampling.ignoresEndOfSequence(),
                sampling.minTokens(),
                logprobCount,
                scoresPrompt,
                sampling.priority());
    }

    private void requireHeldLogprobs(List<GenerationRequest> generations) {
        long positions = 0;
        for (GenerationRequest generation : generations) {
            int promptTokens = generation.scoresPrompt() ? generation.prompt().length : 0;
            positions += ((long) maxTokens + promptTokens) * generation.choiceCount();
        }
        if (!isStreamed && logprobCount >= 0 && positions > HELD_LOGPROBS_MAX / (logprobCount + 1)) {
            throw new ProblemException(Problem.of(
                    ProblemCode.INVALID_VALUE,
                    "logprobs",
                    "Log-probabilities of up to " + positions
                            + " tokens are too many for one answer; set \"stream\": true, or ask for fewer."));
        }
    }
}
