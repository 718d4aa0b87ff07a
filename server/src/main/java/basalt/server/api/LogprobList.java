package basalt.server.api;

import basalt.engine.TokenEvent;
import java.util.Optional;

/** Log-probabilities of tokens, as JSON that grows. Confined to one thread at a time. */
sealed interface LogprobList permits LogprobColumns, LogprobEntries {
    /**
     * Appends one token.
     *
     * @param offset characters of text before it
     */
    void add(int token, long offset, Optional<TokenEvent.Logprobs> logprobs);

    /** Whether there is nothing to move. */
    boolean isEmpty();

    /** Appends the object to {@code out} and empties this. */
    void moveTo(JsonBuffer out);
}
