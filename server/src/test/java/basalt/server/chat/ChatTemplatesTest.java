package basalt.server.chat;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import basalt.engine.EngineException.InvalidCheckpoint;
import basalt.engine.backend.fake.FakeBackend;
import basalt.engine.model.ModelConfig;
import basalt.server.fixture.WordTokenizer;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Optional;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class ChatTemplatesTest {
    private static final WordTokenizer TOKENIZER = new WordTokenizer(300);

    @TempDir
    private Path directory;

    private ChatTemplate open() {
        return open(WordTokenizer.END_OF_TEXT);
    }

    private ChatTemplate open(int endOfSequence) {
        ModelConfig model = FakeBackend.modelConfig(300, 0, endOfSequence);
        return ChatTemplates.open(directory, model, Optional.of(TOKENIZER));
    }

    private void write(String file, String text) throws IOException {
        Files.writeString(directory.resolve(file), text);
    }

    private static String text(ChatTemplate template) {
        var message = new ChatMessage(ChatMessage.Role.USER, "a", Optional.empty());
        return TOKENIZER.decode(template.encode(List.of(message), ChatTemplate.Opening.NEW_MESSAGE, TOKENIZER));
    }

    @Test
    void plainFormIsForCheckpointsWithoutTemplate() throws IOException {
        assertEquals("User: a\nAssistant:", text(open()));
        write("tokenizer_config.json", "{\"eos_token\":\"<|endoftext|>\",\"chat_template\":null}");
        assertEquals("User: a\nAssistant:", text(open()));
        assertEquals(List.of("\nUser:"), open().stopStrings());
    }

    @Test
    void plainFormRepeatsAnAnswerAsItWasGiven() {
        for (String answer : List.of(" b", "b")) {
            var messages = List.of(
                    new ChatMessage(ChatMessage.Role.USER, "a", Optional.empty()),
                    new ChatMessage(ChatMessage.Role.ASSISTANT, answer, Optional.empty()),
                    new ChatMessage(ChatMessage.Role.USER, "c", Optional.empty()));

            int[] tokens = open().encode(messages, ChatTemplate.Opening.NEW_MESSAGE, TOKENIZER);

            assertEquals("User: a\nAssistant: b\nUser: c\nAssistant:", TOKENIZER.decode(tokens));
        }
    }

    @Test
    void fileOfItsOwnComesFirst() throws IOException {
        write("tokenizer_config.json", "{\"bos_token\":\"B\",\"chat_template\":\"{{ bos_token }}1\"}");
        assertEquals("B1", text(open()));
        write("chat_template.jinja", "{{ bos_token }}2\n");
        assertEquals("B2", text(open()));
        assertEquals(List.of(), open().stopStrings());
    }

    @Test
    void defaultIsTakenOfSeveral() throws IOException {
        write(
                "tokenizer_config.json",
                "{\"bos_token\":{\"content\":\"C\"},\"chat_template\":[{\"name\":\"tool_use\",\"template\":\"1\"},"
                        + "{\"name\":\"default\",\"template\":\"{{ bos_token }}2\"}]}");

        assertEquals("C2", text(open()));
    }

    @Test
    void endOfAMessageEndsTheAnswer() throws IOException {
        write("tokenizer_config.json", "{\"eos_token\":\"<|endoftext|>\",\"chat_template\":\"x\"}");

        assertArrayEquals(new int[] {WordTokenizer.END_OF_TEXT}, open(7).stopTokenIds());
        assertArrayEquals(new int[0], open(WordTokenizer.END_OF_TEXT).stopTokenIds());
    }

    @ParameterizedTest
    @ValueSource(
            strings = {
                "{\"chat_template\":\"{% for %}\"}",
                "{\"chat_template\":\"{{ a | nosuchfilter }}\"}",
                "{\"chat_template\":7}",
                "{\"chat_template\":[]}",
                "{\"chat_template\":[{\"name\":\"rag\",\"template\":\"x\"}]}",
                "{\"chat_template\":\"x\",\"eos_token\":5}",
                "{\"chat_template\":"
            })
    void damagedTemplateStopsTheStart(String config) throws IOException {
        write("tokenizer_config.json", config);

        String message =
                String.valueOf(assertThrows(InvalidCheckpoint.class, this::open).getMessage());

        assertTrue(message.startsWith("tokenizer_config.json"), message);
    }
}
