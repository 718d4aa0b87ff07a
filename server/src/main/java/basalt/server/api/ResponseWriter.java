package basalt.server.api;

import basalt.engine.GenerationRequest;
import basalt.engine.Usage;
import java.util.List;
import java.util.Optional;
import java.util.function.Consumer;

/** The form of the answer to one {@link ResponseRequest}: an object, or named events that tell how it grows. */
public final class ResponseWriter implements AnswerWriter {
    private final ResponseRequest request;
    private final String id;
    private final long createdSeconds;
    private final Optional<String> instructions;
    private final TokenNames names;
    private final Consumer<byte[]> keep;
    private final StringBuilder text = new StringBuilder();
    private int sequence; // number of the next event
    private Status status = Status.IN_PROGRESS;
    private volatile boolean isCancelled;

    private enum Status {
        IN_PROGRESS("in_progress"),
        COMPLETED("completed"),
        INCOMPLETE("incomplete"),
        CANCELLED("cancelled"),
        FAILED("failed");

        final String label;

        Status(String label) {
            this.label = label;
        }
    }

    /**
     * For one answer.
     *
     * @param id {@code resp_} and 32 hexadecimal digits
     * @param createdSeconds since 1970
     * @param instructions that hold, those of responses before included
     * @param keep takes the object once it is whole, before its client has it; one that failed only if it was made in
     *     the background
     */
    public ResponseWriter(
            ResponseRequest request,
            String id,
            long createdSeconds,
            Optional<String> instructions,
            TokenNames names,
            Consumer<byte[]> keep) {
        this.request = request;
        this.id = id;
        this.createdSeconds = createdSeconds;
        this.instructions = instructions;
        this.names = names;
        this.keep = keep;
    }

    /** The response's id. */
    public String id() {
        return id;
    }

    /** The response before its first token. */
    public byte[] begun() {
        return response(Optional.empty(), Optional.empty());
    }

    /** The response as it is if its server ends before it does. */
    public byte[] abandoned() {
        return response(Status.FAILED, Optional.empty(), Optional.of(Problem.abandoned()));
    }

    /** If it ends without being whole, that is what its client wants. May be called by any thread. */
    public void cancel() {
        isCancelled = true;
    }

    @Override
    public boolean showsScores() {
        return false;
    }

    @Override
    public List<ChoiceOutput> outputs(int promptIndex) {
        return List.of(
                new ChoiceOutput(0, new int[0], false, request.completion().output(), request.model(), names));
    }

    @Override
    public void writeBegin(JsonBuffer out) {
        for (String type : List.of("response.created", "response.in_progress")) {
            begin(out, type).raw(",\"response\":");
            writeResponse(out, status, Optional.empty(), Optional.empty());
            end(out);
        }
        begin(out, "response.output_item.added").raw(",\"output_index\":0,\"item\":");
        writeItem(out, Status.IN_PROGRESS);
        end(out);
        begin(out, "response.content_part.added");
        writePlace(out).raw(",\"part\":");
        writePart(out, "");
        end(out);
    }

    private JsonBuffer begin(JsonBuffer out, String type) {
        out.raw("event: ").raw(type).raw("\ndata: {\"type\":\"").raw(type);
        return out.raw("\",\"sequence_number\":").number(sequence++);
    }

    private static void end(JsonBuffer out) {
        out.raw("}\n\n");
    }

    private JsonBuffer writePlace(JsonBuffer out) {
        out.raw(",\"item_id\":");
        writeItemId(out);
        return out.raw(",\"output_index\":0,\"content_index\":0");
    }

    private void writeItemId(JsonBuffer out) {
        out.string("msg_" + id.substring("resp_".length()));
    }

    @Override
    public void writeChunks(JsonBuffer out, ChoiceOutput output) {
        String delta = take(output);
        if (!delta.isEmpty()) {
            begin(out, "response.output_text.delta");
            writePlace(out).raw(",\"delta\":").string(delta).raw(",\"logprobs\":[]");
            end(out);
        }
    }

    private String take(ChoiceOutput output) {
        String delta = output.takeText();
        text.append(delta);
        output.takeFinishReason()
                .ifPresent(reason -> status = switch (reason) {
                    case STOP -> Status.COMPLETED;
                    case LENGTH -> Status.INCOMPLETE;
                    case DEADLINE, CANCELLED, ERROR -> Status.FAILED;
                });
        return delta;
    }

    @Override
    public void writeEnd(JsonBuffer out, Usage usage) {
        if (status == Status.FAILED) {
            writeFailure(out, Optional.of(usage), late());
            return;
        }
        begin(out, "response.output_text.done");
        writePlace(out).raw(",\"text\":").string(text.toString()).raw(",\"logprobs\":[]");
        end(out);
        begin(out, "response.content_part.done");
        writePlace(out).raw(",\"part\":");
        writePart(out, text.toString());
        end(out);
        begin(out, "response.output_item.done").raw(",\"output_index\":0,\"item\":");
        writeItem(out, status);
        end(out);
        byte[] response = response(Optional.of(usage), Optional.empty());
        keep.accept(response);
        begin(out, "response." + status.label).raw(",\"response\":").raw(response);
        end(out);
    }

