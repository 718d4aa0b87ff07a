package basalt.server.chat;

import basalt.engine.text.Tokenizer;
import java.util.List;

/** Turns a chat into a prompt. Safe for use by any number of threads. */
public interface ChatTemplate {
    /** Where the answer begins. */
    enum Opening {
        /** After the words or tokens that open an answer of the model. */
        NEW_MESSAGE,
        /** Inside the last message: it is the beginning of an answer, or of a message of which more is to come. */
        LAST_MESSAGE,
        /** After the last message, as if anyone could go on. */
        NONE
    }

    /**
     * Token ids of a chat.
     *
     * @param messages at least one
     * @throws ChatTemplateException if this template cannot render such a chat
     */
    int[] encode(List<ChatMessage> messages, Opening opening, Tokenizer tokenizer);

    /**
     * Token ids of messages that go on with a chat after an answer. They begin with what the template writes behind an
     * answer, such as the token that ends it; whoever knows that it is there already leaves it out.
     *
     * @param messages the new ones
     * @throws ChatTemplateException if this template cannot render such messages
     */
    int[] encodeNext(List<ChatMessage> messages, Opening opening, Tokenizer tokenizer);

    /** Texts that end an answer, beside those that a request names. */
    List<String> stopStrings();

    /** Token ids that end an answer, beside the model's end-of-sequence id and those that a request names. */
    int[] stopTokenIds();
}
