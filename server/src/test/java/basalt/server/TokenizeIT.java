package basalt.server;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import basalt.engine.backend.fake.FakeBackend;
import java.util.Map;
import java.util.Optional;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class TokenizeIT {
    private static final Map<String, String> JSON = Map.of("Content-Type", "application/json");
    private static TestServer server;

    @BeforeAll
    static void start() {
        server = TestServer.start();
    }

    @AfterAll
    static void stop() {
        server.close();
    }

    private static TestServer.Answer post(String path, String body) {
        return server.send("POST", path, body, JSON);
    }

    @Test
    void textBecomesIdsAndTextAgain() {
        var ids = post("/tokenize", "{\"prompt\":\"h\u00e9\",\"add_special_tokens\":true}")
                .json();

        assertEquals("[104,195,169]", ids.path("tokens").toString());
        assertEquals(3, ids.path("count").asInt());
        assertTrue(ids.path("max_model_len").isNull());
        var text = post("/detokenize", "{\"model\":\"test\",\"tokens\":" + ids.path("tokens") + "}");
        assertEquals("h\u00e9", text.json().path("prompt").asText());
    }

    @Test
    void tokensAreNamedIfAskedFor() {
        var ids = post("/tokenize", "{\"prompt\":\"a\u00e9\",\"return_token_strs\":true}")
                .json();

        assertEquals("a", ids.path("token_strs").get(0).asText());
        assertEquals("bytes:\\xc3", ids.path("token_strs").get(1).asText());
    }

    @Test
    void emptyTextHasNoIds() {
        assertEquals(
                "[]",
                post("/tokenize", "{\"prompt\":\"\"}").json().path("tokens").toString());
        assertEquals(
                "", post("/detokenize", "{\"tokens\":[]}").json().path("prompt").asText("none"));
    }

    @ParameterizedTest
    @CsvSource(
            quoteCharacter = '~',
            value = {
                "/tokenize,~{}~,missing_parameter,prompt",
                "/tokenize,~{\"prompt\":[1]}~,invalid_type,prompt",
                "/tokenize,~{\"prompt\":\"a\",\"x\":1}~,unknown_parameter,x",
                "/tokenize,~{\"messages\":[]}~,unsupported_parameter,messages",
                "/detokenize,~{}~,missing_parameter,tokens",
                "/detokenize,~{\"tokens\":\"a\"}~,invalid_type,tokens",
                "/detokenize,~{\"tokens\":[1,4096]}~,invalid_token,tokens[1]",
                "/detokenize,~{\"tokens\":[1],\"x\":1}~,unknown_parameter,x"
            })
    void badBodyNamesTheFieldAtFault(String path, String body, String code, String param) {
        var answer = post(path, body);

        assertEquals(400, answer.status(), answer.body());
        assertEquals(code, answer.error().path("code").asText(), answer.body());
        assertEquals(param, answer.error().path("param").asText(), answer.body());
    }

    @Test
    void keyIsNeededWhereThereAreKeys() {
        try (var guarded = TestServer.start("--api-keys", "secret")) {
            assertEquals(
                    401,
                    guarded.send("POST", "/tokenize", "{\"prompt\":\"a\"}", JSON)
                            .status());
            assertEquals(
                    401,
                    guarded.send("POST", "/detokenize", "{\"tokens\":[1]}", JSON)
                            .status());
        }
    }

    @Test
    void withoutATokenizerThereIsNoText() {
        try (var mute = TestServer.start(FakeBackend.Options.DEFAULT, Optional.empty())) {
            var answer = mute.send("POST", "/tokenize", "{\"prompt\":\"a\"}", JSON);

            assertEquals(400, answer.status());
            assertEquals("tokenizer_missing", answer.error().path("code").asText());
        }
    }
}
