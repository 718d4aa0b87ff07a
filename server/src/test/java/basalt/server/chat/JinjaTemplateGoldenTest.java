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

    @ParameterizedTest(name = "{0} {1} {2}")
    @MethodSource
    void golden(String template, String chat, boolean opens, JsonNode entry) {
        var messages = new ArrayList<ChatMessage>();
        for (JsonNode message : entry.path("messages")) {
            var role = ChatMessage.Role.valueOf(message.path("role").asText().toUpperCase(Locale.ROOT));
            messages.add(new ChatMessage(role, message.path("content").asText(), Optional.empty()));
        }
        var jinja = template(resource(template));
        var opening = opens ? ChatTemplate.Opening.NEW_MESSAGE : ChatTemplate.Opening.NONE;

        if (entry.has("error")) {
            var thrown = assertThrows(ChatTemplateException.class, () -> jinja.encode(messages, opening, TOKENIZER));
            assertEquals(entry.path("error").asText(), thrown.getMessage());
        } else {
            assertEquals(entry.path("text").asText(), TOKENIZER.decode(jinja.encode(messages, opening, TOKENIZER)));
        }
    }
}
