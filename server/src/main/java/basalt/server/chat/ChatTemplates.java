package basalt.server.chat;

import basalt.engine.EngineException.InvalidCheckpoint;
import basalt.engine.json.JsonFields;
import basalt.engine.model.ModelConfig;
import basalt.engine.text.Tokenizer;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;

/** Finds the chat template of a checkpoint. */
public final class ChatTemplates {
    private static final String CONFIG = "tokenizer_config.json";
    private static final String TEMPLATE = "chat_template";
    private static final List<String> TOKENS = List.of("bos_token", "eos_token", "pad_token", "unk_token");
    private static final long FILE_BYTES_MAX = 8 << 20;
    private static final int TEMPLATE_CHARS_MAX = 128 << 10;

    private ChatTemplates() {}

    /**
     * The template of {@code chat_template.jinja}, else of {@code tokenizer_config.json}, else the plain one.
     *
     * @param directory of the checkpoint
     * @throws InvalidCheckpoint if there is a template and it cannot be rendered
     */
    public static ChatTemplate open(Path directory, ModelConfig model, Optional<Tokenizer> tokenizer) {
        Optional<JsonFields> config = Optional.of(directory.resolve(CONFIG))
                .filter(Files::exists)
                .map(file -> JsonFields.read(file, FILE_BYTES_MAX));
        Path file = directory.resolve("chat_template.jinja");
        Optional<String> source =
                Files.exists(file) ? Optional.of(read(file)) : config.flatMap(ChatTemplates::template);
        if (source.isEmpty() || tokenizer.isEmpty()) {
            return new PlainTemplate();
        }
        String name = Files.exists(file) ? file.getFileName().toString() : CONFIG + ": " + TEMPLATE;
        return open(name, source.get(), tokens(config), model, tokenizer.get());
    }

    private static ChatTemplate open(
            String name, String source, Map<String, String> tokens, ModelConfig model, Tokenizer tokenizer) {
        if (source.length() > TEMPLATE_CHARS_MAX) {
            throw new InvalidCheckpoint(name + " is longer than " + TEMPLATE_CHARS_MAX + " characters");
        }
        // Chat models end a message with a token of their own, which need not be the end of a document.
        int[] stopTokenIds = Optional.ofNullable(tokens.get("eos_token"))
                .flatMap(tokenizer::specialToken)
                .filter(id -> id != model.endOfSequence())
                .map(id -> new int[] {id})
                .orElse(new int[0]);
        try {
            var template =
                    new JinjaTemplate(source, tokens, stopTokenIds, new SpecialTokens(tokenizer, model.vocabSize()));
            var hello = new ChatMessage(ChatMessage.Role.USER, "Hello", Optional.empty());
            template.encode(List.of(hello), ChatTemplate.Opening.NEW_MESSAGE, tokenizer);
            return template;
        } catch (ChatTemplateException e) {
            throw new InvalidCheckpoint(
                    name + ": " + e.getMessage() + "; correct it, or remove it to chat in the plain form", e);
        }
    }

    private static String read(Path file) {
        try {
            if (Files.size(file) > FILE_BYTES_MAX) {
                throw new InvalidCheckpoint(file.getFileName() + " is larger than " + FILE_BYTES_MAX + " bytes");
            }
            return Files.readString(file);
        } catch (IOException e) {
            throw new InvalidCheckpoint(file.getFileName() + " cannot be read: " + e.getMessage(), e);
        }
    }

    /** A text, or a list of named ones, of which the one named default. */
    private static Optional<String> template(JsonFields config) {
        if (!config.has(TEMPLATE)) {
            return Optional.empty();
        }
        if (config.isText(TEMPLATE)) {
            return config.text(TEMPLATE);
        }
        for (JsonFields entry : config.objects(TEMPLATE)) {
            if (entry.text("name").filter("default"::equals).isPresent()) {
                return entry.text("template");
            }
        }
        throw config.wrong(TEMPLATE, "has none that is named default");
    }

    private static Map<String, String> tokens(Optional<JsonFields> config) {
        var tokens = new HashMap<String, String>();
        config.ifPresent(fields -> TOKENS.stream().filter(fields::has).forEach(name -> {
            Optional<String> text = fields.isText(name)
                    ? fields.text(name)
                    : fields.object(name).flatMap(token -> token.text("content"));
            text.ifPresent(value -> tokens.put(name, value));
        }));
        return tokens;
    }
}
