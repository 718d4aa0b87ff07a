package basalt.server;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import basalt.server.fixture.WordTokenizer;
import com.fasterxml.jackson.databind.JsonNode;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.TreeMap;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;

class CompletionsIT {
    private static final WordTokenizer TOKENIZER = new WordTokenizer(TestServer.VOCAB_SIZE);
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
    void wholeAnswerHasTextAndUsage() {
        var answer = complete("\"model\":\"test\",\"prompt\":\"abc\",\"max_tokens\":5,\"ignore_eos\":true");

        JsonNode choice = answer.path("choices").get(0);
        assertFalse(choice.path("text").asText().isEmpty());
        assertEquals("length", choice.path("finish_reason").asText());
        assertEquals(3, answer.path("usage").path("prompt_tokens").asInt());
        assertEquals(5, answer.path("usage").path("completion_tokens").asInt());
        assertEquals(8, answer.path("usage").path("total_tokens").asInt());
    }

    @Test
    void sixteenTokensAreTheDefault() {
        var answer = complete("\"prompt\":\"abc\",\"ignore_eos\":true");

        assertEquals(16, answer.path("usage").path("completion_tokens").asInt());
    }

    @Test
    void streamHasTheTextOfTheWholeAnswer() {
        String fields = "\"prompt\":\"abc\",\"max_tokens\":300,\"ignore_eos\":true,\"seed\":7";

        String whole = text(complete(fields));
        var stream = server.complete("{" + fields + ",\"stream\":true}");

        assertEquals("text/event-stream; charset=utf-8", stream.header("content-type"));
        assertEquals("no-cache, no-transform", stream.header("cache-control"));
        assertEquals("no", stream.header("x-accel-buffering"));
        assertEquals(whole, joined(stream.chunks()));
        assertEquals("length", finishReasons(stream.chunks()).getLast());
        assertTrue(stream.body().startsWith(":"), stream.body());
        assertTrue(stream.body().endsWith("\n\ndata: [DONE]\n\n"), stream.body());
    }

    @Test
    void usageChunkComesLastAndOnlyIfAskedFor() {
        String fields = "{\"prompt\":\"abc\",\"max_tokens\":4,\"ignore_eos\":true,\"stream\":true";

        var without = server.complete(fields + "}").chunks();
        var with = server.complete(fields + ",\"stream_options\":{\"include_usage\":true}}")
                .chunks();

        assertTrue(without.stream().noneMatch(chunk -> chunk.has("usage")));
        assertTrue(with.stream().allMatch(chunk -> chunk.has("usage")));
        assertTrue(with.subList(0, with.size() - 1).stream()
                .allMatch(chunk -> chunk.path("usage").isNull()));
        assertTrue(with.getLast().path("choices").isEmpty());
        assertEquals(4, with.getLast().path("usage").path("completion_tokens").asInt());
    }

    @Test
    void chunksOfOneStreamShareIdAndTime() {
        var chunks = server.complete("{\"prompt\":\"abc\",\"max_tokens\":50,\"stream\":true}")
                .chunks();

        assertEquals(
                1, chunks.stream().map(chunk -> chunk.path("id")).distinct().count());
        assertEquals(
                1,
                chunks.stream().map(chunk -> chunk.path("created")).distinct().count());
    }

    @Test
    void seedGivesTheSameTextAndItsAbsenceAnother() {
        String fields = "\"prompt\":\"abc\",\"max_tokens\":30";

        assertEquals(text(complete(fields + ",\"seed\":5")), text(complete(fields + ",\"seed\":5")));
        assertNotEquals(text(complete(fields + ",\"seed\":5")), text(complete(fields + ",\"seed\":6")));
        assertNotEquals(text(complete(fields)), text(complete(fields)));
        assertEquals(
                text(complete(fields + ",\"temperature\":0")),
                text(complete(fields + ",\"temperature\":0,\"seed\":9")));
    }

