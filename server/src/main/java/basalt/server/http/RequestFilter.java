package basalt.server.http;

import basalt.server.observe.Metrics;
import io.helidon.http.HeaderName;
import io.helidon.http.HeaderNames;
import io.helidon.http.HeaderValues;
import io.helidon.webserver.CloseConnectionException;
import io.helidon.webserver.http.Filter;
import io.helidon.webserver.http.FilterChain;
import io.helidon.webserver.http.RoutingRequest;
import io.helidon.webserver.http.RoutingResponse;
import io.helidon.webserver.http.ServerResponse;
import java.util.Optional;
import java.util.UUID;
import java.util.regex.Pattern;

/** The first filter of every request: its id, its end, and what is counted and logged of it. */
final class RequestFilter implements Filter {
    static final HeaderName REQUEST_ID = HeaderNames.create("X-Request-Id");

    private static final System.Logger LOG = System.getLogger(RequestFilter.class.getName());
    private static final Pattern USABLE_ID = Pattern.compile("[A-Za-z0-9._:-]{1,128}");

    private final Connections connections;
    private final Metrics metrics;

    RequestFilter(Connections connections, Metrics metrics) {
        this.connections = connections;
        this.metrics = metrics;
    }

    @Override
    public void filter(FilterChain chain, RoutingRequest request, RoutingResponse response) {
        long beganNanos = System.nanoTime();
        Inbound inbound = connections.currentInbound();
        boolean asksToClose = request.headers().containsToken(HeaderValues.CONNECTION_CLOSE);
        response.header(REQUEST_ID, requestId(request.headers().first(REQUEST_ID)));
        response.whenSent(() -> {
            boolean closes = asksToClose || response.headers().containsToken(HeaderValues.CONNECTION_CLOSE);
            boolean isRefusedUnread = closes && request.content().hasEntity() && inbound.isBodyLeft();
            if (!isRefusedUnread) { // else the rest of the body is thrown away when the connection closes
                inbound.requestEnds();
            }
            count(request, response, beganNanos);
            // Helidon announces the end of the connection but goes on reading from it.
            if (closes) {
                throw new CloseConnectionException("asked for by a header");
            }
        });
        chain.proceed();
    }

    private void count(RoutingRequest request, RoutingResponse response, long beganNanos) {
        metrics.responded(
                Routes.label(request.prologue().uriPath().rawPath()),
                response.status().code());
        if (LOG.isLoggable(System.Logger.Level.DEBUG)) {
            LOG.log(
                    System.Logger.Level.DEBUG,
                    "event=request id={0} method={1} route={2} status={3} millis={4}",
                    requestId(response),
                    request.prologue().method().text(),
                    Routes.label(request.prologue().uriPath().rawPath()),
                    Integer.toString(response.status().code()),
                    Long.toString((System.nanoTime() - beganNanos) / 1_000_000));
        }
    }

    /** The client's id if it is usable, else a new one. */
    static String requestId(Optional<String> wanted) {
        return wanted.filter(id -> USABLE_ID.matcher(id).matches())
                .orElseGet(() -> UUID.randomUUID().toString().replace("-", ""));
    }

    /** The id that this filter gave a request. */
    static String requestId(ServerResponse response) {
        return response.headers().first(REQUEST_ID).orElse("");
    }
}
