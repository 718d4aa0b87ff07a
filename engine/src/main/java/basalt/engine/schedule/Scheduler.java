package basalt.engine.schedule;

import basalt.engine.EngineConfig;
import basalt.engine.EngineException;
import basalt.engine.FinishReason;
import basalt.engine.backend.Backend;
import basalt.engine.backend.StepResult;
import basalt.engine.state.StatePool;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;
import org.jspecify.annotations.Nullable;

/**
 * Decides what each step computes, and what its results mean. Confined to the engine thread; has no thread and no clock
 * of its own, so that tests step it by hand. Allocates nothing per step.
 *
 * <p>A request waits in the {@link AdmissionQueue} until all its slots are free at once. Its prompt is prefilled in the
 * slot of its first choice, in chunks beside the rows that decode; with several choices all but the last prompt token,
 * then the state is copied and each choice consumes the last one and samples with its own random numbers. Prompts take
 * turns, so that a short one is not stuck behind a long one, and so do decoding choices when there are more than rows.
 *
 * <p>Up to {@link Backend#stepsInFlightMax} steps are planned before the results of the first are read: a decoding row
 * goes on from the token that the device sampled. Rows that end by an id or by their length freeze on the device; for
 * those that end by a stop string or are cancelled the tokens of steps in flight are dropped. A slot is given back when
 * no step in flight uses it, and the backend has room to save what it leaves behind.
 */
final class Scheduler {
    private final Backend backend;
    private final AdmissionQueue queue;
    private final Waker waker;
    private final LoopCounters counters;
    private final TurnStates turns;
    private final StepPacer pacer;
    private final PromptChunks chunks;
    private final HoldEstimate holdEstimate;
    private final Rotation<SequenceGroup> prefilling;
    private final Rotation<Sequence> decoding;
    private final Deadlines deadlines;
    private final Step[] steps; // [stepsInFlightMax], a ring
    private final int rowCountMax;
    private final long slowReaderNanos;
    private long plannedCount;
    private long completedCount;
    private boolean isPrefillTurn; // of rows, where there is only one
    private boolean hasStalled;

    Scheduler(
            Backend backend,
            StatePool statePool,
            AdmissionQueue queue,
            EngineConfig config,
            LoopCounters counters,
            Waker waker) {
        this.backend = backend;
        this.queue = queue;
        this.counters = counters;
        this.waker = waker;
        turns = new TurnStates(statePool, new ResidentSlots(statePool, config.sessionSlotsMax(), counters));
        rowCountMax = Math.min(config.batchRowsMax(), backend.rowCountMax());
        slowReaderNanos = config.slowReaderTimeout().toNanos();
        int chunkTokensMax = Math.min(config.chunkTokensMax(), backend.tokenCountMax());
        pacer = new StepPacer(rowCountMax, chunkTokensMax, config.stepTargetMillis() * 1e6);
        holdEstimate = new HoldEstimate(statePool.slotCount());
        counters.holdNanosMean.set(holdEstimate.nanos());
        prefilling = new Rotation<>(statePool.slotCount());
        chunks = new PromptChunks(prefilling, pacer, rowCountMax, backend.tokenCountMax(), this::hasRoom);
        decoding = new Rotation<>(statePool.slotCount());
        deadlines = new Deadlines(queue, prefilling, decoding);
        steps = new Step[backend.stepsInFlightMax()];
        for (int i = 0; i < steps.length; i++) {
            steps[i] = new Step(rowCountMax, backend.tokenCountMax());
        }
    }

    /** The states of turns. */
    TurnStates turns() {
        return turns;
    }

    /** Steps planned whose results have not been read. */
    int inFlightCount() {
        return (int) (plannedCount - completedCount);
    }

    /** Whether another step may be planned before results are read. */
    boolean hasRoomInFlight() {
        return inFlightCount() < steps.length;
    }

    /** Takes a request. One that needs no computation ends at once; the others wait for slots. */
    void arrive(SequenceGroup group, long nowNanos) {
        if (group.slotCount() > 0) {
            queue.add(group);
            deadlines.add(group);
            return;
        }
        dequeued(group);
        if (group.request().scoresPrompt()) {
            writeUnscored(group);
        }
        finishAll(group, FinishReason.LENGTH, nowNanos);
    }

    /** Ends a request whose client has gone; does nothing if it has ended. */
    void cancel(SequenceGroup group, long nowNanos) {
        end(group, FinishReason.CANCELLED, nowNanos);
    }

