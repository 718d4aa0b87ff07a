package basalt.server.observe;

import io.opentelemetry.api.common.AttributeKey;
import io.opentelemetry.api.common.Attributes;
import io.opentelemetry.api.trace.Span;
import io.opentelemetry.api.trace.SpanKind;
import io.opentelemetry.api.trace.Tracer;
import io.opentelemetry.api.trace.TracerProvider;
import io.opentelemetry.api.trace.propagation.W3CTraceContextPropagator;
import io.opentelemetry.context.Context;
import io.opentelemetry.context.propagation.TextMapGetter;
import io.opentelemetry.exporter.otlp.http.trace.OtlpHttpSpanExporter;
import io.opentelemetry.sdk.resources.Resource;
import io.opentelemetry.sdk.trace.SdkTracerProvider;
import io.opentelemetry.sdk.trace.export.BatchSpanProcessor;
import io.opentelemetry.sdk.trace.samplers.Sampler;
import java.net.URI;
import java.util.Optional;
import java.util.concurrent.TimeUnit;
import java.util.function.Function;
import org.jspecify.annotations.Nullable;

/**
 * Spans of requests with OpenTelemetry's names for HTTP and for generative AI. A request with {@code traceparent} goes
 * on with that trace, and is recorded if its sender records it; the others all are. Text is never recorded. Safe for
 * use by any number of threads.
 */
public final class Tracing implements AutoCloseable {
    private static final String SCOPE = "basalt";
    private static final String PROVIDER = "basalt";
    private static final long FLUSH_SECONDS = 10;
    private static final AttributeKey<String> METHOD = AttributeKey.stringKey("http.request.method");
    private static final AttributeKey<String> ROUTE = AttributeKey.stringKey("http.route");
    private static final AttributeKey<String> PROVIDER_NAME = AttributeKey.stringKey("gen_ai.provider.name");
    private static final AttributeKey<String> REQUEST_MODEL = AttributeKey.stringKey("gen_ai.request.model");
    private static final AttributeKey<String> RESPONSE_ID = AttributeKey.stringKey("gen_ai.response.id");

    private final Optional<SdkTracerProvider> provider;
    private final Tracer tracer;
    private final String modelName;

    private Tracing(Optional<SdkTracerProvider> provider, String modelName) {
        this.provider = provider;
        this.tracer = provider.<Tracer>map(sdk -> sdk.get(SCOPE))
                .orElseGet(() -> TracerProvider.noop().get(SCOPE));
        this.modelName = modelName;
    }

    /** Records nothing. */
    public static Tracing off() {
        return new Tracing(Optional.empty(), "");
    }

    /**
     * Sends spans by OTLP over HTTP.
     *
     * @param endpoint such as {@code http://localhost:4318/v1/traces}
     */
    public static Tracing to(URI endpoint, String modelName) {
        var exporter =
                OtlpHttpSpanExporter.builder().setEndpoint(endpoint.toString()).build();
        var provider = SdkTracerProvider.builder()
                .setResource(Resource.getDefault()
                        .merge(Resource.create(Attributes.of(AttributeKey.stringKey("service.name"), SCOPE))))
                .setSampler(Sampler.parentBased(Sampler.alwaysOn()))
                .addSpanProcessor(BatchSpanProcessor.builder(exporter).build())
                .build();
        return new Tracing(Optional.of(provider), modelName);
    }

    /**
     * Begins the span of a request; to be closed.
     *
     * @param route path of the contract, such as {@code /v1/completions}
     * @param requestId which is in the answer and in logs too
     * @param headers of the request, by name
     */
    public RequestSpan begin(
            String method, String route, String requestId, Function<String, Optional<String>> headers) {
        if (provider.isEmpty()) {
            return RequestSpan.none();
        }
        Context parent = W3CTraceContextPropagator.getInstance().extract(Context.root(), headers, new HeaderGetter());
        Span span = tracer.spanBuilder(method + " " + route)
                .setParent(parent)
                .setSpanKind(SpanKind.SERVER)
                .setAttribute(METHOD, method)
                .setAttribute(ROUTE, route)
                .setAttribute(PROVIDER_NAME, PROVIDER)
                .setAttribute(REQUEST_MODEL, modelName)
                .setAttribute(RESPONSE_ID, requestId)
                .startSpan();
        return new RequestSpan(span, modelName);
    }

    /** Sends what is left. */
    @Override
    public void close() {
        provider.ifPresent(sdk -> sdk.shutdown().join(FLUSH_SECONDS, TimeUnit.SECONDS));
    }

    private static final class HeaderGetter implements TextMapGetter<Function<String, Optional<String>>> {
        @Override
        public @Nullable String get(@Nullable Function<String, Optional<String>> headers, String name) {
            return headers == null ? null : headers.apply(name).orElse(null);
        }
    }
}
