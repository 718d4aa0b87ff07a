package basalt.engine.schedule;

import basalt.engine.EngineException;
import basalt.engine.Generation;
import basalt.engine.GenerationRequest;
import basalt.engine.Usage;
import basalt.engine.backend.RowSampling;
import basalt.engine.state.PrefixUse;
import basalt.engine.text.TokenBytes;
import java.time.Duration;
import java.util.Arrays;
import java.util.Objects;
import java.util.Optional;
import java.util.concurrent.locks.LockSupport;
import org.jspecify.annotations.Nullable;

/**
 * A request: the choices that continue one prompt. Made on the request's thread, then confined to the engine thread,
 * but for what its reader needs, which is volatile.
 */
final class SequenceGroup {
    private final GenerationRequest request;
    private final Sequence[] sequences; // [choiceCount]
    private final Origin origin;
    private final @Nullable TurnRecord turn; // null unless it leaves a state behind
    private final @Nullable PrefixPlan prefix; // null if nothing is kept for other prompts
    private final boolean hasSpare;
    private final int choiceSlotCount;
    private final int prefillEnd;
    private final long arrivedNanos;
    private volatile @Nullable EngineLoop loop; // null before it is placed
    private boolean isAbandoned; // under the lock of the front
    private boolean isQueued;
    private int queueIndex = -1;
    private int prefillCount; // prompt tokens in enqueued steps
    private volatile int openCount; // choices that have not ended; written by the engine thread
    private volatile long admittedNanos;
    private volatile long firstTokenNanos;
    private volatile long finishedNanos;
    private volatile @Nullable EngineException failure;
    private volatile @Nullable Thread waiter;
    private volatile boolean isWaking; // already on its way to the waker

    /**
     * What is asked for.
     *
     * @param turn of a session; null leaves no state behind
     * @param hasSpare whether the turn needs a second slot, to go back across a fold
     * @param prefixes where beginnings of the prompt are kept, if they are
     */
    record Work(
            GenerationRequest request,
            Origin origin,
            @Nullable TurnRecord turn,
            boolean hasSpare,
            Optional<Prefixes> prefixes) {
        /** The same from another origin. */
        Work from(Origin other) {
            return new Work(request, other, turn, hasSpare, prefixes);
        }

        /** A request alone. */
        static Work of(GenerationRequest request) {
            return new Work(request, Origin.NONE, null, false, Optional.empty());
        }
    }

    /** Where beginnings of prompts are kept, and for whom. */
    record Prefixes(PrefixUse use) {
        /** A request that begins where the longest known beginning of its prompt ends. */
        Work work(GenerationRequest request) {
            if (request.scoresPrompt()
                    || request.maxTokens() == 0
                    || !use.cache().isEnabled()) {
                return Work.of(request);
            }
            return new Work(request, origin(request.prompt()), null, false, Optional.of(this));
        }

        /** Where the longest known beginning of a prompt ends. */
        Origin origin(int[] prompt) {
            return use.cache()
                    .longest(use.scope(), prompt, prompt.length - 1)
                    .map(state -> new Origin(Optional.of(state), (int) state.tokenCount(), new int[0]))
                    .orElse(Origin.NONE);
        }

        PrefixPlan plan(int[] prompt, int from, int end) {
            return new PrefixPlan(use, prompt, from, end);
        }
    }

    /**
     * A request that waits.
     *
     * @param maxTokens of the request, or fewer where positions run out
     * @param stopTokenIds of the request and the model
     */
    SequenceGroup(Work work, int maxTokens, int[] stopTokenIds, Optional<TokenBytes> bytes, long arrivedNanos) {
        request = work.request();
        origin = work.origin();
        turn = work.turn();
        this.arrivedNanos = arrivedNanos;
        prefillCount = origin.prefilledCount();
        int choiceCount = request.choiceCount();
        int promptCount = request.prompt().length;
        openCount = choiceCount;
        if (maxTokens == 0) {
            prefillEnd = request.scoresPrompt() || turn != null ? promptCount - 1 : 0;
            choiceSlotCount = prefillEnd > 0 ? 1 : 0;
        } else {
            prefillEnd = choiceCount == 1 ? promptCount : promptCount - 1;
            choiceSlotCount = choiceCount;
        }
        hasSpare = work.hasSpare() && choiceSlotCount > 0;
        prefix = work.prefixes()
                .filter(prefixes -> choiceSlotCount > 0)
                .map(prefixes -> prefixes.plan(request.prompt(), prefillCount, prefillEnd))
                .orElse(null);
        sequences = new Sequence[choiceCount];
        for (int choice = 0; choice < choiceCount; choice++) {
            sequences[choice] = new Sequence(this, sampling(choice, maxTokens, stopTokenIds), bytes);
        }
    }

    private RowSampling sampling(int choice, int maxTokens, int[] stopTokenIds) {
        boolean readsPrompt = request.sampling().repetitionPenalty() != 1;
        return new RowSampling(
                request.sampling(),
                request.seed(),
                choice,
                stopTokenIds,
                request.minTokens(),
                maxTokens,
                request.logprobCount(),
                readsPrompt ? penalized() : new int[0]);
    }

    private int[] penalized() {
        int[] before = origin.penalized();
        int[] ids = Arrays.copyOf(before, before.length + promptCount());
        System.arraycopy(request.prompt(), 0, ids, before.length, promptCount());
        return ids;
    }

