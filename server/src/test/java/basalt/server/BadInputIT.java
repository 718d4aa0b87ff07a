package basalt.server;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import basalt.server.api.ProblemCode;
import basalt.server.fixture.Contract;
import java.util.Arrays;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.MethodSource;

class BadInputIT {
    private static final int BODY_BYTES_MAX = 1 << 20;
    private static TestServer server;

    @BeforeAll
    static void start() {
        server = TestServer.start("--body-bytes-max", "1MiB");
    }

    @AfterAll
    static void stop() {
        server.awaitFree();
        server.close();
    }

    static Stream<Arguments> bodies() {
        return Stream.of(syntax(), prompts(), stops(), sampling(), outputs()).flatMap(part -> part);
    }

    private static Stream<Arguments> syntax() {
        return Stream.of(
                bad("", "invalid_json", ""),
                bad("{", "invalid_json", ""),
                bad("[]", "invalid_json", ""),
                bad("\"text\"", "invalid_json", ""),
                bad("{\"prompt\":\"a\"} {}", "invalid_json", ""),
                bad("{\"prompt\":\"a\"}x", "invalid_json", ""),
                bad("{\"prompt\":\"a\",\"prompt\":\"b\"}", "invalid_json", "prompt"),
                bad("{\"logit_bias\":{\"1\":1,\"1\":2},\"prompt\":\"a\"}", "invalid_json", "logit_bias.1"),
                bad("{\"prompt\":\"a\",}", "invalid_json", ""),
                bad("{'prompt':'a'}", "invalid_json", ""),
                bad("{\"prompt\":\"a\",\"temperature\":NaN}", "invalid_json", ""),
                bad("{\"prompt\":\"a\",\"temperature\":Infinity}", "invalid_json", ""),
                bad("{\"prompt\":\"a\",\"seed\":" + "9".repeat(65) + "}", "invalid_json", ""),
                bad(
                        "{\"prompt\":\"a\",\"metadata\":{\"x\":" + "[".repeat(100) + "]".repeat(100) + "}}",
                        "invalid_json",
                        ""),
                bad("{\"" + "x".repeat(1000) + "\":1}", "invalid_json", ""),
                bad("{\"prompt\":\"\u0001\"}", "invalid_json", ""));
    }

    private static Stream<Arguments> prompts() {
        return Stream.of(
                bad("{\"max_tokens\":4}", "missing_parameter", "prompt"),
                bad("{\"prompt\":null}", "missing_parameter", "prompt"),
                bad("{\"prompt\":5}", "invalid_type", "prompt"),
                bad("{\"prompt\":true}", "invalid_type", "prompt"),
                bad("{\"prompt\":{}}", "invalid_type", "prompt"),
                bad("{\"prompt\":[]}", "invalid_value", "prompt"),
                bad("{\"prompt\":[[]]}", "invalid_value", "prompt[0]"),
                bad("{\"prompt\":[null]}", "invalid_type", "prompt[0]"),
                bad("{\"prompt\":[\"a\",1]}", "invalid_type", "prompt[1]"),
                bad("{\"prompt\":[1,\"a\"]}", "invalid_type", "prompt[1]"),
                bad("{\"prompt\":[[1],\"a\"]}", "invalid_type", "prompt[1]"),
                bad("{\"prompt\":[1.5]}", "invalid_type", "prompt[0]"),
                bad("{\"prompt\":[1,2.5]}", "invalid_type", "prompt[1]"),
                bad("{\"prompt\":[1,1e400]}", "invalid_token", "prompt[1]"),
                bad("{\"prompt\":[1,4096.0]}", "invalid_token", "prompt[1]"),
                bad("{\"prompt\":[-1]}", "invalid_token", "prompt[0]"),
                bad("{\"prompt\":[1,4096]}", "invalid_token", "prompt[1]"),
                bad("{\"prompt\":[[1],[2,99999999999]]}", "invalid_token", "prompt[1][1]"),
                bad("{\"prompt\":\"a\\ud800b\"}", "invalid_value", "prompt"),
                bad("{\"prompt\":[\"a\",\"\\udc00\"]}", "invalid_value", "prompt[1]"));
    }

    private static Stream<Arguments> stops() {
        return Stream.of(
                bad("{\"prompt\":\"a\",\"stop\":\"\\ud800\"}", "invalid_value", "stop"),
                bad("{\"prompt\":\"a\",\"stop\":\"\"}", "invalid_value", "stop"),
                bad("{\"prompt\":\"a\",\"stop\":[\"a\",1]}", "invalid_type", "stop[1]"),
                bad("{\"prompt\":\"a\",\"stop\":[" + "\"a\",".repeat(16) + "\"a\"]}", "invalid_value", "stop"),
                bad("{\"prompt\":\"a\",\"stop\":\"" + "a".repeat(1025) + "\"}", "invalid_value", "stop"),
                bad("{\"prompt\":\"a\",\"stop_token_ids\":[4096]}", "invalid_token", "stop_token_ids[0]"),
                bad("{\"prompt\":\"a\",\"stop_token_ids\":7}", "invalid_type", "stop_token_ids"));
    }

