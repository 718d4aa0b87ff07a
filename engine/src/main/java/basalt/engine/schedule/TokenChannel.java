package basalt.engine.schedule;

import basalt.engine.FinishReason;
import basalt.engine.GenerationRequest;
import basalt.engine.TokenEvent;
import java.util.Arrays;
import java.util.Optional;
import java.util.concurrent.atomic.AtomicLong;
import org.jspecify.annotations.Nullable;

/**
 * The tokens of one choice on their way from the engine thread to the request's thread: a ring of {@value #CAPACITY}.
 *
 * <p>One writer, the engine thread, and one reader. The writer never waits: it asks {@link #freeCount} before it plans
 * a token and pauses the choice if there is no room. It allocates nothing.
 */
final class TokenChannel {
    /** Tokens that can wait for the reader. */
    static final int CAPACITY = 256;

    private static final int NONE = -1;

    private final GenerationRequest request;
    private final int choice;
    private final int scoredCount; // entries that are tokens of the prompt; they come first
    private final int topCount;
    private final int[] tokens = new int[CAPACITY];
    private final long[] visibleBytes = new long[CAPACITY];
    private final float[] logprobs; // [CAPACITY], or empty if none are wanted
    private final int[] topIds; // [CAPACITY, topCount]
    private final float[] topLogprobs; // [CAPACITY, topCount]
    private final AtomicLong writeCount = new AtomicLong();
    private final AtomicLong readCount = new AtomicLong();

    // How the choice ended, written before finishReason.
    private long finalBytes;
    private int stopIndex = NONE;
    private int stopToken = NONE;
    private volatile @Nullable FinishReason finishReason;

    /** An empty channel of one choice; only the first has the scores of the prompt. */
    TokenChannel(GenerationRequest request, int choice) {
        this.request = request;
        this.choice = choice;
        scoredCount = choice == 0 && request.scoresPrompt() ? request.prompt().length : 0;
        topCount = Math.max(0, request.logprobCount());
        int length = request.logprobCount() >= 0 || scoredCount > 0 ? CAPACITY : 0;
        logprobs = new float[length];
        topIds = new int[length * topCount];
        topLogprobs = new float[length * topCount];
    }

    /** Tokens that can be written without waiting. */
    int freeCount() {
        return CAPACITY - (int) (writeCount.get() - readCount.get());
    }

    /** Tokens read so far, so that a reader who reads can be told from one who does not. */
    long readCount() {
        return readCount.get();
    }

    /** Appends a token without log-probabilities. Only for the engine thread. */
    void write(int token, long visible) {
        int place = place(token, visible);
        if (logprobs.length > 0) {
            logprobs[place] = 0;
        }
        writeCount.set(writeCount.get() + 1);
    }

    /**
     * Appends a token with log-probabilities. Only for the engine thread.
     *
     * @param ids likeliest tokens; those of this one start at {@code from}
     */
    void write(int token, long visible, float logprob, int[] ids, float[] idLogprobs, int from) {
        int place = place(token, visible);
        logprobs[place] = logprob;
        System.arraycopy(ids, from, topIds, place * topCount, topCount);
        System.arraycopy(idLogprobs, from, topLogprobs, place * topCount, topCount);
        writeCount.set(writeCount.get() + 1);
    }

    private int place(int token, long visible) {
        assert freeCount() > 0 : choice;
        assert finishReason == null : finishReason;
        int place = (int) (writeCount.get() % CAPACITY);
        tokens[place] = token;
        visibleBytes[place] = visible;
        return place;
    }

    /**
     * Ends the choice. Only for the engine thread, once.
     *
     * @param stopIndex index of the stop string that ended it, or -1
     * @param stopToken id that ended it, or -1
     */
    void finish(FinishReason reason, long visible, int stopIndex, int stopToken) {
        assert finishReason == null : finishReason;
        finalBytes = visible;
        this.stopIndex = stopIndex;
        this.stopToken = stopToken;
        finishReason = reason;
    }

    /** How the choice ended, or null while it runs. */
    @Nullable FinishReason finishReason() {
        return finishReason;
    }

    /** Whether {@link #read} would return something. Only for the reader. */
    boolean hasUnread() {
        return writeCount.get() > readCount.get();
    }

    /** Sampled tokens so far. */
    long sampledCount() {
        return Math.max(0, writeCount.get() - scoredCount);
    }

    /** Takes the oldest token. Only for the reader. */
    Optional<TokenEvent> read() {
        long entry = readCount.get();
        if (entry == writeCount.get()) {
            return Optional.empty();
        }
        var event = event(entry);
        readCount.set(entry + 1);
        return Optional.of(event);
    }

    private TokenEvent event(long entry) {
        int place = (int) (entry % CAPACITY);
        if (entry < scoredCount) {
            return new TokenEvent.Scored(choice, (int) entry, tokens[place], logprobs(place, entry > 0));
        }
        int index = Math.toIntExact(entry - scoredCount);
        var values = logprobs(place, request.logprobCount() >= 0);
        return new TokenEvent.Sampled(choice, index, tokens[place], visibleBytes[place], values);
    }

    private Optional<TokenEvent.Logprobs> logprobs(int place, boolean isPresent) {
        if (!isPresent) {
            return Optional.empty();
        }
        int from = place * topCount;
        return Optional.of(new TokenEvent.Logprobs(
                logprobs[place],
                Arrays.copyOfRange(topIds, from, from + topCount),
                Arrays.copyOfRange(topLogprobs, from, from + topCount)));
    }

    /** The last event, once {@link #finishReason} is there and all tokens are read. Only for the reader. */
    TokenEvent.Finished finished() {
        var reason = finishReason;
        if (reason == null || hasUnread()) {
            throw new IllegalStateException("choice " + choice + " has not ended");
        }
        return new TokenEvent.Finished(
                choice,
                reason,
                finalBytes,
                stopIndex == NONE
                        ? Optional.empty()
                        : Optional.of(request.stopStrings().get(stopIndex)),
                stopToken == NONE ? Optional.empty() : Optional.of(stopToken));
    }
}
