package basalt.server.api;

import basalt.engine.GenerationRequest;
import basalt.engine.state.PrefixCache;
import basalt.engine.state.PrefixUse;
import basalt.engine.text.Tokenizer;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.CancellationException;
import java.util.random.RandomGenerator;

/**
 * A {@code POST /v1/completions} or {@code POST /v1/chat/completions}, checked as far as it can be without the engine.
 *
 * @param generations one per prompt
 * @param output what the answer shows
 * @param choicesPerPrompt n; a generation has more where only the best are shown
 * @param isStreamed whether the answer is a stream of events
 * @param isResumable whether the stream outlives its connection
 * @param includesUsage whether the stream tells the usage
 * @param id of the answer, if the client chose one
 * @param session that the one generation is a turn of
 * @param cache how beginnings of prompts are kept
 */
public record CompletionRequest(
        List<GenerationRequest> generations,
        Output output,
        int choicesPerPrompt,
        boolean isStreamed,
        boolean isResumable,
        boolean includesUsage,
        Optional<String> id,
        Optional<SessionUse> session,
        CacheUse cache) {

    /**
     * How a session is used.
     *
     * @param id of the session
     * @param continuation what goes after its tokens; the generation's own prompt counts if it has none
     * @param waitMax for the end of a turn that runs
     */
    public record SessionUse(String id, Continuation continuation, Duration waitMax) {}

    /**
     * What goes on with a sequence.
     *
     * @param tokens after those that there are
     * @param cuts how many of these are before each breakpoint, ascending
     */
    @SuppressWarnings("ArrayRecordComponent") // never compared
    public record Continuation(int[] tokens, int[] cuts) {
        /** Nothing. */
        static final Continuation NONE = new Continuation(new int[0], new int[0]);
    }

    /**
     * How beginnings of prompts are kept.
     *
     * @param salt they are shared with requests of the same one only
     * @param breakpoints token counts where the client wants it
     * @param isExplicit and nowhere else
     */
    @SuppressWarnings("ArrayRecordComponent") // never compared
    public record CacheUse(String salt, int[] breakpoints, boolean isExplicit) {
        /** For the engine. */
        public PrefixUse of(PrefixCache cache, String tenant) {
            return new PrefixUse(cache, new PrefixCache.Scope(tenant, salt), breakpoints, isExplicit);
        }
    }

    /** Seconds that a request may take, as a header. */
    public static final String DEADLINE_HEADER = "X-Deadline-Seconds";

    /** What is asked for and how it is answered. */
    public enum Form {
        /** Text that goes on. */
        TEXT,
        /** A message in a chat. */
        CHAT
    }

    /**
     * What the answer shows of each choice.
     *
     * @param form text or message
     * @param echoesPrompt the prompt leads the text
     * @param logprobCount as in {@link GenerationRequest}
     * @param returnsTokenIds ids of prompt and answer beside the text
     * @param namesTokensById tokens in logprobs as {@code token_id:123}
     * @param includesStopString a matched stop string ends the text
     */
    public record Output(
            Form form,
            boolean echoesPrompt,
            int logprobCount,
            boolean returnsTokenIds,
            boolean namesTokensById,
            boolean includesStopString) {}

    /** Copies the list. */
    public CompletionRequest {
        generations = List.copyOf(generations);
    }

    /**
     * Reads a body.
     *
     * @param seeds where a seed comes from if the request has none
     * @param time that it has
     * @throws ProblemException naming the field at fault
     * @throws CancellationException if the time does not last for its texts
     */
    public static CompletionRequest read(
            Form form, byte[] body, ServedModel model, RandomGenerator seeds, RequestTime time) {
        return switch (form) {
            case TEXT -> {
                var fields = new CompletionFields(model.during(time), time);
                JsonReader.readObject(body, fields);
                yield fields.request(seeds);
            }
            case CHAT -> {
                var fields = new ChatFields(model.during(time), time);
                JsonReader.readObject(body, fields);
                yield fields.request(seeds);
            }
        };
    }

    /** Whether more choices are made than shown. */
    boolean isRanked() {
        return generations.getFirst().choiceCount() > choicesPerPrompt;
    }

    /** Token ids of prompts. */
    static List<int[]> encode(List<Prompt> prompts, ServedModel model) {
        var encoded = new ArrayList<int[]>(prompts.size());
        for (int i = 0; i < prompts.size(); i++) {
            String param = prompts.size() == 1 ? "prompt" : "prompt[" + i + "]";
            encoded.add(
                    switch (prompts.get(i)) {
                        case Prompt.Tokens(int[] ids) -> ids;
                        case Prompt.Text(String text) -> encode(text, param, model);
                    });
        }
        return encoded;
    }

    private static int[] encode(String text, String param, ServedModel model) {
        Tokenizer tokenizer = model.tokenizer()
                .orElseThrow(() -> new ProblemException(Problem.of(
                        ProblemCode.TOKENIZER_MISSING,
                        param,
                        "The checkpoint has no tokenizer; give " + param + " as an array of token ids.")));
        return begun(tokenizer.encode(text), param, model);
    }

    /** The prompt, or one that begins a document if it has no token. */
    static int[] begun(int[] ids, String param, ServedModel model) {
        if (ids.length > 0) {
            return ids;
        }
        if (model.config().endOfSequence() < 0) {
            throw new ProblemException(Problem.of(
                    ProblemCode.INVALID_VALUE,
                    param,
                    param + " is empty, and the model has no token that begins a document."));
        }
        // What stands between the documents that the model was trained on.
        return new int[] {model.config().endOfSequence()};
    }
}