    private static Stream<Arguments> sampling() {
        return Stream.of(
                bad("{\"prompt\":\"a\",\"max_tokens\":-1}", "invalid_value", "max_tokens"),
                bad("{\"prompt\":\"a\",\"max_tokens\":2147483648}", "invalid_value", "max_tokens"),
                bad("{\"prompt\":\"a\",\"max_tokens\":\"5\"}", "invalid_type", "max_tokens"),
                bad("{\"prompt\":\"a\",\"max_tokens\":1.5}", "invalid_type", "max_tokens"),
                bad("{\"prompt\":\"a\",\"max_tokens\":1e999999999}", "invalid_value", "max_tokens"),
                bad("{\"prompt\":\"a\",\"max_tokens\":1e99999999999}", "invalid_value", "max_tokens"),
                bad("{\"prompt\":\"a\",\"max_tokens\":1e-999999999}", "invalid_type", "max_tokens"),
                bad("{\"prompt\":\"a\",\"min_tokens\":17}", "invalid_value", "min_tokens"),
                bad("{\"prompt\":\"a\",\"temperature\":2.1}", "invalid_value", "temperature"),
                bad("{\"prompt\":\"a\",\"temperature\":-0.1}", "invalid_value", "temperature"),
                bad("{\"prompt\":\"a\",\"temperature\":1e400}", "invalid_value", "temperature"),
                bad("{\"prompt\":\"a\",\"temperature\":\"1\"}", "invalid_type", "temperature"),
                bad("{\"prompt\":\"a\",\"top_p\":1.01}", "invalid_value", "top_p"),
                bad("{\"prompt\":\"a\",\"top_k\":-2}", "invalid_value", "top_k"),
                bad("{\"prompt\":\"a\",\"min_p\":1.5}", "invalid_value", "min_p"));
    }

    private static Stream<Arguments> outputs() {
        return Stream.of(
                bad("{\"prompt\":\"a\",\"n\":0}", "invalid_value", "n"),
                bad("{\"prompt\":\"a\",\"n\":129}", "invalid_value", "n"),
                bad("{\"prompt\":\"a\",\"n\":33}", "capacity_exceeded", "n"),
                bad("{\"prompt\":\"a\",\"n\":2,\"best_of\":40}", "capacity_exceeded", "best_of"),
                bad("{\"prompt\":[" + "\"a\",".repeat(1023) + "\"a\"]}", "capacity_exceeded", "prompt"),
                bad("{\"prompt\":[" + "\"a\",".repeat(1024) + "\"a\"]}", "invalid_value", "prompt"),
                bad("{\"prompt\":\"a\",\"logprobs\":21}", "invalid_value", "logprobs"),
                bad("{\"prompt\":\"a\",\"logprobs\":true}", "invalid_type", "logprobs"),
                bad("{\"prompt\":\"a\",\"logprobs\":20,\"max_tokens\":2000000}", "invalid_value", "logprobs"),
                bad("{\"prompt\":\"a\",\"seed\":9223372036854775808}", "invalid_value", "seed"),
                bad("{\"prompt\":\"a\",\"echo\":1}", "invalid_type", "echo"),
                bad("{\"prompt\":\"a\",\"stream\":\"true\"}", "invalid_type", "stream"),
                bad(
                        "{\"prompt\":\"a\",\"stream_options\":{\"include_usage\":true}}",
                        "invalid_value",
                        "stream_options"),
                bad(
                        "{\"prompt\":\"a\",\"stream\":true,\"stream_options\":{\"include_obfuscation\":true}}",
                        "unsupported_parameter",
                        "stream_options.include_obfuscation"),
                bad(
                        "{\"prompt\":\"a\",\"stream\":true,\"stream_options\":{\"x\":true}}",
                        "unknown_parameter",
                        "stream_options.x"),
                bad("{\"prompt\":\"a\",\"frequency_penalty\":2.5}", "invalid_value", "frequency_penalty"),
                bad("{\"prompt\":\"a\",\"repetition_penalty\":0}", "invalid_value", "repetition_penalty"),
                bad("{\"prompt\":\"a\",\"max_tokens\":100e2147483647}", "invalid_value", "max_tokens"),
                bad("{\"prompt\":\"a\",\"repetition_penalty\":0.001}", "invalid_value", "repetition_penalty"),
                bad("{\"prompt\":\"a\",\"logit_bias\":{\"x\":1}}", "invalid_token", "logit_bias"),
                bad("{\"prompt\":\"a\",\"logit_bias\":{\"4096\":1}}", "invalid_token", "logit_bias"),
                bad("{\"prompt\":\"a\",\"logit_bias\":{\"1\":101}}", "invalid_value", "logit_bias.1"),
                bad("{\"prompt\":\"a\",\"best_of\":2,\"stream\":true}", "invalid_value", "best_of"),
                bad("{\"prompt\":\"a\",\"best_of\":2,\"n\":3}", "invalid_value", "best_of"),
                bad("{\"prompt\":\"a\",\"max_tokens\":2,\"max_completion_tokens\":3}", "invalid_value", "max_tokens"),
                bad("{\"prompt\":\"a\",\"request_id\":\"a b\"}", "invalid_value", "request_id"),
                bad("{\"prompt\":\"a\",\"skip_special_tokens\":false}", "unsupported_parameter", "skip_special_tokens"),
                bad("{\"prompt\":\"a\",\"store\":true}", "unsupported_parameter", "store"),
                bad("{\"prompt\":\"a\",\"service_tier\":\"flex\"}", "unsupported_parameter", "service_tier"),
                bad("{\"prompt\":\"a\",\"cache_salt\":\"" + "a".repeat(257) + "\"}", "invalid_value", "cache_salt"),
                bad("{\"prompt\":\"a\",\"user\":7}", "invalid_type", "user"),
                bad("{\"prompt\":\"a\",\"messages\":[]}", "unsupported_parameter", "messages"),
                bad("{\"prompt\":\"a\",\"top_logprobs\":2}", "unsupported_parameter", "top_logprobs"),
                bad("{\"prompt\":\"a\",\"suffix\":\"b\"}", "unsupported_parameter", "suffix"),
                bad("{\"prompt\":\"a\",\"tools\":[{\"type\":\"function\"}]}", "unsupported_parameter", "tools"),
                bad(
                        "{\"prompt\":\"a\",\"response_format\":{\"type\":\"json_object\"}}",
                        "unsupported_parameter",
                        "response_format"),
                bad("{\"prompt\":\"a\",\"temprature\":1}", "unknown_parameter", "temprature"));
    }

