package basalt.server;

/**
 * How large a step may be; 0 leaves it to the backend.
 *
 * @param rowsMax sequences that it advances
 * @param chunkTokensMax prompt tokens that it reads
 */
record Steps(int rowsMax, int chunkTokensMax) {
    /** On a CPU, where larger steps are not faster. */
    static final Steps CPU = new Steps(32, 128);

    /** On a GPU: its rate still grows with the batch, and with the tokens of a prompt that it reads at once. */
    static final Steps CUDA = new Steps(512, 2_048);

    /** With another's values where nothing is asked for. */
    Steps or(Steps other) {
        return new Steps(
                rowsMax > 0 ? rowsMax : other.rowsMax, chunkTokensMax > 0 ? chunkTokensMax : other.chunkTokensMax);
    }
}
