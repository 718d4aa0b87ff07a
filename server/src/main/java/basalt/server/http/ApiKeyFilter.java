package basalt.server.http;

import basalt.server.api.Problem;
import basalt.server.api.ProblemCode;
import io.helidon.http.HeaderNames;
import io.helidon.webserver.http.Filter;
import io.helidon.webserver.http.FilterChain;
import io.helidon.webserver.http.RoutingRequest;
import io.helidon.webserver.http.RoutingResponse;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.List;

/**
 * Lets only requests through that carry an API key, if there are any. Compares digests, all of them, so that time tells
 * nothing.
 */
final class ApiKeyFilter implements Filter {
    private static final Problem REFUSAL = Problem.of(
            ProblemCode.INVALID_API_KEY,
            "A valid API key is needed: send it with the header Authorization: Bearer KEY.");
    private static final String SCHEME = "Bearer ";

    private final List<byte[]> digests;

    ApiKeyFilter(List<String> keys) {
        digests = keys.stream().map(ApiKeyFilter::digest).toList();
    }

    @Override
    public void filter(FilterChain chain, RoutingRequest request, RoutingResponse response) {
        boolean isGuarded = request.prologue().uriPath().path().startsWith("/v1/");
        if (isGuarded && !digests.isEmpty()) {
            String authorization =
                    request.headers().first(HeaderNames.AUTHORIZATION).orElse("");
            if (!authorization.regionMatches(true, 0, SCHEME, 0, SCHEME.length())
                    || !isKnown(authorization.substring(SCHEME.length()).strip())) {
                ProblemResponses.send(response, REFUSAL);
                return;
            }
        }
        chain.proceed();
    }

    private boolean isKnown(String key) {
        byte[] digest = digest(key);
        boolean isKnown = false;
        for (byte[] known : digests) {
            isKnown |= MessageDigest.isEqual(known, digest);
        }
        return isKnown;
    }

    private static byte[] digest(String key) {
        try {
            return MessageDigest.getInstance("SHA-256").digest(key.getBytes(StandardCharsets.UTF_8));
        } catch (NoSuchAlgorithmException e) {
            throw new IllegalStateException("every JDK has SHA-256", e);
        }
    }
}
