package basalt.engine;

/** Why a choice ended. */
public enum FinishReason {
    /** The model sampled its end-of-sequence id, a stop id, or the text matched a stop string. */
    STOP,
    /** {@code maxTokens} tokens were sampled, or a model with learned positions ran out of them. */
    LENGTH,
    /** The client cancelled, went away, or did not read for longer than {@code slow-reader-timeout}. */
    CANCELLED,
    /** The request's deadline has passed. */
    DEADLINE,
    /** The engine failed; {@link Generation#next} throws the cause. */
    ERROR
}