    @Test
    void choicesOfSeveralPromptsAreNumberedPromptMajor() {
        var answer = complete("\"prompt\":[\"ab\",\"abc\",\"abcd\"],\"n\":2,\"max_tokens\":3,\"echo\":true,"
                + "\"ignore_eos\":true,\"seed\":1");

        var choices = answer.path("choices");
        assertEquals(6, choices.size());
        for (int i = 0; i < 6; i++) {
            assertEquals(i, choices.get(i).path("index").asInt());
            assertTrue(choices.get(i).path("text").asText().startsWith("abcd".substring(0, 2 + i / 2)));
        }
        assertNotEquals(choices.get(0).path("text"), choices.get(1).path("text"));
        assertEquals(2 + 3 + 4, answer.path("usage").path("prompt_tokens").asInt());
        assertEquals(18, answer.path("usage").path("completion_tokens").asInt());
    }

    @Test
    void severalPromptsStreamTheirChoicesTogether() {
        String fields = "\"prompt\":[[97,98],[97,98,99]],\"n\":2,\"max_tokens\":200,\"ignore_eos\":true,\"seed\":1";

        var whole = complete(fields).path("choices");
        var chunks = server.complete("{" + fields + ",\"stream\":true}").chunks();

        var texts = new TreeMap<Integer, String>();
        for (JsonNode chunk : chunks) {
            JsonNode choice = chunk.path("choices").get(0);
            texts.merge(choice.path("index").asInt(), choice.path("text").asText(), String::concat);
        }
        assertEquals(4, texts.size());
        texts.forEach(
                (index, text) -> assertEquals(whole.get(index).path("text").asText(), text));
    }

    @Test
    void everyFormOfPromptGivesTheSameText() {
        String fields = ",\"max_tokens\":8,\"seed\":3,\"ignore_eos\":true";

        String expected = text(complete("\"prompt\":\"abc\"" + fields));

        for (String prompt : List.of("[\"abc\"]", "[97,98,99]", "[[97,98,99]]")) {
            assertEquals(expected, text(complete("\"prompt\":" + prompt + fields)), prompt);
        }
    }

    @Test
    void emptyTextBeginsADocument() {
        String fields = ",\"max_tokens\":8,\"seed\":3,\"ignore_eos\":true";

        assertEquals(
                text(complete("\"prompt\":[" + WordTokenizer.END_OF_TEXT + "]" + fields)),
                text(complete("\"prompt\":\"\"" + fields)));
    }

    @Test
    void stopStringEndsTheTextBeforeItself() {
        String fields = "\"prompt\":\"abc\",\"max_tokens\":40,\"seed\":3,\"ignore_eos\":true";
        String whole = text(complete(fields));
        String stop = whole.substring(whole.length() / 2, whole.length() / 2 + 4);

        var stopped = complete(fields + ",\"stop\":\"" + stop + "\"");
        var streamed = server.complete("{" + fields + ",\"stop\":[\"" + stop + "\",\"never\"],\"stream\":true}")
                .chunks();
        var included = complete(fields + ",\"stop\":\"" + stop + "\",\"include_stop_str_in_output\":true");

        String expected = whole.substring(0, whole.indexOf(stop));
        JsonNode choice = stopped.path("choices").get(0);
        assertEquals(expected, text(stopped));
        assertEquals("stop", choice.path("finish_reason").asText());
        assertEquals(stop, choice.path("stop_reason").asText());
        assertEquals(expected, joined(streamed));
        assertEquals(expected + stop, text(included));
    }

