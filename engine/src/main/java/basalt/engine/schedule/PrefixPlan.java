package basalt.engine.schedule;

import basalt.engine.state.PrefixUse;
import basalt.engine.state.SavedState;
import basalt.engine.state.StateLayout;
import java.util.concurrent.CompletableFuture;

/**
 * At which tokens of a prompt its state is kept for other prompts that begin so: where the request says so, at its end,
 * at even distances before, and where it parts from a prompt that was kept before. Confined to the engine thread after
 * construction.
 */
final class PrefixPlan {
    /** A long prompt is kept at so many places at most, and at fewer where they would fill half the cache. */
    static final int SNAPSHOTS_MAX = 8;

    /** Less in common is by chance. */
    private static final int SHARED_MIN = 64;

    private final PrefixUse use;
    private final int[] prompt;
    private final int end;
    private final int last; // where it is kept at the latest without being asked for
    private final int unit; // shorter beginnings are read faster than they are worth, and distances are multiples of it
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
    PrefixPlan(PrefixUse use, int[] prompt, int from, int end) {
        this.use = use;
        this.prompt = prompt;
        this.end = end;
        // The same prompt again needs its last token unread, and a state with a fold behind that does not go back.
        boolean goesBack = end < prompt.length || !StateLayout.foldsBetween(end - 1, end);
        last = goesBack ? end : end - 1;
        int snapshots = Math.clamp(use.cache().roomCount() / 2, 1, SNAPSHOTS_MAX);
        unit = use.cache().interval();
        interval = unit * Math.ceilDiv(end, unit * snapshots);
        sharedCount = use.isExplicit() ? 0 : use.cache().sharedCount(use.scope(), prompt);
        due = next(from);
    }

    private int next(int from) {
        int next = nextImplicit(from);
        for (int breakpoint : use.breakpoints()) {
            if (breakpoint > from && breakpoint <= end) {
                next = Math.min(next, breakpoint);
            }
        }
        return next;
    }

    private int nextImplicit(int from) {
        if (from >= last || end < unit || use.isExplicit()) {
            return Integer.MAX_VALUE;
        }
        int next = (from / interval + 1) * interval;
        if (next > last - unit / 2) {
            next = last; // the last two would be nearly the same
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

    /**
     * Keeps the state once it is saved; one that cannot be is not kept.
     *
     * @param count tokens that it has read
     */
    void keep(int count, CompletableFuture<SavedState> saved) {
        var _ = saved.thenAccept(state -> use.cache().put(use.scope(), prompt, state));
        writtenCount = count;
        due = next(due);
    }

    /** Tokens of the longest beginning that was kept. May be asked by any thread. */
    int writtenCount() {
        return writtenCount;
    }
}
