package basalt.server.api;

import basalt.server.chat.ChatMessage;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.Set;
import org.jspecify.annotations.Nullable;

/** Reads the {@code input} of a {@code POST /v1/responses}: a text of the user, or messages. */
final class ResponseItems implements JsonReader.FieldReader {
    private static final int ITEM_COUNT_MAX = 4_096;
    private static final Set<String> TYPES = Set.of("input_text", "output_text", "text");
    /** An answer that comes back has them. */
    private static final Set<String> IDLE = Set.of("annotations", "logprobs");

    private final String param;
    private ChatMessage.@Nullable Role role;
    private @Nullable ContentParts content;

    private ResponseItems(String param) {
        this.param = param;
    }

    static ChatInput all(String param, JsonReader json) {
        if (json.isText()) {
            var message = new ChatMessage(ChatMessage.Role.USER, json.text(param), Optional.empty());
            return new ChatInput(List.of(message), List.of());
        }
        if (!json.isArray()) {
            throw JsonReader.wrongType(param, "a string or an array of messages");
        }
        var messages = new ArrayList<ChatMessage>();
        var beginnings = new ArrayList<ChatInput.Beginning>();
        while (json.nextElement()) {
            if (messages.size() == ITEM_COUNT_MAX) {
                throw JsonReader.tooMany(param, ITEM_COUNT_MAX);
            }
            var item = new ResponseItems(param + "[" + messages.size() + "]");
            json.object(item.param, item);
            item.addTo(messages, beginnings);
        }
        return new ChatInput(messages, beginnings);
    }

    @Override
    public void read(String path, JsonReader json) {
        switch (path.substring(param.length() + 1)) {
            case "type" -> requireMessage(path, json.text(path));
            case "role" -> role = MessageFields.role(path, json.text(path));
            case "content" -> content = ContentParts.read(path, json, TYPES, IDLE);
            // An answer that comes back has them.
            case "id", "status", "phase" -> json.text(path);
            default -> throw MessageFields.unknown(path, "a message");
        }
    }

    private static void requireMessage(String path, String type) {
        if (!type.equals("message")) {
            throw AnswerFields.unsupported(path, path + " is " + type + ", and the model reads messages of text only.");
        }
    }

    private void addTo(List<ChatMessage> messages, List<ChatInput.Beginning> beginnings) {
        var speaker = role;
        var said = content;
        if (speaker == null) {
            throw MessageFields.missing(param + ".role");
        }
        if (said == null) {
            throw MessageFields.missing(param + ".content");
        }
        var message = new ChatMessage(speaker, said.text(), Optional.empty());
        MessageFields.add(message, said.cuts(), messages, beginnings);
    }
}
