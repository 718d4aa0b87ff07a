package basalt.engine.text;

import basalt.engine.EngineException.InvalidRequest;
import java.util.Optional;
import java.util.concurrent.CancellationException;

/**
 * Text to token ids and back. Safe for use by any number of threads.
 */
public interface Tokenizer {
    /**
     * Token ids of a text. Text that looks like a special token is ordinary text.
     *
     * @throws IllegalArgumentException if the text has a lone surrogate
     * @throws CancellationException if the thread is interrupted while a long text is encoded
     * @throws InvalidRequest if a word is too long for this tokenizer
     */
    int[] encode(String text);

    /** UTF-8 bytes of one token, possibly a part of a character; empty for special tokens and ids without bytes. */
    byte[] bytes(int token);

    /** Text of tokens; bytes that are no UTF-8 become U+FFFD. */
    String decode(int[] tokens);

    /** Ids of the vocabulary. */
    int vocabSize();

    /** Id of a special token by its text, such as {@code <|endoftext|>}; a tokenizer may have none. */
    default Optional<Integer> specialToken(String text) {
        return Optional.empty();
    }

    /** Text of a special token by its id. */
    default Optional<String> specialText(int token) {
        return Optional.empty();
    }
}
