package basalt.engine.backend.fake;

import basalt.engine.backend.RowSampling;

/**
 * The language of {@link FakeBackend}: what comes next is a hash of every token before it, so that a token lost,
 * doubled or taken from another sequence changes all that follow.
 */
public final class FakeLanguage {
    /** Hash of the empty history. */
    public static final long EMPTY = 0;

    private static final int LOGPROB_STEPS = 1_024;

    private FakeLanguage() {}

    /** Hash of a history longer by one token. */
    public static long consume(long history, int token) {
        return mix(history * 31 + token + 1);
    }

    /** Hash of a history longer by these tokens. */
    public static long consume(long history, int[] tokens) {
        long hash = history;
        for (int token : tokens) {
            hash = consume(hash, token);
        }
        return hash;
    }

    /**
     * The token sampled after a history.
     *
     * @param position tokens of the history
     * @param sampledCount tokens sampled before
     */
    public static int next(long history, long position, RowSampling sampling, int sampledCount, int vocabSize) {
        long draw = history;
        if (sampling.params().temperature() > 0) {
            draw = mix(mix(mix(draw ^ sampling.seed()) + sampling.choice()) + position);
        }
        int token = (int) Long.remainderUnsigned(mix(draw), vocabSize);
        while (sampledCount < sampling.minTokens() && isStop(token, sampling)) {
            token = (token + 1) % vocabSize;
        }
        return token;
    }

    /** Whether a token ends what is sampled. */
    public static boolean isStop(int token, RowSampling sampling) {
        for (int stop : sampling.stopTokenIds()) {
            if (stop == token) {
                return true;
            }
        }
        return false;
    }

    /** The log-probability of a token after a history: a multiple of 1/64 in (-16, 0]. */
    public static float logprob(long history, int token) {
        return -Long.remainderUnsigned(mix(history + ~token), LOGPROB_STEPS) / 64f;
    }

    /** The id of the likeliest token of a rank after a history. */
    public static int topId(long history, int rank, int vocabSize) {
        return (int) Long.remainderUnsigned(history + rank, vocabSize);
    }

    /** The log-probability reported of the likeliest token of a rank. */
    public static float topLogprob(int rank) {
        return -1 - rank / 64f;
    }

    /** The finalizer of SplitMix64, of Steele et al., "Fast splittable pseudorandom number generators" (2014). */
    private static long mix(long value) {
        long z = value + 0x9E3779B97F4A7C15L;
        z = (z ^ (z >>> 30)) * 0xBF58476D1CE4E5B9L;
        z = (z ^ (z >>> 27)) * 0x94D049BB133111EBL;
        return z ^ (z >>> 31);
    }
}
