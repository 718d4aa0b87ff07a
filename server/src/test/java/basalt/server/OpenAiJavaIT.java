package basalt.server;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.openai.client.OpenAIClient;
import com.openai.client.okhttp.OpenAIOkHttpClient;
import com.openai.core.JsonValue;
import com.openai.core.RequestOptions;
import com.openai.core.http.StreamResponse;
import com.openai.errors.BadRequestException;
import com.openai.errors.NotFoundException;
import com.openai.errors.OpenAIIoException;
import com.openai.errors.RateLimitException;
import com.openai.errors.UnauthorizedException;
import com.openai.helpers.ResponseAccumulator;
import com.openai.models.chat.completions.ChatCompletion;
import com.openai.models.chat.completions.ChatCompletionChunk;
import com.openai.models.chat.completions.ChatCompletionCreateParams;
import com.openai.models.chat.completions.ChatCompletionStreamOptions;
import com.openai.models.completions.Completion;
import com.openai.models.completions.CompletionChoice;
import com.openai.models.completions.CompletionCreateParams;
import com.openai.models.responses.Response;
import com.openai.models.responses.ResponseCreateParams;
import com.openai.models.responses.ResponseStatus;
import com.openai.models.responses.ResponseStreamEvent;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;

/** OpenAI's own client in Java, unchanged; it checks every answer against the classes of its API. */
class OpenAiJavaIT {
    private static ClientServer server;
    private static OpenAIClient client;

    @BeforeAll
    static void start() {
        server = new ClientServer();
        client = client(ClientServer.KEY);
    }

    private static OpenAIClient client(String key) {
        return OpenAIOkHttpClient.builder()
                .baseUrl(server.url())
                .apiKey(key)
                .maxRetries(0)
                .responseValidation(true)
                .timeout(Duration.ofSeconds(60))
                .build();
    }

    @AfterAll
    static void stop() {
        client.close();
        server.close();
    }

    @SuppressWarnings("deprecation") // OpenAI would rather have no seeds
    private static ChatCompletionCreateParams.Builder chat(long seed) {
        return ChatCompletionCreateParams.builder()
                .model(ClientServer.MODEL)
                .addSystemMessage("A talk about the sea.")
                .addUserMessage("Tell me of the ship.")
                .maxCompletionTokens(24)
                .seed(seed)
                .putAdditionalBodyProperty("ignore_eos", JsonValue.from(true));
    }

    private static ChatCompletionCreateParams.Builder chat() {
        return chat(7);
    }

    private static CompletionCreateParams.Builder completion() {
        return CompletionCreateParams.builder()
                .model(ClientServer.MODEL)
                .prompt("Once upon a time")
                .maxTokens(24)
                .seed(7)
                .putAdditionalBodyProperty("ignore_eos", JsonValue.from(true));
    }

    private static String content(ChatCompletion answer) {
        return answer.choices().getFirst().message().content().orElseThrow();
    }

    @Test
    void listsTheModel() {
        assertEquals(
                ClientServer.MODEL, client.models().list().data().getFirst().id());
        assertEquals(
                ClientServer.MODEL, client.models().retrieve(ClientServer.MODEL).id());
    }

    @Test
    void completes() {
        Completion answer = client.completions().create(completion().build());

        assertFalse(answer.choices().getFirst().text().isBlank());
        assertEquals(
                CompletionChoice.FinishReason.LENGTH,
                answer.choices().getFirst().finishReason());
        assertEquals(24, answer.usage().orElseThrow().completionTokens());
    }

    /** The client knows no chunk without a reason to finish, which OpenAI sends; so it cannot check these. */
    @Test
    void streamsACompletion() {
        String whole = client.completions()
                .create(completion().build())
                .choices()
                .getFirst()
                .text();
        var text = new StringBuilder();

        OpenAIClient lenient = client.withOptions(options -> options.responseValidation(false));
        try (StreamResponse<Completion> stream =
                lenient.completions().createStreaming(completion().build())) {
            stream.stream().forEach(chunk -> chunk.choices().forEach(choice -> text.append(choice.text())));
        }

        assertEquals(whole, text.toString());
    }