    private static Problem late() {
        return Problem.of(
                ProblemCode.DEADLINE_EXCEEDED,
                "The deadline passed before the end of the answer, which is not stored.");
    }

    @Override
    public void writeFailure(JsonBuffer out, Problem problem) {
        status = isCancelled ? Status.CANCELLED : Status.FAILED;
        if (request.isBackground()) {
            keep.accept(response(Optional.empty(), Optional.of(problem)));
        }
        writeFailure(out, Optional.empty(), problem);
    }

    private void writeFailure(JsonBuffer out, Optional<Usage> usage, Problem problem) {
        begin(out, "response.failed").raw(",\"response\":");
        writeResponse(out, status, usage, Optional.of(problem));
        end(out);
    }

    @Override
    public byte[] whole(List<ChoiceOutput> outputs, Usage usage) {
        take(outputs.getFirst());
        boolean isLate = status == Status.FAILED;
        byte[] response = response(Optional.of(usage), isLate ? Optional.of(late()) : Optional.empty());
        if (!isLate || request.isBackground()) {
            keep.accept(response);
        }
        return response;
    }

    private byte[] response(Optional<Usage> usage, Optional<Problem> problem) {
        return response(status, usage, problem);
    }

    private byte[] response(Status shown, Optional<Usage> usage, Optional<Problem> problem) {
        var out = new JsonBuffer();
        writeResponse(out, shown, usage, problem);
        return out.toByteArray();
    }

    private void writeResponse(JsonBuffer out, Status shown, Optional<Usage> usage, Optional<Problem> problem) {
        GenerationRequest generation = request.completion().generations().getFirst();
        out.raw("{\"id\":").string(id);
        out.raw(",\"object\":\"response\",\"created_at\":").number(createdSeconds);
        out.raw(",\"status\":\"").raw(shown.label).raw("\",\"background\":");
        out.raw(request.isBackground() ? "true" : "false").raw(",\"error\":");
        problem.filter(failure -> shown == Status.FAILED)
                .ifPresentOrElse(
                        failure -> out.raw("{\"code\":\"server_error\",\"message\":")
                                .string(failure.message())
                                .raw("}"),
                        () -> out.raw("null"));
        out.raw(",\"incomplete_details\":")
                .raw(shown == Status.INCOMPLETE ? "{\"reason\":\"max_output_tokens\"}" : "null");
        out.raw(",\"instructions\":");
        writeText(out, instructions);
        out.raw(",\"max_output_tokens\":");
        request.maxTokens().ifPresentOrElse(out::number, () -> out.raw("null"));
        out.raw(",\"model\":").string(request.model().name());
        out.raw(",\"output\":[");
        if (shown != Status.IN_PROGRESS) {
            writeItem(out, shown);
        }
        out.raw("],\"parallel_tool_calls\":false,\"previous_response_id\":");
        writeText(out, request.previous());
        out.raw(",\"store\":").raw(request.isStored() ? "true" : "false");
        out.raw(",\"temperature\":").raw(Float.toString(generation.sampling().temperature()));
        out.raw(",\"text\":{\"format\":{\"type\":\"text\"}},\"tool_choice\":\"none\",\"tools\":[],\"top_p\":")
                .raw(Float.toString(generation.sampling().topP()));
        out.raw(",\"truncation\":\"disabled\",\"usage\":");
        usage.ifPresentOrElse(counts -> writeUsage(out, counts), () -> out.raw("null"));
        out.raw(",\"metadata\":").raw(request.metadata()).raw("}");
    }

    private static void writeText(JsonBuffer out, Optional<String> value) {
        value.ifPresentOrElse(out::string, () -> out.raw("null"));
    }

    private void writeItem(JsonBuffer out, Status itemStatus) {
        boolean isBegun = itemStatus != Status.IN_PROGRESS;
        out.raw("{\"id\":");
        writeItemId(out);
        out.raw(",\"type\":\"message\",\"status\":\"")
                .raw(itemStatus == Status.COMPLETED || !isBegun ? itemStatus.label : Status.INCOMPLETE.label)
                .raw("\",\"role\":\"assistant\",\"content\":[");
        if (isBegun) {
            writePart(out, text.toString());
        }
        out.raw("]}");
    }

    private static void writePart(JsonBuffer out, String content) {
        out.raw("{\"type\":\"output_text\",\"text\":").string(content);
        out.raw(",\"annotations\":[],\"logprobs\":[]}");
    }

    private static void writeUsage(JsonBuffer out, Usage usage) {
        long input = usage.promptTokenCount();
        long output = usage.completionTokenCount();
        out.raw("{\"input_tokens\":").number(input);
        out.raw(",\"input_tokens_details\":{\"cached_tokens\":").number(usage.cachedTokenCount());
        out.raw(",\"cache_write_tokens\":").number(usage.cacheWriteTokenCount());
        out.raw("},\"output_tokens\":").number(output);
        out.raw(",\"output_tokens_details\":{\"reasoning_tokens\":0},\"total_tokens\":")
                .number(input + output)
                .raw("}");
    }
}
