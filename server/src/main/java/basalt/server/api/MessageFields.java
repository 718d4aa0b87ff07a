package basalt.server.api;

import basalt.server.chat.ChatMessage;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.Set;
import org.jspecify.annotations.Nullable;

/** Collects the fields of one message of a chat. */
final class MessageFields implements JsonReader.FieldReader {
    private static final int MESSAGE_COUNT_MAX = 4_096;
    private static final int NAME_LENGTH_MAX = 64;
    /** Of messages that only make sense with tools, functions, or sound. */
    private static final Set<String> UNSUPPORTED =
            Set.of("tool_calls", "tool_call_id", "function_call", "audio", "refusal");

    private static final Set<String> TYPES = Set.of("text");

    private final String param;
    private ChatMessage.@Nullable Role role;
    private @Nullable ContentParts content;
    private Optional<String> name = Optional.empty();

    private MessageFields(String param) {
        this.param = param;
    }

    /** Reads the array of messages. */
    static ChatInput messages(JsonReader json) {
        if (!json.isArray()) {
            throw JsonReader.wrongType("messages", "an array of messages");
        }
        var messages = new ArrayList<ChatMessage>();
        var beginnings = new ArrayList<ChatInput.Beginning>();
        while (json.nextElement()) {
            if (messages.size() == MESSAGE_COUNT_MAX) {
                throw JsonReader.tooMany("messages", MESSAGE_COUNT_MAX);
            }
            var fields = new MessageFields("messages[" + messages.size() + "]");
            json.object(fields.param, fields);
            fields.addTo(messages, beginnings);
        }
        return new ChatInput(messages, beginnings);
    }

    @Override
    public void read(String path, JsonReader json) {
        String field = path.substring(param.length() + 1);
        switch (field) {
            case "role" -> role = role(path, json.text(path));
            case "content" -> content = ContentParts.read(path, json, TYPES, Set.of());
            case "name" -> name = Optional.of(name(path, json.text(path)));
            default -> {
                if (UNSUPPORTED.contains(field)) {
                    throw AnswerFields.unsupported(path);
                }
                throw unknown(path, "a message");
            }
        }
    }

    static ChatMessage.Role role(String path, String role) {
        return switch (role) {
            case "system", "developer" -> ChatMessage.Role.SYSTEM;
            case "user" -> ChatMessage.Role.USER;
            case "assistant" -> ChatMessage.Role.ASSISTANT;
            case "tool", "function" ->
                throw AnswerFields.unsupported(path, path + " is " + role + ", and tools are not supported.");
            default -> throw JsonReader.outOfBounds(path, "system, developer, user or assistant");
        };
    }

    private static String name(String path, String name) {
        int length = name.codePointCount(0, name.length());
        if (length == 0 || length > NAME_LENGTH_MAX || name.chars().anyMatch(Character::isISOControl)) {
            throw JsonReader.outOfBounds(path, "1 to " + NAME_LENGTH_MAX + " characters of one line");
        }
        return name;
    }

    static ProblemException unknown(String path, String owner) {
        return new ProblemException(
                Problem.of(ProblemCode.UNKNOWN_PARAMETER, path, path + " is no field of " + owner + "; leave it out."));
    }

    static ProblemException missing(String path) {
        return new ProblemException(Problem.of(ProblemCode.MISSING_PARAMETER, path, path + " is missing."));
    }

    private void addTo(List<ChatMessage> messages, List<ChatInput.Beginning> beginnings) {
        var speaker = role;
        var said = content;
        if (speaker == null) {
            throw missing(param + ".role");
        }
        if (said == null) {
            throw missing(param + ".content");
        }
        add(new ChatMessage(speaker, said.text(), name), said.cuts(), messages, beginnings);
    }

    /** Adds a message, and where its breakpoints are. */
    static void add(
            ChatMessage message, List<Integer> cuts, List<ChatMessage> messages, List<ChatInput.Beginning> beginnings) {
        for (int length : cuts) {
            beginnings.add(new ChatInput.Beginning(messages.size(), length));
        }
        messages.add(message);
    }
}