    /** The contract counts characters, which are not the halves of surrogate pairs. */
    @Test
    void cacheSaltMayHave256Characters() {
        var answer = server.complete(
                "{\"prompt\":\"a\",\"max_tokens\":1,\"cache_salt\":\"" + "\ud83d\ude00".repeat(256) + "\"}");

        assertEquals(200, answer.status(), answer.body());
    }

    /** JSON Schema, and so the contract, calls these integers. */
    @Test
    void wholeNumbersMayHaveAPointOrAnExponent() {
        String plain = "{\"prompt\":[97,98],\"max_tokens\":3,\"seed\":0,\"top_k\":20,\"priority\":-1}";
        String pointed = "{\"prompt\":[97.0,9.8e1],\"max_tokens\":3.0,\"seed\":-0.0,\"top_k\":2e1,\"priority\":-10e-1}";

        var answer = server.complete(pointed);

        assertEquals(200, answer.status(), answer.body());
        assertEquals(
                server.complete(plain).json().path("choices"), answer.json().path("choices"));
    }

    /** So that what the contract allows is not refused. */
    @Test
    void wholeNumbersOfARequestHaveBoundsInTheContract() {
        var fields = new Contract().document().path("components").path("schemas");

        for (var field : List.of("min_tokens", "top_k", "seed", "priority", "max_tokens", "n", "best_of")) {
            var type = fields.path("AnswerRequest").path("properties").path(field);
            assertTrue(type.has("minimum") && type.has("maximum"), field + ": " + type);
        }
        assertEquals(
                Long.MAX_VALUE,
                fields.path("AnswerRequest")
                        .path("properties")
                        .path("seed")
                        .path("maximum")
                        .asLong());
    }

    private static Arguments bad(String body, String code, String param) {
        return Arguments.of(body.length() > 60 ? body.substring(0, 60) + "..." : body, body, code, param);
    }

    @ParameterizedTest(name = "{0} -> {2}")
    @MethodSource("bodies")
    void badBodyNamesTheFieldAtFault(String name, String body, String code, String param) {
        var answer = server.send("POST", "/v1/completions", body, Map.of("Content-Type", "application/json"));

        assertEquals(400, answer.status(), answer.body());
        assertEquals(code, answer.error().path("code").asText(), answer.body());
        assertEquals(param, param(answer), answer.body());
        assertEquals("invalid_request_error", answer.error().path("type").asText());
    }

