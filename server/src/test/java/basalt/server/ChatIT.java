package basalt.server;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import basalt.server.api.CompletionRequest;
import basalt.server.api.RequestTime;
import com.fasterxml.jackson.databind.JsonNode;
import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.TreeMap;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;

class ChatIT {
    private static final String SMILE = "\ud83d\ude42";
    private static final String HELLO = "\"messages\":[{\"role\":\"user\",\"content\":\"Hello\"}]";
    private static TestServer server;

    @BeforeAll
    static void start() {
        server = TestServer.start();
    }

    @AfterAll
    static void stop() {
        server.awaitFree();
        server.close();
    }

    @Test
    void answerIsAMessage() {
        var answer = chat(HELLO + ",\"max_completion_tokens\":5,\"ignore_eos\":true");

        JsonNode choice = answer.path("choices").get(0);
        assertTrue(answer.path("id").asText().startsWith("chatcmpl-"));
        assertEquals("assistant", choice.path("message").path("role").asText());
        assertFalse(choice.path("message").path("content").asText().isEmpty());
        assertEquals("length", choice.path("finish_reason").asText());
        assertEquals(
                "User: Hello\nAssistant:".length(),
                answer.path("usage").path("prompt_tokens").asInt());
        assertEquals(5, answer.path("usage").path("completion_tokens").asInt());
    }

    @Test
    void chatGoesOnLikeTheWrittenDialogue() {
        String fields = ",\"max_tokens\":20,\"seed\":4,\"ignore_eos\":true";
        String messages = "\"messages\":[{\"role\":\"developer\",\"content\":\"Be brief.\"},"
                + "{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"One\"},"
                + "{\"type\":\"text\",\"text\":\"Two\"}]},"
                + "{\"role\":\"assistant\",\"content\":\"Three\"},"
                + "{\"role\":\"user\",\"name\":\"Ann\",\"content\":\"Four\"}]";

        String content = content(chat(messages + fields));

        String prompt = "Be brief.\\n\\nUser: One\\nTwo\\nAssistant: Three\\nUser (Ann): Four\\nAssistant:";
        assertEquals(text(prompt, fields), content);
    }

    @Test
    void lastMessageCanBeContinued() {
        String fields = ",\"max_tokens\":20,\"seed\":4,\"ignore_eos\":true";
        String messages =
                "\"messages\":[{\"role\":\"user\",\"content\":\"One\"},{\"role\":\"assistant\",\"content\":\"Tw\"}]";

        String continued = content(chat(messages + fields + ",\"continue_final_message\":true"));
        String closed = content(chat(messages + fields + ",\"add_generation_prompt\":false"));

        assertEquals(text("User: One\\nAssistant: Tw", fields), continued);
        assertEquals(text("User: One\\nAssistant: Tw\\n", fields), closed);
    }

    private static String text(String prompt, String fields) {
        return server.complete("{\"prompt\":\"" + prompt + "\"" + fields + "}")
                .json()
                .path("choices")
                .get(0)
                .path("text")
                .asText();
    }

    @Test
    void answerEndsBeforeTheNextLineOfTheUser() {
        var request = CompletionRequest.read(
                CompletionRequest.Form.CHAT,
                ("{" + HELLO + ",\"stop\":\"end\"}").getBytes(StandardCharsets.UTF_8),
                server.application().model().served(),
                () -> 1,
                RequestTime.withoutDeadline());

        assertEquals(List.of("end", "\nUser:"), request.generations().getFirst().stopStrings());
    }

