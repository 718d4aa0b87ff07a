package basalt.engine.schedule;

import basalt.engine.state.PrefixCache;
import basalt.engine.state.StateImage;

/**
 * At which tokens of a prompt its state is kept for other prompts that begin so: at its end, at even distances before,
 * and where it parts from a prompt that was kept before. Confined to the engine thread after construction.
 */
final class PrefixPlan {
    /** Beginnings shorter than this are read faster than they are worth, and distances are multiples of it. */
    static final int INTERVAL = 256;
    /** A long prompt is kept at so many places at most, so that it does not fill the cache alone. */
    static final int SNAPSHOTS_MAX = 8;

    /** Less in common is by chance. */
    private static final int SHARED_MIN = 64;

    private final PrefixCache cache;
    private final String scope;
    private final int[] prompt;
    private final int end;
    private final int interval;
    private final int sharedCount; // tokens that another prompt begins with, too
    private int due; // the token count of the next snapshot; beyond the end if there is none
    private volatile int writtenCount;

    /**
     * A plan.
     *
     * @param from tokens of the prompt that are read already
     * @param end tokens that one state reads before choices part
     */
    PrefixPlan(PrefixCache cache, String scope, int[] prompt, int from, int end) {
        this.cache = cache;
        this.scope = scope;
        this.prompt = prompt;
        this.end = end;
        interval = INTERVAL * Math.ceilDiv(end, INTERVAL * SNAPSHOTS_MAX);
        sharedCount = cache.sharedCount(scope, prompt);
        due = end < INTERVAL ? Integer.MAX_VALUE : next(from);
    }

    private int next(int from) {
        if (from >= end) {
            return Integer.MAX_VALUE;
        }
        int next = (from / interval + 1) * interval;
        if (next > end - INTERVAL / 2) {
            next = end; // the last two would be nearly the same
        }
        return sharedCount >= SHARED_MIN && sharedCount > from && sharedCount < next ? sharedCount : next;
    }

    /** Where the chunk that begins at {@code from} has to end. */
    int chunkEnd(int from, int to) {
        return due > from && due < to ? due : to;
    }

    /** Whether the state is to be kept before anything more is read. */
    boolean isDue(int prefillCount) {
        return prefillCount == due;
    }

    /** Keeps the state. */
    void keep(StateImage image) {
        cache.put(scope, prompt, image);
        writtenCount = (int) image.tokenCount();
        due = next(due);
    }

    /** Tokens of the longest beginning that was kept. May be asked by any thread. */
    int writtenCount() {
        return writtenCount;
    }
}
