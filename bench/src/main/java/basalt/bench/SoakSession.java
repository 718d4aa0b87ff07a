package basalt.bench;

import java.util.Arrays;
import java.util.concurrent.locks.ReentrantLock;

/** A session and what its clients know of it. Those that may meet in it hold its lock. */
final class SoakSession {
    final ReentrantLock lock = new ReentrantLock();
    final String id;
    private int[] tokens = {};
    private int[] unsure = {}; // a prompt whose answer was lost with the server

    SoakSession(String id) {
        this.id = id;
    }

    /** All tokens of the turns that were answered. */
    int[] tokens() {
        return tokens;
    }

    void append(int... more) {
        int count = tokens.length;
        tokens = Arrays.copyOf(tokens, count + more.length);
        System.arraycopy(more, 0, tokens, count, more.length);
    }

    /** Notes a turn whose answer will be lost with the server. */
    void cut(int... prompt) {
        unsure = prompt;
    }

    /** The prompt of the turn that was cut, which is committed or not; empty if there is none. */
    int[] unsure() {
        return unsure;
    }

    /** Notes that it is known what became of the turn that was cut. */
    void settled() {
        unsure = new int[0];
    }
}