    @Test
    void stopTokenEndsTheTextBeforeItself() {
        String fields = "\"prompt\":\"abc\",\"max_tokens\":40,\"seed\":3,\"ignore_eos\":true,\"return_token_ids\":true";
        int[] ids = ids(complete(fields).path("choices").get(0).path("token_ids"));

        JsonNode choice = complete(fields + ",\"stop_token_ids\":[" + ids[10] + "]")
                .path("choices")
                .get(0);

        assertEquals("stop", choice.path("finish_reason").asText());
        assertEquals(ids[10], choice.path("stop_reason").asInt());
        assertEquals(11, choice.path("token_ids").size());
        assertEquals(
                TOKENIZER.decode(Arrays.copyOf(ids, 10)), choice.path("text").asText());
    }

    @Test
    void tokenIdsAreThoseOfTheText() {
        String fields = "\"prompt\":\"abc\",\"max_tokens\":40,\"seed\":3,\"return_token_ids\":true,\"ignore_eos\":true";

        JsonNode choice = complete(fields).path("choices").get(0);
        var chunks = server.complete("{" + fields + ",\"stream\":true}").chunks();

        assertEquals("[97,98,99]", choice.path("prompt_token_ids").toString());
        assertEquals(
                TOKENIZER.decode(ids(choice.path("token_ids"))),
                choice.path("text").asText());
        var streamed = new ArrayList<String>();
        chunks.forEach(
                chunk -> chunk.path("choices").get(0).path("token_ids").forEach(id -> streamed.add(id.toString())));
        assertEquals(choice.path("token_ids").toString(), streamed.toString().replace(" ", ""));
        assertEquals(
                1,
                chunks.stream()
                        .filter(chunk -> chunk.path("choices").get(0).has("prompt_token_ids"))
                        .count());
    }

    @Test
    void echoWithoutTokensScoresThePrompt() {
        JsonNode choice = complete("\"prompt\":\"a\\u00e4b\",\"max_tokens\":0,\"echo\":true,\"logprobs\":3")
                .path("choices")
                .get(0);

        JsonNode logprobs = choice.path("logprobs");
        assertEquals("aäb", choice.path("text").asText());
        assertEquals("length", choice.path("finish_reason").asText());
        assertEquals(
                "[\"a\",\"bytes:\\\\xc3\",\"bytes:\\\\xa4\",\"b\"]",
                logprobs.path("tokens").toString());
        assertTrue(logprobs.path("token_logprobs").get(0).isNull());
        assertTrue(logprobs.path("top_logprobs").get(0).isNull());
        assertEquals(4, logprobs.path("token_logprobs").size());
        assertTrue(logprobs.path("top_logprobs").get(1).size() >= 3);
        assertEquals("[0,1,2,2]", logprobs.path("text_offset").toString());
    }

    @Test
    void logprobsNameTheChosenTokenAmongTheLikeliest() {
        String fields = "\"prompt\":\"abc\",\"max_tokens\":12,\"seed\":3,\"ignore_eos\":true,\"logprobs\":2";

        JsonNode whole = complete(fields).path("choices").get(0).path("logprobs");
        var chunks = server.complete("{" + fields + ",\"stream\":true,\"return_tokens_as_token_ids\":true}")
                .chunks();

        assertEquals(12, whole.path("tokens").size());
        for (int i = 0; i < 12; i++) {
            String token = whole.path("tokens").get(i).asText();
            assertEquals(
                    whole.path("token_logprobs").get(i).asDouble(),
                    whole.path("top_logprobs").get(i).path(token).asDouble());
        }
        var streamed = new ArrayList<JsonNode>();
        chunks.forEach(chunk ->
                chunk.path("choices").get(0).path("logprobs").path("tokens").forEach(streamed::add));
        assertEquals(12, streamed.size());
        assertTrue(streamed.stream().allMatch(token -> token.asText().matches("token_id:[0-9]+")));
    }

