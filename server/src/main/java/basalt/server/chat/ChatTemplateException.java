package basalt.server.chat;

/** A template cannot render a chat; the message says why, for the client. */
public final class ChatTemplateException extends RuntimeException {
    private static final long serialVersionUID = 1L;

    /** With a sentence for the client. */
    public ChatTemplateException(String message) {
        super(message);
    }
}
