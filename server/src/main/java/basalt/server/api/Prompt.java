package basalt.server.api;

/** One prompt of a request. */
sealed interface Prompt {
    /** To be encoded. */
    record Text(String text) implements Prompt {}

    /** Token ids, each of the vocabulary. */
    record Tokens(int[] ids) implements Prompt {}
}
