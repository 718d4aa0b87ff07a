package basalt.server.api;

import basalt.engine.GenerationRequest;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.Set;
import java.util.random.RandomGenerator;

/** Collects the fields that completions and chats have in common. */
final class AnswerFields {
    /** Positions times entries of an answer with log-probabilities that is not streamed, so that it fits the memory. */
    private static final long HELD_LOGPROBS_MAX = 4_000_000;

    private static final int SESSION_WAIT_SECONDS_MAX = 600;
    private static final int CACHE_SALT_LENGTH_MAX = 256;

    /** Known elsewhere, and of no meaning or not implemented here: refused, so that nobody believes they work. */
    private static final Set<String> UNSUPPORTED = Set.of(
            "tools",
            "tool_choice",
            "parallel_tool_calls",
            "functions",
            "function_call",
            "modalities",
            "audio",
            "prediction",
            "reasoning_effort",
            "verbosity",
            "web_search_options",
            "moderation",
            "prompt_logprobs",
            "prompt_embeds",
            "use_beam_search",
            "length_penalty",
            "guided_json",
            "guided_regex",
            "guided_choice",
            "guided_grammar",
            "guided_decoding_backend",
            "structured_outputs",
            "logits_processors",
            "truncate_prompt_tokens",
            "allowed_token_ids",
            "bad_words",
            "kv_transfer_params");

    private final ServedModel model;
    private final String endpoint;
    private final RequestTime time;
    private final SamplingFields sampling;
    private OptionalInt maxTokens = OptionalInt.empty();
    private OptionalInt maxCompletionTokens = OptionalInt.empty();
    private OptionalInt bestOf = OptionalInt.empty();
    private boolean isStreamed;
    private boolean isResumable;
    private boolean includesUsage;
    private boolean hasStreamOptions;
    private boolean returnsTokenIds;
    private boolean namesTokensById;
    private Optional<String> id = Optional.empty();
    private Optional<String> session = Optional.empty();
    private Duration sessionWait = Duration.ZERO;
    private String cacheSalt = "";
    private boolean cachesExplicitly;

    /**
     * None collected yet.
     *
     * @param endpoint what the fields are parameters of
     * @param time that the request has
     */
    AnswerFields(ServedModel model, String endpoint, RequestTime time) {
        this.model = model;
        this.endpoint = endpoint;
        this.time = time;
        this.sampling = new SamplingFields(model.config().vocabSize());
    }

    /** Reads a field that is not of one endpoint alone, or refuses it. */
    void read(String name, JsonReader json) {
        if (sampling.read(name, json) || readIdle(name, json)) {
            return;
        }
        switch (name) {
            case "model" -> model.requireName(json.text(name));
            case "max_tokens" -> maxTokens = OptionalInt.of(json.integer(name, 0, Integer.MAX_VALUE));
            case "max_completion_tokens" ->
                maxCompletionTokens = OptionalInt.of(json.integer(name, 0, Integer.MAX_VALUE));
            case "best_of" -> bestOf = OptionalInt.of(json.integer(name, 1, SamplingFields.CHOICE_COUNT_MAX));
            case "stream" -> isStreamed = json.bool(name);
            case "resumable" -> isResumable = json.bool(name);
            case "stream_options" -> readStreamOptions(json);
            case "return_token_ids" -> returnsTokenIds = json.bool(name);
            case "return_tokens_as_token_ids" -> namesTokensById = json.bool(name);
            case "response_format" -> readResponseFormat(json);
            case "cache_salt" -> cacheSalt = salt(name, json.text(name));
            case "prompt_cache_options" -> readCacheOptions(json);
            case "session" -> session = Optional.of(json.text(name));
            case "session_wait" -> sessionWait = Duration.ofSeconds(json.integer(name, 0, SESSION_WAIT_SECONDS_MAX));
            case "deadline_seconds" -> time.limit(Deadline.of(json.number(name, 0, Deadline.SECONDS_MAX)));
            case "request_id" -> id = Optional.of(json.name(name));
            default -> throw UNSUPPORTED.contains(name) ? unsupported(name) : unknown(name);
        }
    }

    /** Whether the request continues a session. */
    boolean isTurn() {
        return session.isPresent();
    }

