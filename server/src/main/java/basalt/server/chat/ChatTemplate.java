package basalt.server.chat;

import basalt.engine.text.Tokenizer;
import java.util.List;

/** Turns a chat into a prompt. Safe for use by any number of threads. */
public interface ChatTemplate {
    /** Where the answer begins. */
    enum Opening {
        /** After the words or tokens that open an answer of the model. */
        NEW_MESSAGE,
        /** Inside the last message, which is the beginning of the answer. */
        LAST_MESSAGE,
        /** After the last message, as if anyone could go on. */
        NONE
    }

    /**
     * Token ids of a chat.
     *
     * @param messages at least one; the last one is the model's if the opening is {@link Opening#LAST_MESSAGE}
     * @throws ChatTemplateException if this template cannot render such a chat
     */
    int[] encode(List<ChatMessage> messages, Opening opening, Tokenizer tokenizer);

    /**
     * Token ids of messages that go on with a chat whose last answer has ended, with the token that ended it.
     *
     * @param messages the new ones
     * @throws ChatTemplateException if this template cannot render such messages
     */
    default int[] encodeNext(List<ChatMessage> messages, Opening opening, Tokenizer tokenizer) {
        return encode(messages, opening, tokenizer);
    }

    /** Texts that end an answer, beside those that a request names. */
    List<String> stopStrings();

    /** Token ids that end an answer, beside the model's end-of-sequence id and those that a request names. */
    int[] stopTokenIds();
}