    @Test
    void chats() {
        ChatCompletion answer = client.chat().completions().create(chat().build());

        assertFalse(content(answer).isBlank());
        assertEquals(
                ChatCompletion.Choice.FinishReason.LENGTH,
                answer.choices().getFirst().finishReason());
        assertEquals(24, answer.usage().orElseThrow().completionTokens());
    }

    @Test
    void streamsAChat() {
        String whole = content(client.chat().completions().create(chat().build()));
        var params = chat().streamOptions(
                        ChatCompletionStreamOptions.builder().includeUsage(true).build())
                .build();
        List<ChatCompletionChunk> chunks;

        try (StreamResponse<ChatCompletionChunk> stream =
                client.chat().completions().createStreaming(params)) {
            chunks = stream.stream().toList();
        }

        var text = new StringBuilder();
        chunks.forEach(chunk ->
                chunk.choices().forEach(choice -> choice.delta().content().ifPresent(text::append)));
        assertEquals(whole, text.toString());
        assertEquals(24, chunks.getLast().usage().orElseThrow().completionTokens());
        assertTrue(chunks.getFirst().choices().getFirst().delta().role().isPresent());
    }

    @Test
    void tellsLogprobs() {
        var answer = client.chat()
                .completions()
                .create(chat().logprobs(true).topLogprobs(3).build());

        var entries =
                answer.choices().getFirst().logprobs().orElseThrow().content().orElseThrow();
        assertEquals(24, entries.size());
        assertTrue(entries.stream().allMatch(entry -> entry.topLogprobs().size() == 3 && entry.logprob() <= 0));
        var columns = client.completions()
                .create(completion().logprobs(2).build())
                .choices()
                .getFirst()
                .logprobs()
                .orElseThrow();
        assertEquals(24, columns.tokenLogprobs().orElseThrow().size());
    }

    @Test
    void choosesSeveral() {
        var answer = client.chat().completions().create(chat().n(3).build());

        assertEquals(
                3,
                answer.choices().stream()
                        .map(choice -> choice.message().content().orElseThrow())
                        .distinct()
                        .count());
        var best = client.completions().create(completion().n(1).bestOf(3).build());
        assertEquals(1, best.choices().size());
    }

    @Test
    void stopsAtAText() {
        String whole = content(client.chat().completions().create(chat().build()));
        String stop = whole.strip().split(" ", -1)[2];

        var answer = client.chat().completions().create(chat().stop(stop).build());

        assertEquals(whole.substring(0, whole.indexOf(stop)), content(answer));
        assertEquals(
                ChatCompletion.Choice.FinishReason.STOP,
                answer.choices().getFirst().finishReason());
    }

    @Test
    void repeatsByItsSeed() {
        String first = content(client.chat().completions().create(chat().build()));

        assertEquals(first, content(client.chat().completions().create(chat().build())));
        assertNotEquals(first, content(client.chat().completions().create(chat(8).build())));
    }

    @Test
    void badRequestIsItsException() {
        var params = chat().putAdditionalBodyProperty("tools", JsonValue.from(List.of()))
                .build();

        var thrown = assertThrows(
                BadRequestException.class, () -> client.chat().completions().create(params));

        assertEquals("tools", thrown.param().orElseThrow());
        assertEquals("unsupported_parameter", thrown.code().orElseThrow());
        assertEquals("invalid_request_error", thrown.type().orElseThrow());
    }

    @Test
    void wrongKeyIsItsException() {
        OpenAIClient stranger = client("wrong");

        assertThrows(
                UnauthorizedException.class, () -> stranger.chat().completions().create(chat().build()));
        stranger.close();
    }