    @Test
    void streamBeginsWithTheRoleAndEndsWithTheReason() {
        String fields = HELLO + ",\"max_tokens\":300,\"seed\":7,\"ignore_eos\":true";

        String whole = content(chat(fields));
        var stream = server.chat("{" + fields + ",\"stream\":true,\"stream_options\":{\"include_usage\":true}}");

        var chunks = stream.chunks();
        JsonNode first = chunks.getFirst().path("choices").get(0);
        JsonNode last = chunks.get(chunks.size() - 2).path("choices").get(0);
        assertEquals("assistant", first.path("delta").path("role").asText());
        assertEquals("", first.path("delta").path("content").asText("none"));
        assertTrue(last.path("delta").isEmpty());
        assertEquals("length", last.path("finish_reason").asText());
        var text = new StringBuilder();
        for (JsonNode chunk : chunks.subList(1, chunks.size() - 2)) {
            JsonNode choice = chunk.path("choices").get(0);
            assertTrue(choice.path("finish_reason").isNull(), chunk.toString());
            assertFalse(choice.path("delta").has("role"), chunk.toString());
            text.append(choice.path("delta").path("content").asText());
        }
        assertEquals(whole, text.toString());
        assertEquals(
                300, chunks.getLast().path("usage").path("completion_tokens").asInt());
        assertTrue(chunks.getLast().path("choices").isEmpty());
        assertTrue(stream.body().endsWith("\n\ndata: [DONE]\n\n"));
    }

    @Test
    void everyChoiceOfAStreamHasRoleAndReason() {
        var chunks = server.chat("{" + HELLO + ",\"n\":3,\"max_tokens\":20,\"stream\":true}")
                .chunks();

        var roles = new TreeMap<Integer, Integer>();
        var reasons = new TreeMap<Integer, Integer>();
        for (JsonNode chunk : chunks) {
            JsonNode choice = chunk.path("choices").get(0);
            int index = choice.path("index").asInt();
            roles.merge(index, choice.path("delta").has("role") ? 1 : 0, Integer::sum);
            reasons.merge(index, choice.path("finish_reason").isNull() ? 0 : 1, Integer::sum);
        }
        assertEquals("{0=1, 1=1, 2=1}", roles.toString());
        assertEquals("{0=1, 1=1, 2=1}", reasons.toString());
    }

    @Test
    void logprobsHaveOneEntryAToken() {
        String fields =
                HELLO + ",\"max_tokens\":40,\"seed\":7,\"ignore_eos\":true,\"logprobs\":true,\"top_logprobs\":3";

        JsonNode entries = chat(fields).path("choices").get(0).path("logprobs").path("content");
        var streamed = server.chat("{" + fields + ",\"stream\":true}").chunks().stream()
                .flatMap(chunk -> Stream.of(chunk.path("choices").get(0).path("logprobs")))
                .filter(JsonNode::isObject)
                .mapToInt(logprobs -> logprobs.path("content").size())
                .sum();

        assertEquals(40, entries.size());
        assertEquals(40, streamed);
        for (JsonNode entry : entries) {
            assertEquals(3, entry.path("top_logprobs").size());
            var bytes = entry.path("token").asText().getBytes(StandardCharsets.UTF_8);
            assertEquals(bytes.length, entry.path("bytes").size(), entry.toString());
            assertTrue(entry.path("logprob").asDouble() <= 0);
        }
    }

    @Test
    void logprobsAreNullUnlessAskedFor() {
        var choice = chat(HELLO + ",\"max_tokens\":4").path("choices").get(0);

        assertTrue(choice.path("logprobs").isNull());
    }

    @Test
    void bestOfWorksInChatsToo() {
        String fields = HELLO + ",\"max_tokens\":6,\"seed\":3,\"ignore_eos\":true";

        var answer = chat(fields + ",\"best_of\":4");

        assertEquals(1, answer.path("choices").size());
        assertEquals(24, answer.path("usage").path("completion_tokens").asInt());
    }

