package basalt.server.chat;

import java.util.Optional;

/**
 * One message of a chat.
 *
 * @param role who says it
 * @param content what is said
 * @param name of one of several who have the same role
 */
public record ChatMessage(Role role, String content, Optional<String> name) {

    /** Who says something. */
    public enum Role {
        /** Whoever runs the chat; {@code developer} is another word for it. */
        SYSTEM("system"),
        /** Whoever asks. */
        USER("user"),
        /** The model. */
        ASSISTANT("assistant");

        private final String label;

        Role(String label) {
            this.label = label;
        }

        /** The word of APIs and templates. */
        public String label() {
            return label;
        }
    }
}
