package basalt.server.api;

import basalt.engine.GenerationRequest;
import basalt.engine.Usage;
import java.util.ArrayList;
import java.util.List;

/** Writes the answer to one {@link CompletionRequest}, whole or as events of a stream. Safe for use by any thread. */
public final class CompletionWriter {
    private static final String DONE = "data: [DONE]\n\n";

    private final CompletionRequest request;
    private final ServedModel model;
    private final TokenNames names;
    private final byte[] head; // up to the choices
    private final byte[] chunkHead;
    private final byte[] chunkTail;

    /**
     * For one answer.
     *
     * @param id of the answer
     * @param createdSeconds since 1970
     */
    public CompletionWriter(
            String id, long createdSeconds, CompletionRequest request, ServedModel model, TokenNames names) {
        this.request = request;
        this.model = model;
        this.names = names;
        var out = new JsonBuffer();
        out.raw("{\"id\":").string(id);
        out.raw(",\"object\":\"text_completion\",\"created\":").number(createdSeconds);
        out.raw(",\"model\":").string(model.name());
        out.raw(",\"system_fingerprint\":").string(model.fingerprint());
        out.raw(",\"choices\":[");
        head = out.toByteArray();
        chunkHead = new JsonBuffer().raw("data: ").raw(head).toByteArray();
        chunkTail = new JsonBuffer()
                .raw(request.includesUsage() ? "],\"usage\":null}\n\n" : "]}\n\n")
                .toByteArray();
    }

    /** Whether prompts are shown with their log-probabilities. */
    public boolean showsScores() {
        return request.generations().getFirst().scoresPrompt();
    }

    /** Outputs of the choices of one prompt. */
    public List<ChoiceOutput> outputs(int promptIndex) {
        GenerationRequest generation = request.generations().get(promptIndex);
        var outputs = new ArrayList<ChoiceOutput>();
        for (int choice = 0; choice < generation.choiceCount(); choice++) {
            outputs.add(new ChoiceOutput(
                    promptIndex * generation.choiceCount() + choice,
                    generation.prompt(),
                    generation.scoresPrompt(),
                    request.output(),
                    model,
                    names));
        }
        return outputs;
    }

    /** Appends an event with what a choice has since the last one. */
    public void writeChunk(JsonBuffer out, ChoiceOutput output) {
        out.raw(chunkHead);
        output.write(out);
        out.raw(chunkTail);
    }

    /** Appends the end of a stream: the usage if asked for, and the mark. */
    public void writeEnd(JsonBuffer out, Usage usage) {
        if (request.includesUsage()) {
            out.raw(chunkHead).raw("],\"usage\":");
            writeUsage(out, usage);
            out.raw("}\n\n");
        }
        out.raw(DONE);
    }

    /** Appends the end of a stream that failed. */
    public static void writeFailure(JsonBuffer out, Problem problem) {
        out.raw("data: ");
        problem.write(out);
        out.raw("\n\n").raw(DONE);
    }

    /** A whole answer. */
    public byte[] whole(List<ChoiceOutput> outputs, Usage usage) {
        var out = new JsonBuffer();
        out.raw(head);
        for (int i = 0; i < outputs.size(); i++) {
            out.raw(i > 0 ? "," : "");
            outputs.get(i).write(out);
        }
        out.raw("],\"usage\":");
        writeUsage(out, usage);
        return out.raw("}").toByteArray();
    }

    private static void writeUsage(JsonBuffer out, Usage usage) {
        long prompt = usage.promptTokenCount();
        long completion = usage.completionTokenCount();
        out.raw("{\"prompt_tokens\":").number(prompt);
        out.raw(",\"completion_tokens\":").number(completion);
        out.raw(",\"total_tokens\":").number(prompt + completion);
        out.raw(",\"prompt_tokens_details\":{\"cached_tokens\":").number(usage.cachedTokenCount());
        out.raw(",\"cache_write_tokens\":0},\"completion_tokens_details\":{\"reasoning_tokens\":0}}");
    }
}