    static Stream<Arguments> bodies() {
        String hello = HELLO + ",";
        return Stream.of(
                bad("\"max_tokens\":4", "missing_parameter", "messages"),
                bad("\"messages\":[]", "missing_parameter", "messages"),
                bad("\"messages\":{}", "invalid_type", "messages"),
                bad("\"messages\":[1]", "invalid_type", "messages[0]"),
                bad("\"messages\":[{\"role\":\"user\"}]", "missing_parameter", "messages[0].content"),
                bad("\"messages\":[{\"content\":\"a\"}]", "missing_parameter", "messages[0].role"),
                bad("\"messages\":[{\"role\":\"king\",\"content\":\"a\"}]", "invalid_value", "messages[0].role"),
                bad(
                        "\"messages\":[{\"role\":\"tool\",\"content\":\"a\"}]",
                        "unsupported_parameter",
                        "messages[0].role"),
                bad("\"messages\":[{\"role\":\"user\",\"content\":5}]", "invalid_type", "messages[0].content"),
                bad(
                        "\"messages\":[{\"role\":\"user\",\"content\":[{}]}]",
                        "missing_parameter",
                        "messages[0].content[0].text"),
                bad("\"messages\":[{\"role\":\"user\",\"content\":[\"a\"]}]", "invalid_type", "messages[0].content[0]"),
                bad(
                        "\"messages\":[{\"role\":\"user\",\"content\":["
                                + "{\"type\":\"image_url\",\"image_url\":{\"url\":\"x\"}}]}]",
                        "unsupported_parameter",
                        "messages[0].content[0].type"),
                bad(
                        "\"messages\":[{\"role\":\"user\",\"content\":\"a\",\"x\":1}]",
                        "unknown_parameter",
                        "messages[0].x"),
                bad(
                        "\"messages\":[{\"role\":\"assistant\",\"content\":\"a\",\"tool_calls\":[]}]",
                        "unsupported_parameter",
                        "messages[0].tool_calls"),
                bad(
                        "\"messages\":[{\"role\":\"user\",\"name\":\"a\\nb\",\"content\":\"a\"}]",
                        "invalid_value",
                        "messages[0].name"),
                bad(
                        "\"messages\":[{\"role\":\"user\",\"name\":\"" + SMILE.repeat(65) + "\",\"content\":\"a\"}]",
                        "invalid_value",
                        "messages[0].name"),
                bad(
                        "\"messages\":[{\"role\":\"user\",\"content\":["
                                + "{\"text\":\"a\",\"prompt_cache_breakpoint\":{}}]}]",
                        "missing_parameter",
                        "messages[0].content[0].prompt_cache_breakpoint.mode"),
                bad(hello + "\"logprobs\":3", "invalid_type", "logprobs"),
                bad(hello + "\"top_logprobs\":3", "invalid_value", "top_logprobs"),
                bad(hello + "\"logprobs\":true,\"top_logprobs\":21", "invalid_value", "top_logprobs"),
                bad(hello + "\"continue_final_message\":true", "invalid_value", "continue_final_message"),
                bad(hello + "\"tools\":[]", "unsupported_parameter", "tools"),
                bad(hello + "\"tool_choice\":\"auto\"", "unsupported_parameter", "tool_choice"),
                bad(hello + "\"modalities\":[\"audio\"]", "unsupported_parameter", "modalities"),
                bad(hello + "\"reasoning_effort\":\"low\"", "unsupported_parameter", "reasoning_effort"),
                bad(
                        hello + "\"response_format\":{\"type\":\"json_schema\"}",
                        "unsupported_parameter",
                        "response_format"),
                bad(hello + "\"chat_template\":\"{{ x }}\"", "unsupported_parameter", "chat_template"),
                bad(hello + "\"echo\":true", "unsupported_parameter", "echo"),
                bad(hello + "\"prompt\":\"a\"", "unsupported_parameter", "prompt"),
                bad(hello + "\"max_token\":1", "unknown_parameter", "max_token"));
    }

    /** As JSON Schema counts. */
    @Test
    void lengthOfANameCountsCharactersOfAnyPlane() {
        String message = "{\"role\":\"user\",\"name\":\"" + SMILE.repeat(64) + "\",\"content\":\"a\"}";

        var answer = server.chat("{\"messages\":[" + message + "],\"max_tokens\":1}");

        assertEquals(200, answer.status(), answer.body());
    }

    private static Arguments bad(String fields, String code, String param) {
        return Arguments.of(fields, code, param);
    }

    @ParameterizedTest
    @MethodSource("bodies")
    void badBodyNamesTheFieldAtFault(String fields, String code, String param) {
        var answer = server.chat("{" + fields + "}");

        assertEquals(400, answer.status(), answer.body());
        assertEquals(code, answer.error().path("code").asText(), answer.body());
        assertEquals(param, answer.error().path("param").asText(), answer.body());
    }

    private static JsonNode chat(String fields) {
        var answer = server.chat("{" + fields + "}");
        assertEquals(200, answer.status(), answer.body());
        return answer.json();
    }

    private static String content(JsonNode answer) {
        return answer.path("choices").get(0).path("message").path("content").asText();
    }
}
