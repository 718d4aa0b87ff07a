package basalt.server;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.langchain4j.data.message.SystemMessage;
import dev.langchain4j.data.message.UserMessage;
import dev.langchain4j.exception.AuthenticationException;
import dev.langchain4j.exception.InvalidRequestException;
import dev.langchain4j.exception.ModelNotFoundException;
import dev.langchain4j.exception.RateLimitException;
import dev.langchain4j.model.chat.response.ChatResponse;
import dev.langchain4j.model.chat.response.PartialResponse;
import dev.langchain4j.model.chat.response.PartialResponseContext;
import dev.langchain4j.model.chat.response.StreamingChatResponseHandler;
import dev.langchain4j.model.openai.OpenAiChatModel;
import dev.langchain4j.model.openai.OpenAiChatResponseMetadata;
import dev.langchain4j.model.openai.OpenAiLanguageModel;
import dev.langchain4j.model.openai.OpenAiStreamingChatModel;
import dev.langchain4j.model.output.FinishReason;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;

/** LangChain4j's client of OpenAI's API, unchanged. It takes one choice only, so {@code n} is not for it. */
class Langchain4jIT {
    private static final Map<String, Object> GOES_ON = Map.of("ignore_eos", true);
    private static final long PATIENCE_SECONDS = 60;
    private static ClientServer server;

    @BeforeAll
    static void start() {
        server = new ClientServer();
    }

    @AfterAll
    static void stop() {
        server.close();
    }

    private static OpenAiChatModel.OpenAiChatModelBuilder chat() {
        return OpenAiChatModel.builder()
                .baseUrl(server.url())
                .apiKey(ClientServer.KEY)
                .modelName(ClientServer.MODEL)
                .maxRetries(0)
                .maxTokens(24)
                .seed(7)
                .customParameters(GOES_ON);
    }

    private static OpenAiStreamingChatModel.OpenAiStreamingChatModelBuilder stream() {
        return OpenAiStreamingChatModel.builder()
                .baseUrl(server.url())
                .apiKey(ClientServer.KEY)
                .modelName(ClientServer.MODEL)
                .maxTokens(24)
                .seed(7)
                .customParameters(GOES_ON);
    }

    private static ChatResponse ask(OpenAiChatModel model) {
        return model.chat(SystemMessage.from("A talk about the sea."), UserMessage.from("Tell me of the ship."));
    }

    private static String text(OpenAiChatModel model) {
        return ask(model).aiMessage().text();
    }

    /** What a stream brought, or how it failed. */
    private static class Listener implements StreamingChatResponseHandler {
        final CompletableFuture<ChatResponse> end = new CompletableFuture<>();
        final StringBuilder partial = new StringBuilder();

        @Override
        public void onPartialResponse(String text) {
            partial.append(text);
        }

        @Override
        public void onCompleteResponse(ChatResponse response) {
            end.complete(response);
        }

        @Override
        public void onError(Throwable error) {
            end.completeExceptionally(error);
        }
    }

    @Test
    void chats() {
        ChatResponse answer = ask(chat().build());

        assertFalse(answer.aiMessage().text().isBlank());
        assertEquals(FinishReason.LENGTH, answer.finishReason());
        assertEquals(24, answer.tokenUsage().outputTokenCount());
        assertEquals(ClientServer.MODEL, answer.modelName());
    }

    @Test
    void streamsAChat() throws Exception {
        String whole = text(chat().build());
        var listener = new Listener();

        stream()
                .build()
                .chat(
                        List.of(SystemMessage.from("A talk about the sea."), UserMessage.from("Tell me of the ship.")),
                        listener);

        ChatResponse answer = listener.end.get(PATIENCE_SECONDS, TimeUnit.SECONDS);
        assertEquals(whole, listener.partial.toString());
        assertEquals(whole, answer.aiMessage().text());
        assertEquals(24, answer.tokenUsage().outputTokenCount());
        assertEquals(FinishReason.LENGTH, answer.finishReason());
    }

    @Test
    void completes() {
        var model = OpenAiLanguageModel.builder()
                .baseUrl(server.url())
                .apiKey(ClientServer.KEY)
                .modelName(ClientServer.MODEL)
                .temperature(0.0)
                .build();

        String expected = server.text("\"prompt\":\"Once upon a time\",\"temperature\":0");
        assertEquals(expected, model.generate("Once upon a time").content());
    }

    @Test
    void tellsLogprobs() {
        ChatResponse answer = ask(chat().logprobs(true).topLogprobs(2).build());

        var metadata = assertInstanceOf(OpenAiChatResponseMetadata.class, answer.metadata());
        assertEquals(24, metadata.logProbs().size());
        assertTrue(metadata.logProbs().stream()
                .allMatch(entry -> entry.topLogprobs().size() == 2));
    }

    @Test
    void stopsAtAText() {
        String whole = text(chat().build());
        String stop = whole.strip().split(" ", -1)[2];

        ChatResponse answer = ask(chat().stop(List.of(stop)).build());

        assertEquals(whole.substring(0, whole.indexOf(stop)), answer.aiMessage().text());
        assertEquals(FinishReason.STOP, answer.finishReason());
    }

    @Test
    void repeatsByItsSeed() {
        assertEquals(text(chat().build()), text(chat().build()));
        assertNotEquals(text(chat().build()), text(chat().seed(8).build()));
    }

    @Test
    void badRequestIsItsException() {
        var model = chat().reasoningEffort("low").build();

        var thrown = assertThrows(InvalidRequestException.class, () -> ask(model));

        assertTrue(String.valueOf(thrown.getMessage()).contains("reasoning_effort"), thrown.getMessage());
    }

    @Test
    void wrongKeyIsItsException() {
        assertThrows(
                AuthenticationException.class, () -> ask(chat().apiKey("wrong").build()));
    }

    @Test
    void otherModelIsItsException() {
        assertThrows(
                ModelNotFoundException.class,
                () -> ask(chat().modelName("gpt-4").build()));
    }

    @Test
    void fullQueueIsItsException() {
        try (var _ = server.occupy()) {
            assertThrows(RateLimitException.class, () -> ask(chat().build()));
        }
        server.awaitFree();
    }

    @Test
    void cancelledStreamFreesItsSlot() {
        var isSeen = new AtomicBoolean();
        var listener = new Listener() {
            @Override
            public void onPartialResponse(PartialResponse response, PartialResponseContext context) {
                partial.append(response.text());
                if (partial.length() > 20 && isSeen.get()) {
                    context.streamingHandle().cancel();
                }
            }
        };

        stream().maxTokens(1_000_000).build().chat("Tell me of the ship.", listener);
        server.awaitBusy(1, 0);
        isSeen.set(true);

        server.awaitFree();
        assertFalse(listener.end.isDone());
    }
}