    private void end(SequenceGroup group, FinishReason reason, long nowNanos) {
        if (queue.remove(group)) {
            dequeued(group);
            LoopCounters.add(counters.releasedSlots, group.slotCount());
        }
        finishAll(group, reason, nowNanos);
    }

    /** Lets a running turn be copied for whoever waits; one that has ended is not. */
    void fork(SequenceGroup group, CompletableFuture<Optional<TurnRecord.Copy>> copy) {
        var turn = group.turn();
        if (turn == null || group.isFinished()) {
            copy.complete(Optional.empty());
        } else {
            turn.fork(copy);
        }
    }

    /** Ends every request. */
    void cancelAll(long nowNanos) {
        for (var group = queue.peek(); group != null; group = queue.peek()) {
            cancel(group, nowNanos);
        }
        for (int i = 0; i < prefilling.count(); i++) {
            cancel(prefilling.get(i), nowNanos);
        }
        for (int i = 0; i < decoding.count(); i++) {
            cancel(decoding.get(i).group(), nowNanos);
        }
    }

    /** Gives the requests that have not begun to other devices, and fails those that none can take. */
    void moveWaiting(EngineLoop.Owner owner, EngineException cause, long nowNanos) {
        for (var group = queue.peek(); group != null; group = queue.peek()) {
            queue.remove(group);
            dequeued(group);
            if (owner.move(group)) {
                LoopCounters.add(counters.finishedRequests, 1); // here; from now on it is another thread's
            } else {
                fail(group, cause, nowNanos);
            }
        }
    }

    /** Fails every request, after which this scheduler plans nothing more. */
    void failAll(EngineException cause, long nowNanos) {
        for (var group = queue.peek(); group != null; group = queue.peek()) {
            queue.remove(group);
            dequeued(group);
            fail(group, cause, nowNanos);
        }
        for (int i = 0; i < prefilling.count(); i++) {
            fail(prefilling.get(i), cause, nowNanos);
        }
        for (int i = 0; i < decoding.count(); i++) {
            fail(decoding.get(i).group(), cause, nowNanos);
        }
        turns.failEnded(cause);
        // A choice that only scores its prompt may be in neither list while its last step is in flight.
        for (long n = completedCount; n < plannedCount; n++) {
            var step = steps[(int) (n % steps.length)];
            for (int row = 0; row < step.rowCount(); row++) {
                fail(step.sequence(row).group(), cause, nowNanos);
            }
        }
    }

    private void fail(SequenceGroup group, EngineException cause, long nowNanos) {
        group.fail(cause);
        finishAll(group, FinishReason.ERROR, nowNanos);
    }

    /** Plans the next step, or returns null if nothing can be computed now. Its batch is then to be enqueued. */
    @Nullable Step plan(long nowNanos) {
        assert hasRoomInFlight() : inFlightCount();
        for (var late = deadlines.late(nowNanos); late != null; late = deadlines.late(nowNanos)) {
            end(late, FinishReason.DEADLINE, nowNanos);
        }
        for (var ended = turns.nextEnded(); ended != null; ended = turns.nextEnded()) {
            end(ended, nowNanos);
            turns.passEnded();
        }
        forkPrefilled();
        decoding.removeIf(Sequence::isFinished);
        admit(nowNanos);
        hasStalled = false;
        var step = steps[(int) (plannedCount % steps.length)];
        int reserved = prefilling.count() == 0 ? 0 : 1;
        isPrefillTurn = reserved > 0 && !isPrefillTurn;
        if (rowCountMax > reserved || !isPrefillTurn) {
            planDecode(step, Math.max(1, rowCountMax - reserved), nowNanos);
        }
        chunks.plan(step, nowNanos);
        if (step.rowCount() == 0 && rowCountMax == reserved) {
            planDecode(step, rowCountMax, nowNanos);
        }
        if (step.rowCount() == 0) {
            return null;
        }
        plannedCount++;
        return step;
    }

    /** Comes after the enqueueing of the last chunk, so that the copies are of the state that it leaves behind. */
    private void forkPrefilled() {
        for (int i = 0; i < prefilling.count(); i++) {
            var group = prefilling.get(i);
            turns.snapshot(group);
            if (isReadyToFork(group)
                    && !group.isFinished()
                    && group.first().sampling().maxTokens() > 0) {
                fork(group);
            }
        }
        prefilling.removeIf(Scheduler::isReadyToFork);
    }

    /** Choices part only once the state before them is kept; one alone pauses by itself. */
    private static boolean isReadyToFork(SequenceGroup group) {
        return group.isPrefilled() && (group.choiceCount() == 1 || !group.isSnapshotDue() || group.isFinished());
    }

