package basalt.server.http;

import io.helidon.http.HeaderName;
import io.helidon.http.HeaderNames;
import io.helidon.http.Method;
import io.helidon.http.Status;
import io.helidon.webserver.http.Filter;
import io.helidon.webserver.http.FilterChain;
import io.helidon.webserver.http.RoutingRequest;
import io.helidon.webserver.http.RoutingResponse;
import java.util.List;
import java.util.Optional;

/** Lets pages of listed origins use the API. Answers their preflights before keys are asked for. */
final class CorsFilter implements Filter {
    private static final String ANY = "*";
    private static final String METHODS = "GET, POST, PUT, DELETE, OPTIONS";
    private static final String EXPOSED = "X-Request-Id, X-Stream-Id, Retry-After";
    private static final String PREFLIGHT_SECONDS = "600";
    private static final HeaderName ALLOW_ORIGIN = HeaderNames.create("Access-Control-Allow-Origin");
    private static final HeaderName ALLOW_METHODS = HeaderNames.create("Access-Control-Allow-Methods");
    private static final HeaderName ALLOW_HEADERS = HeaderNames.create("Access-Control-Allow-Headers");
    private static final HeaderName EXPOSE_HEADERS = HeaderNames.create("Access-Control-Expose-Headers");
    private static final HeaderName MAX_AGE = HeaderNames.create("Access-Control-Max-Age");
    private static final HeaderName REQUEST_METHOD = HeaderNames.create("Access-Control-Request-Method");
    private static final HeaderName REQUEST_HEADERS = HeaderNames.create("Access-Control-Request-Headers");

    private final List<String> origins;

    /** For these origins; {@code *} stands for all. */
    CorsFilter(List<String> origins) {
        this.origins = List.copyOf(origins);
    }

    @Override
    public void filter(FilterChain chain, RoutingRequest request, RoutingResponse response) {
        Optional<String> origin = request.headers().first(HeaderNames.ORIGIN);
        boolean isApi = request.prologue().uriPath().path().startsWith("/v1/");
        if (origin.isEmpty() || !isApi || origins.isEmpty()) {
            chain.proceed();
            return;
        }
        response.header(HeaderNames.VARY, "Origin");
        boolean isAllowed = origins.contains(ANY) || origins.contains(origin.get());
        if (isAllowed) {
            response.header(ALLOW_ORIGIN, origins.contains(ANY) ? ANY : origin.get());
            response.header(EXPOSE_HEADERS, EXPOSED);
        }
        boolean isPreflight = request.prologue().method().equals(Method.OPTIONS)
                && request.headers().contains(REQUEST_METHOD);
        if (!isPreflight || !isAllowed) {
            chain.proceed();
            return;
        }
        response.header(ALLOW_METHODS, METHODS);
        request.headers().first(REQUEST_HEADERS).ifPresent(names -> response.header(ALLOW_HEADERS, names));
        response.header(MAX_AGE, PREFLIGHT_SECONDS);
        response.status(Status.NO_CONTENT_204);
        response.send();
    }
}