    @ParameterizedTest(name = "{0}")
    @CsvSource(delimiter = '|', quoteCharacter = '`', textBlock = """
            {"prompt":                        | at line 1, column 11 it ends too early, inside an object.
            {"prompt":["a"                    | it ends too early, inside an array.
            {"prompt":"a                      | it ends too early, inside an object.
            {"prompt":}                       | at line 1, column 11 a value was expected.
            {"prompt":"a" "n":1}              | a comma, a name in double quotes and a colon, or } was expected.
            {prompt:1}                        | at line 1, column 2 a name in double quotes and a colon, or }
            {"prompt":["a" "b"]}              | a comma and a value, or ] was expected.
            {"prompt":"a"}}                   | the end of the body was expected.
            {"prompt":"a","temperature":NaN}  | is NaN or an infinity, which are no JSON numbers.
            {"prompt":"a","temperature":-INF} | is NaN or an infinity, which are no JSON numbers.
            {"prompt":"a","temperature":01}   | is a malformed number.
            {"prompt":"\\x"}                  | is an escape that JSON has not.
            {"prompt":"a","metadata":{"x":[[[[[[[[[[[[[[[[[[1 | it is over a bound: 16 levels,
            {"prompt":"a","b\\ud800":1}       | is half of a surrogate pair, which is no character.
            {"n":1,"prompt":"a","n":2}        | The body has n twice; send it once.
            """)
    void syntaxIsExplainedToTheClient(String body, String message) {
        var answer = server.send("POST", "/v1/completions", body, Map.of("Content-Type", "application/json"));

        String told = answer.error().path("message").asText();
        assertEquals(400, answer.status(), told);
        assertTrue(told.contains(message), told);
        assertFalse(told.contains("Source") || told.contains("Feature") || told.contains("jackson"), told);
    }

    /** The field at fault, empty if it is none. */
    private static String param(TestServer.Answer answer) {
        return answer.error().path("param").isNull()
                ? ""
                : answer.error().path("param").asText();
    }

    @Test
    void otherModelIsNotFound() {
        var answer = server.complete("{\"model\":\"gpt-4\",\"prompt\":\"a\"}");

        assertEquals(404, answer.status());
        assertEquals("model_not_found", answer.error().path("code").asText());
        assertEquals("model", answer.error().path("param").asText());
        assertEquals(404, server.get("/v1/models/gpt-4").status());
    }

    @Test
    void unknownPathIsNotFound() {
        for (String path : new String[] {"/v1", "/v1/nothing", "/v1/completions/x", "/health/x"}) {
            var answer = server.get(path);

            assertEquals(404, answer.status(), path);
            assertEquals("not_found", answer.error().path("code").asText(), path);
        }
    }

    @Test
    void otherMethodIsNotAllowed() {
        for (String path : new String[] {"/v1/models", "/health", "/health/live", "/health/ready", "/metrics"}) {
            var answer = server.send("POST", path, "{}", Map.of());

            assertEquals(405, answer.status(), path);
            assertEquals("GET, HEAD", answer.header("allow"));
        }
        var answer = server.get("/v1/completions");
        assertEquals(405, answer.status());
        assertEquals("method_not_allowed", answer.error().path("code").asText());
        assertEquals("POST", answer.header("allow"));
    }

    @Test
    void otherMediaTypeIsRefused() {
        for (String type :
                new String[] {"text/plain", "application/x-www-form-urlencoded", "application/json; charset=latin1"}) {
            var answer = server.send("POST", "/v1/completions", "{\"prompt\":\"a\"}", Map.of("Content-Type", type));

            assertEquals(415, answer.status(), type);
            assertEquals("unsupported_media_type", answer.error().path("code").asText());
        }
        var accepted = server.send(
                "POST",
                "/v1/completions",
                "{\"prompt\":\"a\"}",
                Map.of("Content-Type", "application/json; charset=UTF-8", "Accept", "application/json"));
        assertEquals(200, accepted.status());
    }

    @Test
    void bodyOverTheLimitIsRefused() {
        String body = "{\"prompt\":\"" + "a".repeat(BODY_BYTES_MAX) + "\"}";

        var answer = server.complete(body);

        assertEquals(413, answer.status());
        assertEquals("body_too_large", answer.error().path("code").asText());
        assertEquals(200, server.complete("{\"prompt\":\"a\"}").status());
    }

    @Test
    void everyCodeIsInTheContract() {
        var listed = new HashSet<String>();
        new Contract().document().at("/components/schemas/ErrorCode/enum").forEach(code -> listed.add(code.asText()));

        var codes = new HashSet<>(
                Arrays.stream(ProblemCode.values()).map(ProblemCode::code).toList());

        assertEquals(codes, listed);
        assertFalse(codes.isEmpty());
    }
}