    private void admit(long nowNanos) {
        for (var group = queue.peek(); group != null; group = queue.peek()) {
            if (group.slotCount() > turns.freeSlotCount()) {
                return; // the next one never overtakes it, or it might wait for ever
            }
            occupy(group);
            queue.remove(group);
            dequeued(group);
            start(group, nowNanos);
        }
    }

    /** Gives a request its slots. It waits until it has all, so that another device takes it if this one fails. */
    private void occupy(SequenceGroup group) {
        boolean isWhole = false;
        try {
            for (int choice = 0; choice < group.choiceSlotCount(); choice++) {
                var sequence = group.sequence(choice);
                sequence.hold(turns.acquire(group, choice));
                backend.configure(sequence.slotIndex(), sequence.sampling());
            }
            isWhole = true;
        } finally {
            for (int choice = 0; !isWhole && choice < group.choiceSlotCount(); choice++) {
                group.sequence(choice).hold(null);
            }
        }
    }

    private void dequeued(SequenceGroup group) {
        LoopCounters.add(counters.dequeuedRequests, 1);
        LoopCounters.add(counters.dequeuedTokens, group.promptCount());
        if (group.isQueued()) {
            LoopCounters.add(counters.unqueuedRequests, 1);
            LoopCounters.add(counters.unqueuedTokens, group.promptCount());
        }
    }

    private void start(SequenceGroup group, long nowNanos) {
        group.admitted(nowNanos);
        holdEstimate.passed(nowNanos, counters.busySlots.getPlain(), 0);
        for (int choice = 0; choice < group.choiceSlotCount(); choice++) {
            holdEstimate.admitted(group.sequence(choice).sampling().maxTokens());
        }
        LoopCounters.add(counters.busySlots, group.slotCount());
        for (int choice = group.choiceSlotCount(); choice < group.choiceCount(); choice++) {
            finish(group.sequence(choice), FinishReason.LENGTH, nowNanos);
        }
        if (group.request().scoresPrompt()) {
            writeUnscored(group);
        }
        if (group.prefillEnd() > group.prefillCount()) {
            prefilling.add(group);
        } else {
            fork(group);
        }
    }

    /** The first token of a prompt has no score, as nothing is before it. */
    private void writeUnscored(SequenceGroup group) {
        group.first().channel().write(group.request().prompt()[0], 0);
        waker.add(group);
    }

    /** Lets the choices decode, all from the state of the first one. */
    private void fork(SequenceGroup group) {
        // Of several choices each consumes the last token itself, which makes it no more than one token of the prompt.
        LoopCounters.add(counters.promptTokens, group.promptCount() - group.prefillEnd());
        for (int choice = 0; choice < group.choiceCount(); choice++) {
            var sequence = group.sequence(choice);
            if (choice > 0 && group.prefillCount() > 0) {
                backend.copy(group.first().slotIndex(), sequence.slotIndex());
            }
            decoding.add(sequence);
        }
    }

    private void planDecode(Step step, int rowsMax, long nowNanos) {
        int passed = 0;
        while (passed < decoding.count() && step.rowCount() < rowsMax) {
            var sequence = decoding.get(passed++);
            turns.snapshot(sequence.group());
            turns.fork(sequence);
            if (sequence.wantsToken() && hasRoom(sequence, nowNanos)) {
                turns.beforeDecode(sequence);
                step.addDecode(sequence);
            }
        }
        decoding.turn(passed);
    }

    /** Whether the reader leaves room for another token. One who reads nothing for too long loses the slot. */
    private boolean hasRoom(Sequence sequence, long nowNanos) {
        if (sequence.isFinished()) {
            return false;
        }
        boolean isStalled = sequence.roomCount() <= 0;
        if (sequence.stall(isStalled, nowNanos) > slowReaderNanos) {
            if (sequence.hasStarted()) {
                finish(sequence, FinishReason.CANCELLED, nowNanos);
            } else {
                finishAll(sequence.group(), FinishReason.CANCELLED, nowNanos);
            }
        }
        hasStalled |= isStalled;
        return !isStalled;
    }

    /** Whether some choice waits for its reader. */
    boolean hasStalled() {
        return hasStalled;
    }

    /** Whether a choice that waited for its reader need not wait any longer. */
    boolean hasUnstalled() {
        for (int i = 0; hasStalled && i < decoding.count(); i++) {
            if (decoding.get(i).isStalled() && decoding.get(i).roomCount() > 0) {
                return true;
            }
        }
        for (int i = 0; hasStalled && i < prefilling.count(); i++) {
            if (prefilling.get(i).first().isStalled()
                    && prefilling.get(i).first().roomCount() > 0) {
                return true;
            }
        }
        return false;
    }

