package basalt.bench;

import java.util.Arrays;
import java.util.concurrent.locks.ReentrantLock;

/** A session and what its client knows of it. Use only when holding its lock. */
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

    /** The prompt of a turn that is committed or not, as far as the client knows; none is empty. */
    int[] unsure() {
        return unsure;
    }

    void unsure(int... prompt) {
        unsure = prompt;
    }
}
