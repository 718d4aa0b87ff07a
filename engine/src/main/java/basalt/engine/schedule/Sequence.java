package basalt.engine.schedule;

import basalt.engine.FinishReason;
import basalt.engine.GenerationRequest;
import basalt.engine.backend.RowSampling;
import basalt.engine.backend.StepResult;
import basalt.engine.state.Slot;
import basalt.engine.text.StopMatcher;
import basalt.engine.text.TokenBytes;
import java.util.Optional;
import org.jspecify.annotations.Nullable;

/**
 * One choice of a request. Made on the request's thread, then confined to the engine thread, but for its channel.
 */
final class Sequence {
    private final SequenceGroup group;
    private final RowSampling sampling;
    private final TokenChannel channel;
    private final @Nullable TokenBytes bytes; // null without a tokenizer
    private final @Nullable StopMatcher matcher; // null without stop strings
    private @Nullable Slot slot;
    private long byteCount; // of the output text
    private int sampledCount; // tokens whose results have arrived
    private int inFlightSampleCount; // tokens that enqueued steps will sample
    private int inFlightStepCount; // enqueued steps with a row of this sequence
    private int inFlightTokenCount; // channel entries that those steps may write
    private boolean isFinished;
    private boolean isStalled; // the channel was full when last planned
    private long stalledNanos; // since when its reader has read nothing
    private long stalledReadCount; // what the reader had read by then

    Sequence(SequenceGroup group, RowSampling sampling, Optional<TokenBytes> bytes) {
        this.group = group;
        this.sampling = sampling;
        this.bytes = bytes.orElse(null);
        var request = group.request();
        channel = new TokenChannel(request, sampling.choice());
        matcher = request.stopStrings().isEmpty() ? null : new StopMatcher(request.stopStrings());
    }

    SequenceGroup group() {
        return group;
    }

    RowSampling sampling() {
        return sampling;
    }

    TokenChannel channel() {
        return channel;
    }

    /** The slot, or null before admission and after release. */
    @Nullable Slot slot() {
        return slot;
    }

    /** Index of the slot it holds. */
    int slotIndex() {
        var held = slot;
        if (held == null) {
            throw new IllegalStateException("choice " + sampling.choice() + " holds no slot");
        }
        return held.index();
    }

    void hold(@Nullable Slot value) {
        slot = value;
    }

    boolean isFinished() {
        return isFinished;
    }

    /** Whether its slot may be given back: it has ended and no step in flight uses the slot. */
    boolean isReleasable() {
        return isFinished && inFlightStepCount == 0;
    }

    /** Tokens sampled whose results have arrived. */
    int sampledCount() {
        return sampledCount;
    }

    /** Whether a step will sample or has sampled a token. */
    boolean hasStarted() {
        return sampledCount + inFlightSampleCount > 0;
    }

    /** Whether another token may be sampled, as far as the host knows. */
    boolean wantsToken() {
        return !isFinished
                && !isForkDue()
                && !group.isSnapshotDue()
                && sampledCount + inFlightSampleCount < sampling.maxTokens();
    }

    /** Whether it pauses, so that its state can be copied. */
    boolean isForkDue() {
        var turn = group.turn();
        return turn != null && turn.isForkDue();
    }

    /** Whether no step in flight uses its slot. */
    boolean isIdle() {
        return inFlightStepCount == 0;
    }

    /** Channel entries that a new step may write. */
    int roomCount() {
        return channel.freeCount() - inFlightTokenCount;
    }

    /** Notes that a step with a row of this sequence is enqueued. */
    void enqueued(int tokens, boolean samples) {
        assert tokens <= roomCount() : tokens;
        inFlightStepCount++;
        inFlightTokenCount += tokens;
        inFlightSampleCount += samples ? 1 : 0;
    }

    /** Notes that the oldest of those steps is done. */
    void completed(int tokens, boolean samples) {
        inFlightStepCount--;
        inFlightTokenCount -= tokens;
        inFlightSampleCount -= samples ? 1 : 0;
        assert inFlightStepCount >= 0 && inFlightTokenCount >= 0 : inFlightStepCount;
    }

    /** Passes on the score of a prompt token. */
    void scored(int token, StepResult result, int flat) {
        int from = flat * StepResult.TOP_COUNT_MAX;
        channel.write(token, 0, result.scoreLogprobs[flat], result.scoreTopIds, result.scoreTopLogprobs, from);
    }

    /**
     * Passes on a sampled token and ends the choice if it is the last one.
     *
     * @param row of the step that sampled it
     */
    void sampled(int token, StepResult result, int row) {
        sampledCount++;
        var turn = group.turn();
        if (turn != null) {
            turn.sampled(token);
        }
        boolean isStop = isStop(token);
        boolean hasMatch = false;
        if (bytes != null && !isStop) {
            byteCount += bytes.count(token);
            hasMatch = matcher != null && matcher.append(bytes, token, sampledCount >= sampling.minTokens());
        }
        long visible = matcher == null ? byteCount : matcher.visibleBytes();
        if (sampling.logprobCount() < 0) {
            channel.write(token, visible);
        } else {
            int from = row * StepResult.TOP_COUNT_MAX;
            channel.write(token, visible, result.logprobs[row], result.topIds, result.topLogprobs, from);
        }
        if (isStop) {
            finish(FinishReason.STOP, token);
        } else if (hasMatch) {
            finish(FinishReason.STOP, -1);
        } else if (sampledCount >= sampling.maxTokens()) {
            finish(FinishReason.LENGTH, -1);
        }
    }

    private boolean isStop(int token) {
        for (int stop : sampling.stopTokenIds()) {
            if (stop == token) {
                return true;
            }
        }
        return false;
    }

    /**
     * Ends the choice. Text held back as the beginning of a stop string becomes visible unless the string is whole.
     *
     * @param stopToken id that ended it, or -1
     */
    void finish(FinishReason reason, int stopToken) {
        int stopIndex = matcher == null ? -1 : matcher.matchedIndex();
        long visible = stopIndex >= 0 && matcher != null ? matcher.visibleBytes() : byteCount;
        isFinished = true;
        var turn = group.turn();
        if (turn != null) {
            turn.ended(reason, visible, stopIndex, stopToken, bytes);
        }
        channel.finish(reason, visible, stopIndex, stopToken);
    }

    /** Notes whether the channel has room; returns for how long it has had none and nothing was read. */
    long stall(boolean value, long nowNanos) {
        long readCount = channel.readCount();
        if (!isStalled || !value || readCount != stalledReadCount) {
            stalledNanos = nowNanos;
            stalledReadCount = readCount;
        }
        isStalled = value;
        return nowNanos - stalledNanos;
    }

    boolean isStalled() {
        return isStalled;
    }

    GenerationRequest request() {
        return group.request();
    }
}