    @Test
    void everyStreamedChoiceOfAScoredPromptEchoesIt() {
        String fields =
                "\"prompt\":\"abc\",\"max_tokens\":2,\"seed\":3,\"ignore_eos\":true,\"logprobs\":1,\"echo\":true";

        var whole = complete(fields + ",\"n\":3").path("choices");
        var chunks = server.complete("{" + fields + ",\"n\":3,\"stream\":true}").chunks();

        for (int index = 0; index < 3; index++) {
            var text = new StringBuilder();
            int tokens = 0;
            for (JsonNode chunk : chunks) {
                JsonNode choice = chunk.path("choices").get(0);
                if (choice.path("index").asInt() == index) {
                    text.append(choice.path("text").asText());
                    tokens += choice.path("logprobs").path("tokens").size();
                }
            }
            assertEquals(whole.get(index).path("text").asText(), text.toString());
            assertEquals(5, tokens);
        }
    }

    @Test
    void penaltiesAndBiasesAreTaken() {
        var answer = server.complete("{\"prompt\":\"abc\",\"frequency_penalty\":1.5,\"presence_penalty\":-2,"
                + "\"repetition_penalty\":100,\"temperature\":1e-9,"
                + "\"logit_bias\":{\"65\":100,\"66\":-100},\"top_k\":-1,\"top_p\":0,"
                + "\"min_p\":0.1,\"min_tokens\":3,\"priority\":-5,\"user\":\"u\",\"best_of\":1,"
                + "\"response_format\":{\"type\":\"text\"},\"suffix\":null,\"max_tokens\":4}");

        assertEquals(200, answer.status(), answer.body());
    }

    @Test
    void bestOfShowsTheLikeliestChoicesInOrder() {
        String fields = "\"prompt\":\"abc\",\"max_tokens\":6,\"seed\":3,\"ignore_eos\":true,\"logprobs\":0";

        var all = complete(fields + ",\"n\":5");
        var best = complete(fields + ",\"n\":2,\"best_of\":5");

        var means = new TreeMap<Double, String>();
        for (JsonNode choice : all.path("choices")) {
            double sum = 0;
            for (JsonNode logprob : choice.path("logprobs").path("token_logprobs")) {
                sum += logprob.asDouble();
            }
            means.put(-sum, choice.path("text").asText());
        }
        var expected = new ArrayList<>(means.values()).subList(0, 2);
        assertEquals(2, best.path("choices").size());
        for (int i = 0; i < 2; i++) {
            assertEquals(i, best.path("choices").get(i).path("index").asInt());
            assertEquals(
                    expected.get(i), best.path("choices").get(i).path("text").asText());
        }
        assertEquals(30, best.path("usage").path("completion_tokens").asInt());
        assertTrue(best.path("choices").get(0).path("logprobs").isObject());
        var plain = complete("\"prompt\":\"abc\",\"max_tokens\":6,\"seed\":3,\"ignore_eos\":true,\"best_of\":5");
        assertTrue(plain.path("choices").get(0).path("logprobs").isNull());
        assertEquals(expected.getFirst(), text(plain));
    }

    @Test
    void clientMayNameItsAnswer() {
        var answer = complete("\"prompt\":\"abc\",\"request_id\":\"mine-1\"");

        assertEquals("cmpl-mine-1", answer.path("id").asText());
    }

    private static JsonNode complete(String fields) {
        var answer = server.complete("{" + fields + "}");
        assertEquals(200, answer.status(), answer.body());
        return answer.json();
    }

    private static String text(JsonNode answer) {
        return answer.path("choices").get(0).path("text").asText();
    }

    private static String joined(List<JsonNode> chunks) {
        var text = new StringBuilder();
        chunks.forEach(chunk -> text.append(text(chunk)));
        return text.toString();
    }

    private static List<String> finishReasons(List<JsonNode> chunks) {
        return chunks.stream()
                .map(chunk -> chunk.path("choices").get(0).path("finish_reason").asText())
                .toList();
    }

    private static int[] ids(JsonNode array) {
        int[] ids = new int[array.size()];
        for (int i = 0; i < ids.length; i++) {
            ids[i] = array.get(i).asInt();
        }
        return ids;
    }
}
