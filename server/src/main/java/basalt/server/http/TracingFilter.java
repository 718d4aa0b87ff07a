package basalt.server.http;

import basalt.server.observe.RequestSpan;
import basalt.server.observe.Tracing;
import io.helidon.http.HeaderNames;
import io.helidon.webserver.http.Filter;
import io.helidon.webserver.http.FilterChain;
import io.helidon.webserver.http.RoutingRequest;
import io.helidon.webserver.http.RoutingResponse;
import io.helidon.webserver.http.ServerRequest;

/** Opens the span of each request that uses the model, refused ones among them. Behind {@link RequestFilter}. */
final class TracingFilter implements Filter {
    private final Tracing tracing;

    TracingFilter(Tracing tracing) {
        this.tracing = tracing;
    }

    @Override
    public void filter(FilterChain chain, RoutingRequest request, RoutingResponse response) {
        String path = request.prologue().uriPath().path();
        if (!Routes.isGuarded(path)) {
            chain.proceed();
            return;
        }
        try (RequestSpan span = tracing.begin(
                request.prologue().method().text(),
                Routes.label(path),
                RequestFilter.requestId(response),
                name -> request.headers().first(HeaderNames.create(name)))) {
            request.context().register(span);
            try {
                chain.proceed();
            } finally {
                span.responded(response.status().code());
            }
        }
    }

    /** The span of a request. */
    static RequestSpan span(ServerRequest request) {
        return request.context().get(RequestSpan.class).orElseGet(RequestSpan::none);
    }
}