    /** Takes the results of the oldest planned step. */
    void complete(StepResult result, long nowNanos) {
        var step = steps[(int) (completedCount % steps.length)];
        long sampledBefore = counters.sampledTokens.getPlain();
        int flat = 0;
        for (int row = 0; row < step.rowCount(); row++) {
            completeRow(step, row, flat, result, nowNanos);
            flat += step.batch().tokenCount(row);
        }
        long sampled = counters.sampledTokens.getPlain() - sampledBefore;
        holdEstimate.passed(nowNanos, counters.busySlots.getPlain(), sampled);
        counters.holdNanosMean.setRelease(holdEstimate.nanos());
        pacer.measured(step.decodeRowCount(), step.prefillTokenCount(), result.nanos());
        LoopCounters.add(counters.steps, 1);
        LoopCounters.add(counters.rows, step.rowCount());
        LoopCounters.add(counters.promptTokens, step.prefillTokenCount());
        step.clear();
        completedCount++; // last: a step that fails here still has its rows
    }

    private void completeRow(Step step, int row, int flat, StepResult result, long nowNanos) {
        var sequence = step.sequence(row);
        boolean samples = step.batch().isSampling(row);
        sequence.completed(step.roomCount(row), samples);
        if (!sequence.isFinished()) {
            if (step.promptStart(row) >= 0) {
                completePrefill(step, row, flat, result, nowNanos);
            }
            if (samples) {
                sample(sequence, row, result, nowNanos);
            }
            waker.add(sequence.group());
        }
        if (sequence.isReleasable()) {
            release(sequence, nowNanos);
        }
    }

    private void completePrefill(Step step, int row, int flat, StepResult result, long nowNanos) {
        var sequence = step.sequence(row);
        int[] prompt = sequence.request().prompt();
        int from = step.promptStart(row);
        int to = from + step.batch().tokenCount(row);
        if (sequence.request().scoresPrompt()) {
            for (int next = from + 1; next <= to && next < prompt.length; next++) {
                sequence.scored(prompt[next], result, flat + next - from - 1);
            }
        }
        if (to == sequence.group().prefillEnd() && sequence.sampling().maxTokens() == 0) {
            finish(sequence, FinishReason.LENGTH, nowNanos);
        }
    }

    private void sample(Sequence sequence, int row, StepResult result, long nowNanos) {
        int token = result.tokens[row];
        if (token < 0) {
            throw new EngineException.DeviceFailure(
                    backend.name() + ": slot " + sequence.slotIndex() + " is frozen and has not ended");
        }
        sequence.group().sampled(nowNanos);
        LoopCounters.add(counters.sampledTokens, 1);
        sequence.sampled(token, result, row);
        if (sequence.isFinished()) {
            choiceFinished(sequence, nowNanos);
        }
    }

    private void finishAll(SequenceGroup group, FinishReason reason, long nowNanos) {
        for (int choice = 0; choice < group.choiceCount(); choice++) {
            finish(group.sequence(choice), reason, nowNanos);
        }
    }

    private void finish(Sequence sequence, FinishReason reason, long nowNanos) {
        if (!sequence.isFinished()) {
            sequence.finish(reason, -1);
            choiceFinished(sequence, nowNanos);
            if (sequence.isReleasable()) {
                release(sequence, nowNanos);
            }
        }
    }

    private void choiceFinished(Sequence sequence, long nowNanos) {
        var group = sequence.group();
        group.choiceFinished(nowNanos);
        if (group.isFinished()) {
            LoopCounters.add(counters.finishedRequests, 1);
        }
        waker.add(group);
    }

    private void release(Sequence sequence, long nowNanos) {
        if (turns.canEnd(sequence)) {
            end(sequence, nowNanos);
        }
    }

    private void end(Sequence sequence, long nowNanos) {
        int released = turns.end(sequence);
        var slot = sequence.slot();
        if (slot == null) {
            return;
        }
        sequence.hold(null);
        turns.giveBack(sequence.group(), slot);
        released++;
        holdEstimate.passed(nowNanos, counters.busySlots.getPlain(), 0);
        LoopCounters.add(counters.busySlots, -released);
        LoopCounters.add(counters.releasedSlots, released);
        for (int i = 0; i < released; i++) {
            holdEstimate.released(sequence.sampledCount(), sequence.sampling().maxTokens());
        }
    }
}
