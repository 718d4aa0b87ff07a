package basalt.server.http;

import basalt.server.api.Problem;
import basalt.server.api.ProblemCode;
import basalt.server.api.ProblemException;
import io.helidon.http.HeaderNames;
import io.helidon.http.Method;
import io.helidon.webserver.http.Filter;
import io.helidon.webserver.http.FilterChain;
import io.helidon.webserver.http.RoutingRequest;
import io.helidon.webserver.http.RoutingResponse;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.List;

/**
 * Lets only requests through that carry an API key, if there are any, and whose key is within its limits. Compares
 * digests, all of them, so that time tells nothing.
 */
final class ApiKeyFilter implements Filter {
    private static final Problem REFUSAL = Problem.of(
            ProblemCode.INVALID_API_KEY,
            "A valid API key is needed: send it with the header Authorization: Bearer KEY.");
    private static final String SCHEME = "Bearer ";

    /** Whose requests carry none, where none is asked for. */
    private static final int NOBODY = 0;

    private static final int UNKNOWN = -1;

    private final List<byte[]> digests;
    private final KeyLimits limits;

    ApiKeyFilter(HttpConfig.Access access) {
        digests = access.apiKeys().stream().map(ApiKeyFilter::digest).toList();
        limits = new KeyLimits(Math.max(1, digests.size()), access, System::nanoTime);
    }

    @Override
    public void filter(FilterChain chain, RoutingRequest request, RoutingResponse response) {
        String path = request.prologue().uriPath().path();
        if (!Routes.isGuarded(path)) {
            chain.proceed();
            return;
        }
        int key = key(request.headers().first(HeaderNames.AUTHORIZATION).orElse(""));
        if (key == UNKNOWN) {
            ProblemResponses.send(request, response, REFUSAL);
        } else if (request.prologue().method().equals(Method.POST) && !ResponsesHandler.isCancel(path)) {
            proceedWithin(key, chain, request, response);
        } else {
            chain.proceed();
        }
    }

    private void proceedWithin(int key, FilterChain chain, RoutingRequest request, RoutingResponse response) {
        try {
            limits.enter(key);
        } catch (ProblemException e) {
            ProblemResponses.send(request, response, e.problem());
            return;
        }
        var lease = new KeyLease(() -> limits.leave(key));
        request.context().register(lease);
        try {
            chain.proceed();
        } finally {
            lease.end();
        }
    }

    private int key(String authorization) {
        if (digests.isEmpty()) {
            return NOBODY;
        }
        if (!authorization.regionMatches(true, 0, SCHEME, 0, SCHEME.length())) {
            return UNKNOWN;
        }
        byte[] digest = digest(authorization.substring(SCHEME.length()).strip());
        int found = UNKNOWN;
        for (int i = 0; i < digests.size(); i++) {
            found = MessageDigest.isEqual(digests.get(i), digest) ? i : found;
        }
        return found;
    }

    private static byte[] digest(String key) {
        try {
            return MessageDigest.getInstance("SHA-256").digest(key.getBytes(StandardCharsets.UTF_8));
        } catch (NoSuchAlgorithmException e) {
            throw new IllegalStateException("every JDK has SHA-256", e);
        }
    }
}
