package basalt.server.http;

import io.helidon.http.HeaderNames;
import io.helidon.webserver.http.ServerRequest;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.HexFormat;

/**
 * Whom a request is of: everybody with the same API key is one tenant, and without keys everybody is. The name is a
 * digest of the key, so that nothing written anywhere gives the key away.
 */
final class Tenants {
    private static final String EVERYBODY = "everybody";
    private static final String SCHEME = "Bearer ";

    private final boolean haveKeys;

    /** @param haveKeys whether requests must carry a key, which has been checked before {@link #of} */
    Tenants(boolean haveKeys) {
        this.haveKeys = haveKeys;
    }

    /** The tenant's name. */
    String of(ServerRequest request) {
        if (!haveKeys) {
            return EVERYBODY;
        }
        String authorization =
                request.headers().first(HeaderNames.AUTHORIZATION).orElse("");
        String key = authorization
                .substring(Math.min(SCHEME.length(), authorization.length()))
                .strip();
        try {
            byte[] digest = MessageDigest.getInstance("SHA-256").digest(key.getBytes(StandardCharsets.UTF_8));
            return HexFormat.of().formatHex(digest);
        } catch (NoSuchAlgorithmException e) {
            throw new IllegalStateException("every JDK has SHA-256", e);
        }
    }
}
