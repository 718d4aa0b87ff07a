package basalt.server;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

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
            assertEquals(512, details(first, "cache_write_tokens"));

            var again = complete(server, "one", body("x", ""));
            assertEquals(512, cached(again));
            assertEquals(first.json().path("choices"), again.json().path("choices"));
            assertEquals(512, cached(complete(server, "one", body("xyz", ""))));
            assertEquals(0, cached(complete(server, "two", body("x", ""))));
            assertEquals(0, cached(complete(server, "one", body("x", "salt"))));
        }
    }

    private static String chat(String head, String tail, String options) {
        return "{\"messages\":[{\"role\":\"system\",\"content\":\"Be brief.\"},{\"role\":\"user\",\"content\":["
                + "{\"type\":\"text\",\"text\":\"" + head + "\",\"prompt_cache_breakpoint\":{\"mode\":\"explicit\"}},"
                + "{\"type\":\"text\",\"text\":\"" + tail + "\"}]}],\"max_tokens\":5,\"seed\":1,\"ignore_eos\":true"
                + options + "}";
    }

    @Test
    void stateIsKeptExactlyAtABreakpointOfAChat() {
        try (var server = TestServer.start()) {
            String json = "{\"prompt\":\"Be brief.\\n\\nUser: abcdef\"}";
            int count = server.send("POST", "/tokenize", json, Map.of("Content-Type", "application/json"))
                    .json()
                    .path("count")
                    .asInt();
            var first = server.chat(chat("abcdef", "x", ",\"prompt_cache_options\":{\"mode\":\"explicit\"}"));
            var second = server.chat(chat("abcdef", "yz", ""));
            var alone = server.chat(chat("abcdef", "yz", ",\"cache_salt\":\"other\""));
            var shorter = server.chat(chat("abcde", "f", ""));

            assertEquals(0, cached(first));
            assertEquals(count, details(first, "cache_write_tokens"));
            assertEquals(count, cached(second));
            assertEquals(0, cached(alone));
            assertEquals(alone.json().path("choices"), second.json().path("choices"));
            assertEquals(0, cached(shorter));
        }
    }

    @Test
    void firstTurnOfASessionBeginsAsOthersDo() {
        var json = Map.of("Content-Type", "application/json");
        try (var server = TestServer.start()) {
            var expected = server.complete(body("x", "none")).json().path("choices");
            for (int i = 0; i < 3; i++) {
                String id = server.send("POST", "/v1/sessions", "{}", json)
                        .json()
                        .path("id")
                        .asText();
                var turn =
                        server.complete(body("x", "").replace("{\"prompt\"", "{\"session\":\"" + id + "\",\"prompt\""));

                assertEquals(i == 0 ? 0 : 512, cached(turn));
                assertEquals(expected, turn.json().path("choices"));
                var next = server.complete("{\"session\":\"" + id
                        + "\",\"prompt\":\"y\",\"max_tokens\":5,\"seed\":2,\"ignore_eos\":true}");
                assertEquals(517, cached(next));
            }
            String response = "{\"input\":\"" + HEAD + "\",\"max_output_tokens\":2}";
            server.send("POST", "/v1/responses", response, json);
            var again = server.send("POST", "/v1/responses", response, json).json();
            assertEquals(
                    528,
                    again.path("usage")
                            .path("input_tokens_details")
                            .path("cached_tokens")
                            .asInt());
        }
    }

    @Test
    void metricsTellOfHits() {
        try (var server = TestServer.start()) {
            complete(server, "", body("x", ""));
            complete(server, "", body("x", ""));

            String metrics = server.get("/metrics").body();

            assertTrue(
                    metrics.contains("basalt_prefix_cache_hits_total{engine=\"0\",model_name=\"test\"} 1.0"), metrics);
            assertTrue(metrics.contains("basalt_prefix_cache_misses_total{engine=\"0\",model_name=\"test\"} 1.0"));
            assertTrue(metrics.contains("vllm:prefix_cache_queries_total{engine=\"0\",model_name=\"test\"} 1026.0"));
            assertTrue(metrics.contains("vllm:prefix_cache_hits_total{engine=\"0\",model_name=\"test\"} 512.0"));
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
