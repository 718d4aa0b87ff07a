package basalt.server.http;

import basalt.server.api.Problem;
import basalt.server.api.ProblemCode;
import io.helidon.webserver.http.Filter;
import io.helidon.webserver.http.FilterChain;
import io.helidon.webserver.http.RoutingRequest;
import io.helidon.webserver.http.RoutingResponse;
import java.util.Optional;
import java.util.regex.Pattern;

/**
 * Refuses paths that a proxy may read differently. Helidon takes out parameters and then dot segments and empty ones,
 * so that a proxy that admits {@code /v1} alone would let {@code /v1/..;/metrics} through. Stands before all that looks
 * at paths.
 */
final class PathFilter implements Filter {
    /** What stands before the path where a target is a whole URL (RFC 9112, 3.2.2). */
    private static final Pattern ORIGIN = Pattern.compile("(?i)https?://[^/]+");

    private static final Pattern ENCODED_DOT = Pattern.compile("%2[Ee]");
    private static final Pattern ENCODED_SLASH = Pattern.compile("%2[Ff]");
    private static final Pattern BACKSLASH = Pattern.compile("\\\\|%5[Cc]");
    private static final Pattern DOT_SEGMENT = Pattern.compile("/\\.\\.?(/|$)");
    /** Its name may have slashes, which clients encode. */
    private static final String MODEL = "/v1/models/";
    /** The target of OPTIONS that is the server itself. */
    private static final String SERVER = "*";

    @Override
    public void filter(FilterChain chain, RoutingRequest request, RoutingResponse response) {
        var prologue = request.prologue();
        Optional<String> fault = prologue.fragment().hasValue()
                ? Optional.of("is followed by a fragment (#)")
                : fault(prologue.uriPath().rawPath());
        if (fault.isPresent()) {
            String message =
                    "The path " + fault.get() + ", which a proxy may read differently; send it as openapi.yaml has it.";
            ProblemResponses.send(request, response, Problem.of(ProblemCode.BAD_HTTP, message));
        } else {
            chain.proceed();
        }
    }

    /**
     * What is wrong with a path, if anything.
     *
     * @param target as it was sent, without query and fragment
     */
    static Optional<String> fault(String target) {
        String path = target.startsWith("/") ? target : ORIGIN.matcher(target).replaceFirst("");
        if (path.equals(SERVER) || (path.isEmpty() && !target.isEmpty())) {
            return Optional.empty();
        }
        if (!path.startsWith("/")) {
            return Optional.of("does not begin with /");
        }
        if (path.contains(";")) {
            return Optional.of("has a parameter (;)");
        }
        if (BACKSLASH.matcher(path).find()) {
            return Optional.of("has a backslash");
        }
        String slashed = ENCODED_SLASH.matcher(path).replaceAll("/");
        if (!slashed.equals(path) && !path.startsWith(MODEL)) {
            return Optional.of("has an encoded slash (%2F) that is not of a model's name");
        }
        if (slashed.contains("//")) {
            return Optional.of("has an empty segment (//)");
        }
        return DOT_SEGMENT.matcher(ENCODED_DOT.matcher(slashed).replaceAll(".")).find()
                ? Optional.of("has a segment . or ..")
                : Optional.empty();
    }
}
