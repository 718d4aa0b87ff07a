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
    private static final int PART_COUNT_MAX = 1_024;
    private static final int NAME_LENGTH_MAX = 64;
    /** Of messages that only make sense with tools, functions, or sound. */
    private static final Set<String> UNSUPPORTED =
            Set.of("tool_calls", "tool_call_id", "function_call", "audio", "refusal");

    private final String param;
    private ChatMessage.@Nullable Role role;
    private @Nullable String content;
    private Optional<String> name = Optional.empty();

    private MessageFields(String param) {
        this.param = param;
    }

    /** Reads the array of messages. */
    static List<ChatMessage> messages(JsonReader json) {
        if (!json.isArray()) {
            throw JsonReader.wrongType("messages", "an array of messages");
        }
        var messages = new ArrayList<ChatMessage>();
        while (json.nextElement()) {
            if (messages.size() == MESSAGE_COUNT_MAX) {
                throw JsonReader.tooMany("messages", MESSAGE_COUNT_MAX);
            }
            var fields = new MessageFields("messages[" + messages.size() + "]");
            json.object(fields.param, fields);
            messages.add(fields.message());
        }
        return messages;
    }

    @Override
    public void read(String path, JsonReader json) {
        String field = path.substring(param.length() + 1);
        switch (field) {
            case "role" -> role = role(path, json.text(path));
            case "content" -> content = content(path, json);
            case "name" -> name = Optional.of(name(path, json.text(path)));
            default -> {
                if (UNSUPPORTED.contains(field)) {
                    throw AnswerFields.unsupported(path);
                }
                throw unknown(path, "a message");
            }
        }
    }

    private static ChatMessage.Role role(String path, String role) {
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
        if (name.isEmpty() || name.length() > NAME_LENGTH_MAX || name.chars().anyMatch(Character::isISOControl)) {
            throw JsonReader.outOfBounds(path, "1 to " + NAME_LENGTH_MAX + " characters of one line");
        }
        return name;
    }

    /** A string, or an array of parts, each a line of its own. */
    private static String content(String path, JsonReader json) {
        if (json.isText()) {
            return json.text(path);
        }
        if (!json.isArray()) {
            throw JsonReader.wrongType(path, "a string or an array of parts");
        }
        var texts = new ArrayList<String>();
        while (json.nextElement()) {
            if (texts.size() == PART_COUNT_MAX) {
                throw JsonReader.tooMany(path, PART_COUNT_MAX);
            }
            texts.add(part(path + "[" + texts.size() + "]", json));
        }
        return String.join("\n", texts);
    }

    private static String part(String path, JsonReader json) {
        var text = new StringBuilder();
        var seen = new boolean[1];
        json.object(path, (name, value) -> {
            switch (name.substring(path.length() + 1)) {
                case "type" -> requireText(name, value.text(name));
                case "text" -> {
                    text.append(value.text(name));
                    seen[0] = true;
                }
                // A hint for caches.
                case "prompt_cache_breakpoint" -> value.skip();
                case "image_url", "input_audio", "file", "refusal" -> throw textOnly(name);
                default -> throw unknown(name, "a part");
            }
        });
        if (!seen[0]) {
            throw missing(path + ".text");
        }
        return text.toString();
    }

    private static void requireText(String path, String type) {
        if (!type.equals("text")) {
            throw textOnly(path);
        }
    }

    private static ProblemException textOnly(String path) {
        return AnswerFields.unsupported(path, path + ": the model reads text only; send parts of the type text.");
    }

    private static ProblemException unknown(String path, String owner) {
        return new ProblemException(
                Problem.of(ProblemCode.UNKNOWN_PARAMETER, path, path + " is no field of " + owner + "; leave it out."));
    }

    private static ProblemException missing(String path) {
        return new ProblemException(Problem.of(ProblemCode.MISSING_PARAMETER, path, path + " is missing."));
    }

    private ChatMessage message() {
        if (role == null) {
            throw missing(param + ".role");
        }
        if (content == null) {
            throw missing(param + ".content");
        }
        return new ChatMessage(role, content, name);
    }
}