    /** Reads what is for the operator's benefit, or true of this server whatever is said. */
    private static boolean readIdle(String name, JsonReader json) {
        switch (name) {
            case "user", "safety_identifier", "prompt_cache_key" -> json.text(name);
            case "metadata" -> json.object(name, (field, value) -> value.skip());
            // No tokenizer here adds special tokens, and special tokens have no text to put spaces between.
            case "add_special_tokens", "spaces_between_special_tokens" -> json.bool(name);
            case "skip_special_tokens" -> requireOnly(name, json.bool(name), "true");
            case "store" -> requireOnly(name, !json.bool(name), "false");
            case "service_tier" -> requireOnly(name, Set.of("auto", "default").contains(json.text(name)), "auto");
            default -> {
                return false;
            }
        }
        return true;
    }

    private static String salt(String param, String salt) {
        if (salt.codePointCount(0, salt.length()) > CACHE_SALT_LENGTH_MAX) {
            throw JsonReader.outOfBounds(param, CACHE_SALT_LENGTH_MAX + " characters at most");
        }
        return salt;
    }

    private static void requireOnly(String name, boolean holds, String value) {
        if (!holds) {
            throw unsupported(name, name + " can only be " + value + " here; leave it out.");
        }
    }

    static ProblemException unsupported(String param) {
        return unsupported(param, param + " is not supported; leave it out.");
    }

    static ProblemException unsupported(String param, String message) {
        return new ProblemException(Problem.of(ProblemCode.UNSUPPORTED_PARAMETER, param, message));
    }

    private ProblemException unknown(String name) {
        return new ProblemException(Problem.of(
                ProblemCode.UNKNOWN_PARAMETER,
                name,
                "\"" + name + "\" is no parameter of " + endpoint + "; leave it out."));
    }

    private void readStreamOptions(JsonReader json) {
        hasStreamOptions = true;
        json.object("stream_options", (name, value) -> {
            switch (name) {
                case "stream_options.include_usage" -> includesUsage = value.bool(name);
                case "stream_options.include_obfuscation" -> requireOnly(name, !value.bool(name), "false");
                default ->
                    throw new ProblemException(Problem.of(
                            ProblemCode.UNKNOWN_PARAMETER, name, name + " is no option of streams; leave it out."));
            }
        });
    }

