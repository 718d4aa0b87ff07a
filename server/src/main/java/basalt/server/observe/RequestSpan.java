package basalt.server.observe;

import basalt.engine.Generation;
import basalt.engine.SamplingParams;
import basalt.engine.Usage;
import io.opentelemetry.api.common.AttributeKey;
import io.opentelemetry.api.trace.Span;
import io.opentelemetry.api.trace.StatusCode;
import java.util.List;

/** The span of one request, refused or answered. Confined to one thread at a time. */
public final class RequestSpan implements AutoCloseable {
    private static final AttributeKey<String> OPERATION = AttributeKey.stringKey("gen_ai.operation.name");
    private static final AttributeKey<Long> CHOICE_COUNT = AttributeKey.longKey("gen_ai.request.choice.count");
    private static final AttributeKey<Long> MAX_TOKENS = AttributeKey.longKey("gen_ai.request.max_tokens");
    private static final AttributeKey<Long> TOP_K = AttributeKey.longKey("gen_ai.request.top_k");
    private static final AttributeKey<Double> TEMPERATURE = AttributeKey.doubleKey("gen_ai.request.temperature");
    private static final AttributeKey<Double> TOP_P = AttributeKey.doubleKey("gen_ai.request.top_p");
    private static final AttributeKey<Boolean> STREAM = AttributeKey.booleanKey("gen_ai.request.stream");
    private static final AttributeKey<List<String>> FINISH_REASONS =
            AttributeKey.stringArrayKey("gen_ai.response.finish_reasons");
    private static final AttributeKey<Long> INPUT_TOKENS = AttributeKey.longKey("gen_ai.usage.input_tokens");
    private static final AttributeKey<Long> OUTPUT_TOKENS = AttributeKey.longKey("gen_ai.usage.output_tokens");
    private static final AttributeKey<Long> CACHED_TOKENS =
            AttributeKey.longKey("gen_ai.usage.cache_read.input_tokens");
    private static final AttributeKey<Double> FIRST_CHUNK =
            AttributeKey.doubleKey("gen_ai.response.time_to_first_chunk");
    private static final AttributeKey<String> ERROR_TYPE = AttributeKey.stringKey("error.type");
    private static final AttributeKey<Long> STATUS = AttributeKey.longKey("http.response.status_code");

    private static final int ERROR_STATUS_MIN = 400;

    private final Span span;
    private final String modelName;
    private boolean hasFailed;

    RequestSpan(Span span, String modelName) {
        this.span = span;
        this.modelName = modelName;
    }

    /** Records nothing. */
    public static RequestSpan none() {
        return new RequestSpan(Span.getInvalid(), "");
    }

    /**
     * What a request asked for.
     *
     * @param operation {@code chat} or {@code text_completion}
     */
    public record Asked(
            String operation, int choiceCount, int maxTokens, SamplingParams sampling, boolean isStreamed) {}

    /** The request was read, and asks for this. */
    public void asked(Asked asked) {
        span.updateName(asked.operation() + " " + modelName)
                .setAttribute(OPERATION, asked.operation())
                .setAttribute(CHOICE_COUNT, asked.choiceCount())
                .setAttribute(MAX_TOKENS, asked.maxTokens())
                .setAttribute(TEMPERATURE, (double) asked.sampling().temperature())
                .setAttribute(TOP_P, (double) asked.sampling().topP())
                .setAttribute(TOP_K, asked.sampling().topK())
                .setAttribute(STREAM, asked.isStreamed());
    }

    /**
     * Its generations ended, as far as they were read.
     *
     * @param timing of the first of them
     * @param finishReasons of the choices that ended
     */
    public void generated(Usage usage, Generation.Timing timing, List<String> finishReasons) {
        span.setAttribute(INPUT_TOKENS, usage.promptTokenCount())
                .setAttribute(OUTPUT_TOKENS, usage.completionTokenCount())
                .setAttribute(CACHED_TOKENS, usage.cachedTokenCount())
                .setAttribute(FINISH_REASONS, finishReasons);
        if (timing.firstTokenNanos() != 0) {
            span.setAttribute(FIRST_CHUNK, (timing.firstTokenNanos() - timing.arrivedNanos()) / 1e9);
        }
    }

    /** The request failed, by this code. */
    public void failed(String code) {
        hasFailed = true;
        span.setAttribute(ERROR_TYPE, code).setStatus(StatusCode.ERROR);
    }

    /** The answer has this status; of a stream, from before its first token. */
    public void responded(int status) {
        span.setAttribute(STATUS, status);
        if (status >= ERROR_STATUS_MIN && !hasFailed) {
            failed(Integer.toString(status));
        }
    }

    @Override
    public void close() {
        span.end();
    }
}
