package basalt.server.chat;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import basalt.engine.text.Tokenizer;
import basalt.server.fixture.WordTokenizer;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Objects;
import java.util.Optional;
import java.util.stream.Stream;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;

/** Templates of well-known models, rendered as Python's Jinja renders them; {@code remake.py} beside them says how. */
class JinjaTemplateGoldenTest {
    private static final Tokenizer TOKENIZER = new WordTokenizer(300);

    static Stream<Arguments> golden() {
        var entries = new ArrayList<Arguments>();
        try {
            for (JsonNode entry : new ObjectMapper().readTree(resource("golden.json"))) {
                entries.add(Arguments.of(
                        entry.path("template").asText(),
                        entry.path("chat").asText(),
                        entry.path("opens").asBoolean(),
                        entry));
            }
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
        return entries.stream();
    }

    static String resource(String name) {
        try (InputStream in =
                Objects.requireNonNull(JinjaTemplateGoldenTest.class.getResourceAsStream("/chat/" + name), name)) {
            return new String(in.readAllBytes(), StandardCharsets.UTF_8);
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    static JinjaTemplate template(String source) {
        return new JinjaTemplate(
                source,
                Map.of("bos_token", "<s>", "eos_token", "</s>"),
                new int[0],
                new SpecialTokens(TOKENIZER, TOKENIZER.vocabSize()));
    }

    private static List<ChatMessage> messages(JsonNode entry) {
        var messages = new ArrayList<ChatMessage>();
        for (JsonNode message : entry.path("messages")) {
            var role = ChatMessage.Role.valueOf(message.path("role").asText().toUpperCase(Locale.ROOT));
            messages.add(new ChatMessage(role, message.path("content").asText(), Optional.empty()));
        }
        return messages;
    }

    @ParameterizedTest(name = "{0} {1} {2}")
    @MethodSource
    void golden(String template, String chat, boolean opens, JsonNode entry) {
        var messages = messages(entry);
        var jinja = template(resource(template));
        var opening = opens ? ChatTemplate.Opening.NEW_MESSAGE : ChatTemplate.Opening.NONE;

        if (entry.has("error")) {
            var thrown = assertThrows(ChatTemplateException.class, () -> jinja.encode(messages, opening, TOKENIZER));
            assertEquals(entry.path("error").asText(), thrown.getMessage());
        } else {
            assertEquals(entry.path("text").asText(), TOKENIZER.decode(jinja.encode(messages, opening, TOKENIZER)));
        }
    }

    /** Chats that end with a question after an answer; that of the macros writes the whole past into each turn. */
    static Stream<Arguments> turns() {
        return golden().filter(entry -> {
            var fields = (JsonNode) Objects.requireNonNull(entry.get()[3]);
            return fields.path("chat").asText().equals("turns")
                    && fields.path("opens").asBoolean()
                    && !fields.has("error")
                    && !fields.path("template").asText().startsWith("macros");
        });
    }

    /** A session's turns add up to what the template makes of the whole chat. */
    @ParameterizedTest(name = "{0} {1}")
    @MethodSource("turns")
    void nextTurnIsWhatTheWholeChatHasBehindTheAnswer(String template, String chat, boolean opens, JsonNode entry) {
        var messages = messages(entry);
        var jinja = template(resource(template));
        int last = messages.size() - 1;

        int[] next = jinja.encodeNext(messages.subList(last, last + 1), ChatTemplate.Opening.NEW_MESSAGE, TOKENIZER);

        String whole = entry.path("text").asText();
        String said = messages.get(last - 1).content();
        String answer = whole.contains(said) ? said : said.strip();
        assertEquals(whole.substring(whole.lastIndexOf(answer) + answer.length()), TOKENIZER.decode(next));
    }
}
