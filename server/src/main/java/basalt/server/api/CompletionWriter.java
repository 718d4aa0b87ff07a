package basalt.server.api;

import basalt.engine.GenerationRequest;
import basalt.engine.Usage;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;

/** The form of the answer to one {@link CompletionRequest}. */
public final class CompletionWriter implements AnswerWriter {
    private static final String DONE = "data: [DONE]\n\n";

    private final CompletionRequest request;
    private final ServedModel model;
    private final TokenNames names;
    private final CompletionRequest.Form form;
    private final byte[] head; // up to the choices
    private final byte[] chunkHead;
    private final byte[] chunkTail;

    /**
     * For one answer.
     *
     * @param requestId names the answer, if the client did not
     * @param createdSeconds since 1970
     */
    public CompletionWriter(
            String requestId, long createdSeconds, CompletionRequest request, ServedModel model, TokenNames names) {
        this.request = request;
        this.model = model;
        this.names = names;
        String id = request.id().orElse(requestId);
        form = request.output().form();
        boolean isChat = form == CompletionRequest.Form.CHAT;
        String object = isChat ? "chat.completion" : "text_completion";
        head = head(model, (isChat ? "chatcmpl-" : "cmpl-") + id, object, createdSeconds);
        byte[] streamed = isChat ? head(model, "chatcmpl-" + id, "chat.completion.chunk", createdSeconds) : head;
        chunkHead = new JsonBuffer().raw("data: ").raw(streamed).toByteArray();
        chunkTail = new JsonBuffer()
                .raw(request.includesUsage() ? "],\"usage\":null}\n\n" : "]}\n\n")
                .toByteArray();
    }

    private static byte[] head(ServedModel model, String id, String object, long createdSeconds) {
        var out = new JsonBuffer();
        out.raw("{\"id\":").string(id);
        out.raw(",\"object\":\"").raw(object).raw("\",\"created\":").number(createdSeconds);
        out.raw(",\"model\":").string(model.name());
        out.raw(",\"system_fingerprint\":").string(model.fingerprint());
        return out.raw(",\"choices\":[").toByteArray();
    }

    @Override
    public boolean showsScores() {
        return request.generations().getFirst().scoresPrompt();
    }

    @Override
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

    @Override
    public void writeBegin(JsonBuffer out) {}

    @Override
    public void writeChunks(JsonBuffer out, ChoiceOutput output) {
        switch (form) {
            case TEXT -> {
                beginChunk(out, output);
                writeText(out, output);
                endChunk(out);
            }
            case CHAT -> writeDeltas(out, output);
        }
    }

    private void beginChunk(JsonBuffer out, ChoiceOutput output) {
        out.raw(chunkHead).raw("{\"index\":").number(output.index());
    }

    private void endChunk(JsonBuffer out) {
        out.raw("}").raw(chunkTail);
    }

    private static void writeText(JsonBuffer out, ChoiceOutput output) {
        out.raw(",\"text\":").string(output.takeText());
        output.writeLogprobs(out);
        output.writeFinish(out);
        output.writeIds(out);
    }

    /** The role comes first, the reason of the end last, each in an event of its own. */
    private void writeDeltas(JsonBuffer out, ChoiceOutput output) {
        if (output.opens()) {
            beginChunk(out, output);
            out.raw(",\"delta\":{\"role\":\"assistant\",\"content\":\"\"},\"logprobs\":null");
            ChoiceOutput.writeUnfinished(out);
            endChunk(out);
        }
        if (output.hasContent()) {
            beginChunk(out, output);
            out.raw(",\"delta\":{\"content\":").string(output.takeText()).raw("}");
            output.writeLogprobs(out);
            ChoiceOutput.writeUnfinished(out);
            output.writeIds(out);
            endChunk(out);
        }
        if (output.isEnding()) {
            beginChunk(out, output);
            out.raw(",\"delta\":{},\"logprobs\":null");
            output.writeFinish(out);
            endChunk(out);
        }
    }

    /** The usage if asked for, and the mark. */
    @Override
    public void writeEnd(JsonBuffer out, Usage usage) {
        if (request.includesUsage()) {
            out.raw(chunkHead).raw("],\"usage\":");
            writeUsage(out, usage);
            out.raw("}\n\n");
        }
        out.raw(DONE);
    }

    @Override
    public void writeFailure(JsonBuffer out, Problem problem) {
        out.raw("data: ");
        problem.write(out);
        out.raw("\n\n").raw(DONE);
    }

    @Override
    public byte[] whole(List<ChoiceOutput> outputs, Usage usage) {
        var out = new JsonBuffer();
        out.raw(head);
        List<ChoiceOutput> best = best(outputs);
        for (int i = 0; i < best.size(); i++) {
            out.raw(i > 0 ? ",{\"index\":" : "{\"index\":").number(i);
            switch (form) {
                case TEXT -> writeText(out, best.get(i));
                case CHAT -> writeMessage(out, best.get(i));
            }
            out.raw("}");
        }
        out.raw("],\"usage\":");
        writeUsage(out, usage);
        return out.raw("}").toByteArray();
    }

    /** The choices of the highest mean log-probability, best first, where more were made than are shown. */
    private List<ChoiceOutput> best(List<ChoiceOutput> outputs) {
        int made = request.generations().getFirst().choiceCount();
        int shown = request.choicesPerPrompt();
        if (made == shown) {
            return outputs;
        }
        var best = new ArrayList<ChoiceOutput>();
        for (int from = 0; from < outputs.size(); from += made) {
            outputs.subList(from, from + made).stream()
                    .sorted(Comparator.comparingDouble(ChoiceOutput::logprobMean)
                            .reversed())
                    .limit(shown)
                    .forEach(best::add);
        }
        return best;
    }

    private static void writeMessage(JsonBuffer out, ChoiceOutput output) {
        out.raw(",\"message\":{\"role\":\"assistant\",\"content\":").string(output.takeText());
        out.raw(",\"refusal\":null}");
        output.writeLogprobs(out);
        output.writeFinish(out);
        output.writeIds(out);
    }

    private static void writeUsage(JsonBuffer out, Usage usage) {
        long prompt = usage.promptTokenCount();
        long completion = usage.completionTokenCount();
        out.raw("{\"prompt_tokens\":").number(prompt);
        out.raw(",\"completion_tokens\":").number(completion);
        out.raw(",\"total_tokens\":").number(prompt + completion);
        out.raw(",\"prompt_tokens_details\":{\"cached_tokens\":").number(usage.cachedTokenCount());
        out.raw(",\"cache_write_tokens\":").number(usage.cacheWriteTokenCount());
        out.raw("},\"completion_tokens_details\":{\"reasoning_tokens\":0}}");
    }
}