    @Test
    void otherModelIsItsException() {
        var thrown = assertThrows(
                NotFoundException.class,
                () -> client.chat().completions().create(chat().model("gpt-4").build()));

        assertEquals("model_not_found", thrown.code().orElseThrow());
    }

    @Test
    void fullQueueIsItsException() {
        try (var _ = server.occupy()) {
            var thrown = assertThrows(
                    RateLimitException.class, () -> client.chat().completions().create(chat().build()));

            assertEquals("queue_full", thrown.code().orElseThrow());
            assertTrue(Integer.parseInt(thrown.headers().values("Retry-After").getFirst()) >= 1);
        }
        server.awaitFree();
    }

    @Test
    void closedStreamFreesItsSlot() {
        try (StreamResponse<ChatCompletionChunk> stream = client.chat()
                .completions()
                .createStreaming(chat().maxCompletionTokens(1_000_000).build())) {
            assertEquals(3, stream.stream().limit(3).count());
            server.awaitBusy(1, 0);
        }

        server.awaitFree();
    }

    @Test
    void requestGivenUpFreesItsSlot() {
        var options = RequestOptions.builder().timeout(Duration.ofSeconds(2)).build();
        var params = chat().maxCompletionTokens(1_000_000).build();

        assertThrows(OpenAIIoException.class, () -> client.chat().completions().create(params, options));

        server.awaitFree();
    }

    private static ResponseCreateParams.Builder response() {
        return ResponseCreateParams.builder()
                .model(ClientServer.MODEL)
                .instructions("A talk about the sea.")
                .input("Tell me of the ship.")
                .maxOutputTokens(24)
                .putAdditionalBodyProperty("seed", JsonValue.from(7))
                .putAdditionalBodyProperty("ignore_eos", JsonValue.from(true));
    }

    private static String text(Response response) {
        return response.output()
                .getFirst()
                .asMessage()
                .content()
                .getFirst()
                .asOutputText()
                .text();
    }

    @Test
    void respondsAndIsFollowed() {
        Response first = client.responses().create(response().build());

        assertEquals(content(client.chat().completions().create(chat().build())), text(first));
        assertEquals(ResponseStatus.INCOMPLETE, first.status().orElseThrow());
        assertEquals(24, first.usage().orElseThrow().outputTokens());
        Response second = client.responses()
                .create(response().previousResponseId(first.id()).build());
        Response again = client.responses()
                .create(response().previousResponseId(first.id()).build());
        assertEquals(text(second), text(again));
        assertTrue(second.usage().orElseThrow().inputTokensDetails().cachedTokens() > 24);
        assertEquals(text(second), text(client.responses().retrieve(second.id())));
        client.responses().delete(second.id());
        assertThrows(NotFoundException.class, () -> client.responses().retrieve(second.id()));
        assertEquals(text(again), text(client.responses().retrieve(again.id())));
    }

    @Test
    void streamsAResponse() {
        Response whole = client.responses().create(response().build());
        var text = new StringBuilder();
        var accumulator = ResponseAccumulator.create();

        try (StreamResponse<ResponseStreamEvent> stream =
                client.responses().createStreaming(response().build())) {
            stream.stream()
                    .peek(accumulator::accumulate)
                    .forEach(event -> event.outputTextDelta().ifPresent(delta -> text.append(delta.delta())));
        }

        assertEquals(text(whole), text.toString());
        assertEquals(text(whole), text(accumulator.response()));
        assertEquals(whole.usage(), accumulator.response().usage());
    }

    @Test
    void responseThatCannotWorkIsItsException() {
        var params = response()
                .putAdditionalBodyProperty("reasoning", JsonValue.from(Map.of("effort", "low")))
                .build();

        var thrown =
                assertThrows(BadRequestException.class, () -> client.responses().create(params));

        assertEquals("reasoning", thrown.param().orElseThrow());
    }
}