    private void readCacheOptions(JsonReader json) {
        json.object("prompt_cache_options", (name, value) -> {
            switch (name) {
                case "prompt_cache_options.mode" -> {
                    String mode = value.text(name);
                    if (!Set.of("implicit", "explicit").contains(mode)) {
                        throw JsonReader.outOfBounds(name, "implicit or explicit");
                    }
                    cachesExplicitly = mode.equals("explicit");
                }
                // The least recently used goes, however old it is.
                case "prompt_cache_options.ttl" -> value.text(name);
                default ->
                    throw new ProblemException(Problem.of(
                            ProblemCode.UNKNOWN_PARAMETER, name, name + " is no option of caches; leave it out."));
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

    /**
     * What an endpoint adds to these fields.
     *
     * @param prompts token ids of each
     * @param maxTokensDefault if the request says nothing
     * @param echoesPrompt the prompt leads the text
     * @param logprobCount as in {@link GenerationRequest}
     * @param stopStrings beside those of the request
     * @param stopTokenIds beside those of the request
     * @param continuation the prompt of a session that has tokens already
     * @param breakpoints token counts of beginnings that others will have too
     */
    record Own(
            List<int[]> prompts,
            CompletionRequest.Continuation continuation,
            int maxTokensDefault,
            boolean echoesPrompt,
            int logprobCount,
            List<String> stopStrings,
            int[] stopTokenIds,
            int[] breakpoints) {}

    /** Checks what spans fields, and converts. */
    CompletionRequest request(CompletionRequest.Form form, Own own, RandomGenerator seeds) {
        requireStream(hasStreamOptions, "stream_options");
        requireStream(isResumable, "resumable");
        if (!sampling.stopStrings().isEmpty() && model.tokenizer().isEmpty()) {
            throw new ProblemException(Problem.of(
                    ProblemCode.TOKENIZER_MISSING,
                    "stop",
                    "The checkpoint has no tokenizer, so stop strings cannot be matched; use stop_token_ids."));
        }
        int maxTokens = maxTokens(own.maxTokensDefault());
        if (sampling.minTokens() > maxTokens) {
            throw JsonReader.outOfBounds("min_tokens", "max_tokens (" + maxTokens + ") at most");
        }
        int choiceCount = bestOf.orElse(sampling.choiceCount());
        checkBestOf(choiceCount);
        var generations = new ArrayList<GenerationRequest>(own.prompts().size());
        for (int[] prompt : own.prompts()) {
            generations.add(generation(prompt, choiceCount, maxTokens, own, seeds));
        }
        requireHeldLogprobs(generations, own.logprobCount());
        session.ifPresent(used -> requireOneTurn(generations));
        return new CompletionRequest(
                generations,
                new CompletionRequest.Output(
                        form,
                        own.echoesPrompt(),
                        own.logprobCount(),
                        returnsTokenIds,
                        namesTokensById,
                        sampling.includesStopString()),
                sampling.choiceCount(),
                isStreamed,
                isResumable,
                includesUsage,
                id,
                session.map(used -> new CompletionRequest.SessionUse(used, own.continuation(), sessionWait)),
                new CompletionRequest.CacheUse(cacheSalt, own.breakpoints(), cachesExplicitly));
    }

    private void requireStream(boolean isAsked, String param) {
        if (isAsked && !isStreamed) {
            throw new ProblemException(
                    Problem.of(ProblemCode.INVALID_VALUE, param, param + " needs \"stream\": true."));
        }
    }

    /** A turn continues one sequence by one choice. */
    private static void requireOneTurn(List<GenerationRequest> generations) {
        GenerationRequest first = generations.getFirst();
        if (generations.size() > 1) {
            throw unsupported("session", "A turn of a session has one prompt; send one.");
        }
        if (first.choiceCount() > 1) {
            throw unsupported("session", "A turn of a session has one choice; leave n and best_of out, or fork it.");
        }
        if (first.scoresPrompt()) {
            throw unsupported("session", "The prompt of a session's turn is not scored; leave echo or logprobs out.");
        }
    }

    private int maxTokens(int ifAbsent) {
        if (maxTokens.isPresent() && maxCompletionTokens.isPresent() && !maxTokens.equals(maxCompletionTokens)) {
            throw new ProblemException(Problem.of(
                    ProblemCode.INVALID_VALUE,
                    "max_tokens",
                    "max_tokens and max_completion_tokens mean the same; give one of them."));
        }
        return maxCompletionTokens.orElse(maxTokens.orElse(ifAbsent));
    }

    private void checkBestOf(int choiceCount) {
        if (choiceCount < sampling.choiceCount()) {
            throw JsonReader.outOfBounds("best_of", "n (" + sampling.choiceCount() + ") at least");
        }
        if (choiceCount > sampling.choiceCount() && isStreamed) {
            throw new ProblemException(Problem.of(
                    ProblemCode.INVALID_VALUE,
                    "best_of",
                    "best_of above n cannot be streamed, as the best are known at the end; leave stream out."));
        }
    }

    private GenerationRequest generation(int[] prompt, int choiceCount, int maxTokens, Own own, RandomGenerator seeds) {
        var stopStrings = new ArrayList<>(sampling.stopStrings());
        stopStrings.addAll(own.stopStrings());
        // The best are those of the highest log-probability.
        int ranked = choiceCount > sampling.choiceCount() ? 0 : -1;
        return new GenerationRequest(
                prompt,
                maxTokens,
                sampling.params(),
                sampling.seed().orElseGet(seeds::nextLong),
                choiceCount,
                stopStrings,
                sampling.stopTokenIds(own.stopTokenIds()),
                sampling.ignoresEndOfSequence(),
                sampling.minTokens(),
                Math.max(ranked, own.logprobCount()),
                own.echoesPrompt() && own.logprobCount() >= 0,
                sampling.priority(),
                time.left());
    }

    private void requireHeldLogprobs(List<GenerationRequest> generations, int logprobCount) {
        long positions = 0;
        for (GenerationRequest generation : generations) {
            int promptTokens = generation.scoresPrompt() ? generation.prompt().length : 0;
            positions += ((long) generation.maxTokens() + promptTokens) * generation.choiceCount();
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
