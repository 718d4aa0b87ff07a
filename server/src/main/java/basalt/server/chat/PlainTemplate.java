package basalt.server.chat;

import basalt.engine.text.Tokenizer;
import java.util.List;

/**
 * For models that were trained on plain text, which go on with a dialogue that is written out:
 *
 * <pre>{@code
 * What the system says.
 *
 * User: What the user says.
 * Assistant: What the model answered.
 * User: What the user says next.
 * Assistant:
 * }</pre>
 *
 * <p>An answer ends where the model begins to write the user's next line.
 */
public final class PlainTemplate implements ChatTemplate {
    private static final List<String> STOP_STRINGS = List.of("\nUser:");
    private static final int[] NO_TOKENS = {};

    @Override
    public int[] encode(List<ChatMessage> messages, Opening opening, Tokenizer tokenizer) {
        return tokenizer.encode(render(messages, opening));
    }

    /** The answer before ended with the line break that begins a stop string, or where its length was reached. */
    @Override
    public int[] encodeNext(List<ChatMessage> messages, Opening opening, Tokenizer tokenizer) {
        return tokenizer.encode("\n" + render(messages, opening));
    }

    private static String render(List<ChatMessage> messages, Opening opening) {
        var text = new StringBuilder();
        for (ChatMessage message : messages) {
            switch (message.role()) {
                case SYSTEM -> text.append(message.content()).append("\n\n");
                case USER -> line(text, "User", message);
                case ASSISTANT -> line(text, "Assistant", message);
            }
        }
        switch (opening) {
            case NEW_MESSAGE -> text.append("Assistant:");
            case LAST_MESSAGE -> text.setLength(text.length() - (isSystem(messages.getLast()) ? 2 : 1));
            case NONE -> {}
        }
        return text.toString();
    }

    private static boolean isSystem(ChatMessage message) {
        return message.role() == ChatMessage.Role.SYSTEM;
    }

    private static void line(StringBuilder text, String speaker, ChatMessage message) {
        text.append(speaker);
        message.name().ifPresent(name -> text.append(" (").append(name).append(')'));
        text.append(':');
        if (!message.content().startsWith(" ")) { // as an answer does, which comes back as it was given
            text.append(' ');
        }
        text.append(message.content()).append('\n');
    }

    @Override
    public List<String> stopStrings() {
        return STOP_STRINGS;
    }

    @Override
    public int[] stopTokenIds() {
        return NO_TOKENS;
    }
}
