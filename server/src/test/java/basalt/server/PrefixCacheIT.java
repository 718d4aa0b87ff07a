package basalt.server;

import static org.junit.jupiter.api.Assertions.assertEquals;

import java.util.Map;
import org.junit.jupiter.api.Test;

class PrefixCacheIT {
    private static final String HEAD = "a".repeat(512);

    private static String body(String tail, String salt) {
        return "{\"prompt\":\"" + HEAD + tail + "\",\"max_tokens\":5,\"seed\":1,\"ignore_eos\":true,\"cache_salt\":\""
                + salt + "\"}";
    }

    private static TestServer.Answer complete(TestServer server, String key, String body) {
        return server.send(
                "POST",
                "/v1/completions",
                body,
                Map.of("Content-Type", "application/json", "Authorization", "Bearer " + key));
    }

    private static int cached(TestServer.Answer answer) {
        return details(answer, "cached_tokens");
    }

    private static int details(TestServer.Answer answer, String field) {
        return answer.json()
                .path("usage")
                .path("prompt_tokens_details")
                .path(field)
                .asInt();
    }

    @Test
    void beginningsAreSharedWithinKeyAndSaltOnly() {
        try (var server = TestServer.start("--api-keys", "one,two")) {
            var first = complete(server, "one", body("x", ""));
            assertEquals(0, cached(first));
            assertEquals(513, details(first, "cache_write_tokens"));

            var again = complete(server, "one", body("x", ""));
            assertEquals(256, cached(again));
            assertEquals(first.json().path("choices"), again.json().path("choices"));
            assertEquals(513, cached(complete(server, "one", body("xyz", ""))));
            assertEquals(0, cached(complete(server, "two", body("x", ""))));
            assertEquals(0, cached(complete(server, "one", body("x", "salt"))));
        }
    }

    @Test
    void nothingIsKeptWhereTheCacheIsOff() {
        try (var server = TestServer.start("--prefix-cache-max", "0B")) {
            complete(server, "", body("x", ""));
            var again = complete(server, "", body("x", ""));

            assertEquals(0, cached(again));
            assertEquals(0, details(again, "cache_write_tokens"));
        }
    }
}
