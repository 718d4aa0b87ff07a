package basalt.engine.session;

/**
 * What a journal is, as a fence between processes that write to it. Two versions are equal only if all writes up to
 * them were the same: each write has a name of its own, and none is made onto another version than the one it names. A
 * store that has lost its last writes may come to a number again, but not to the same version.
 *
 * @param number of writes
 * @param writer name of the last write, which no other write has
 */
public record JournalVersion(long number, String writer) {
    /** Of a journal that is not there yet. */
    public static final JournalVersion NONE = new JournalVersion(0, "");

    /** After one write more. */
    public JournalVersion next(String nextWriter) {
        return new JournalVersion(number + 1, nextWriter);
    }
}
