package basalt.server.observe;

import basalt.engine.Generation;
import basalt.engine.Usage;
import io.opentelemetry.api.common.AttributeKey;
import io.opentelemetry.api.trace.Span;
import io.opentelemetry.api.trace.StatusCode;

/** The span of one request. Confined to one thread at a time. */
public final class RequestSpan implements AutoCloseable {
    static final RequestSpan NONE = new RequestSpan(Span.getInvalid());

    private static final AttributeKey<Long> INPUT_TOKENS = AttributeKey.longKey("gen_ai.usage.input_tokens");
    private static final AttributeKey<Long> OUTPUT_TOKENS = AttributeKey.longKey("gen_ai.usage.output_tokens");
    private static final AttributeKey<Long> CACHED_TOKENS =
            AttributeKey.longKey("gen_ai.usage.cache_read.input_tokens");
    private static final AttributeKey<Double> FIRST_CHUNK =
            AttributeKey.doubleKey("gen_ai.response.time_to_first_chunk");
    private static final AttributeKey<String> ERROR_TYPE = AttributeKey.stringKey("error.type");

    private final Span span;

    RequestSpan(Span span) {
        this.span = span;
    }

    /**
     * The request was answered, as far as it was.
     *
     * @param timing of the first of its generations
     */
    public void answered(Usage usage, Generation.Timing timing) {
        span.setAttribute(INPUT_TOKENS, usage.promptTokenCount())
                .setAttribute(OUTPUT_TOKENS, usage.completionTokenCount())
                .setAttribute(CACHED_TOKENS, usage.cachedTokenCount());
        if (timing.firstTokenNanos() != 0) {
            span.setAttribute(FIRST_CHUNK, (timing.firstTokenNanos() - timing.arrivedNanos()) / 1e9);
        }
    }

    /** The request failed, by this code. */
    public void failed(String code) {
        span.setAttribute(ERROR_TYPE, code).setStatus(StatusCode.ERROR);
    }

    @Override
    public void close() {
        span.end();
    }
}