    /** What its prompt goes on from. */
    Origin origin() {
        return origin;
    }

    /** What is kept of it as a turn of a session, or null. */
    @Nullable TurnRecord turn() {
        return turn;
    }

    /** What is kept of its prompt for others, or null. */
    @Nullable PrefixPlan prefix() {
        return prefix;
    }

    /** Whether its state is to be kept before anything more is computed. */
    boolean isSnapshotDue() {
        return prefix != null && prefix.isDue(prefillCount);
    }

    /** Whether it has a slot more than its choices. */
    boolean hasSpare() {
        return hasSpare;
    }

    GenerationRequest request() {
        return request;
    }

    int choiceCount() {
        return sequences.length;
    }

    Sequence sequence(int choice) {
        return sequences[choice];
    }

    /** The choice whose slot the prompt is prefilled in. */
    Sequence first() {
        return sequences[0];
    }

    int promptCount() {
        return request.prompt().length;
    }

    /** Slots it needs, all at once; none if there is nothing to compute. */
    int slotCount() {
        return choiceSlotCount + (hasSpare ? 1 : 0);
    }

    /** How many of those are choices'. */
    int choiceSlotCount() {
        return choiceSlotCount;
    }

    /** Whether some of the prompt was read for this request. */
    boolean hasBegun() {
        return prefillCount > origin.prefilledCount();
    }

    /**
     * Prompt tokens that the first choice consumes before the others join: all if it is the only one and samples; else
     * all but the last, which each choice consumes in its own slot, or which is only scored.
     */
    int prefillEnd() {
        return prefillEnd;
    }

    int prefillCount() {
        return prefillCount;
    }

    /** Whether no more chunks are to be planned. */
    boolean isPrefilled() {
        return prefillCount == prefillEnd || isFinished();
    }

    void prefilled(int tokens) {
        prefillCount += tokens;
        assert prefillCount <= prefillEnd : prefillCount;
    }

    /** The loop of the device that it was given to. */
    EngineLoop loop() {
        return Objects.requireNonNull(loop);
    }

    void loop(EngineLoop value) {
        loop = value;
    }

    /** Whether its client went away while its device failed. */
    boolean isAbandoned() {
        return isAbandoned;
    }

    void abandon() {
        isAbandoned = true;
    }

    /** Whether it found no free slot when it was accepted, so that it counts in the bounds of the queue. */
    boolean isQueued() {
        return isQueued;
    }

    void queued(boolean value) {
        isQueued = value;
    }

    /** Place in the heap of the admission queue, -1 outside. */
    int queueIndex() {
        return queueIndex;
    }

    void queueIndex(int value) {
        queueIndex = value;
    }

    /** Whether every choice has ended. May be asked by any thread. */
    boolean isFinished() {
        return openCount == 0;
    }

    void admitted(long nowNanos) {
        admittedNanos = notBeforeArrival(nowNanos);
    }

    /** The engine reads its clock once a turn, and what arrives in that turn may have arrived after that. */
    private long notBeforeArrival(long nowNanos) {
        return nowNanos - arrivedNanos < 0 ? arrivedNanos : nowNanos;
    }

    long admittedNanos() {
        return admittedNanos;
    }

    /** Notes the first token of any choice. */
    void sampled(long nowNanos) {
        if (firstTokenNanos == 0) {
            firstTokenNanos = nowNanos;
        }
    }

    /** Notes that a choice has ended. */
    void choiceFinished(long nowNanos) {
        int left = openCount - 1;
        assert left >= 0 : left;
        if (left == 0) {
            finishedNanos = notBeforeArrival(nowNanos);
        }
        openCount = left;
    }

    boolean hasDeadline() {
        return request.deadline().isPresent();
    }

    /** The moment by which it must have ended, if it has a deadline. */
    long deadlineNanos() {
        return arrivedNanos + request.deadline().orElse(Duration.ZERO).toNanos();
    }

    /** Whether its time is up and it has not ended. */
    boolean isLate(long nowNanos) {
        return hasDeadline() && nowNanos - deadlineNanos() >= 0 && !isFinished();
    }

    long arrivedNanos() {
        return arrivedNanos;
    }

    Generation.Timing timing() {
        return new Generation.Timing(arrivedNanos, admittedNanos, firstTokenNanos, finishedNanos);
    }

    Usage usage() {
        long sampled = 0;
        for (var sequence : sequences) {
            sampled += sequence.channel().sampledCount();
        }
        return new Usage(
                origin.promptStart() + promptCount(),
                sampled,
                origin.cachedCount(),
                prefix == null ? 0 : prefix.writtenCount());
    }

    /** Says why the choices that end with an error do; before they end. */
    void fail(EngineException cause) {
        failure = cause;
        if (turn != null) {
            turn.fail(cause);
        }
    }

    @Nullable EngineException failure() {
        return failure;
    }

    /** The reader's thread while it waits. */
    @Nullable Thread waiter() {
        return waiter;
    }

    void waiter(@Nullable Thread thread) {
        waiter = thread;
    }

    boolean isWaking() {
        return isWaking;
    }

    void waking(boolean value) {
        isWaking = value;
    }

    /** Wakes the reader if it waits. */
    void wake() {
        var thread = waiter;
        if (thread != null) {
            LockSupport.unpark(thread);
        }
    }
}
