package basalt.engine.schedule;

/**
 * Chooses which prompts a step reads, and how much of each. Confined to the engine thread.
 *
 * <p>Any prompt costs a step a part that does not depend on its length, which slows all running streams. So where many
 * run, prompts that are too short to be worth it wait for others to come, for a few steps at most.
 */
final class PromptChunks {
    /**
     * Prompts that go on after a step and share its tokens at most; more would make the chunks of each inefficiently
     * small. Those that end in it are not counted, so that many short ones begin at once.
     */
    static final int SHARERS_MAX = 4;

    /** How long a prompt waits for others at most, in steps that only decode. */
    private static final int WAIT_STEPS_MAX = 4;
    /** All waiting prompts together wait at most for this part of the time that the running streams would lose. */
    private static final double WAIT_SHARE_MAX = 0.25;

    private final Rotation<SequenceGroup> prompts;
    private final StepPacer pacer;
    private final int rowCountMax;
    private final int tokenCountMax;
    private final Readers readers;

    /** Those of the answers. */
    interface Readers {
        /** Whether one leaves room for another token. */
        boolean haveRoom(Sequence sequence, long nowNanos);
    }

    PromptChunks(
            Rotation<SequenceGroup> prompts, StepPacer pacer, int rowCountMax, int tokenCountMax, Readers readers) {
        this.prompts = prompts;
        this.pacer = pacer;
        this.rowCountMax = rowCountMax;
        this.tokenCountMax = tokenCountMax;
        this.readers = readers;
    }

    /** Adds chunks to a step that has its decoding rows. */
    void plan(Step step, long nowNanos) {
        if (isWorthWaiting(step.decodeRowCount(), nowNanos)) {
            return;
        }
        int left = Math.min(tokenCountMax - step.batch().tokenCount(), pacer.chunkTokens(step.decodeRowCount()));
        int sharers = 0;
        int passed = 0;
        int count = prompts.count();
        while (passed < count && sharers < SHARERS_MAX && left > 0 && step.rowCount() < rowCountMax) {
            var group = prompts.get(passed);
            int remaining = Math.min(SHARERS_MAX - sharers, count - passed);
            int share = Math.max((left + remaining - 1) / remaining, Math.min(left, StepPacer.CHUNK_TOKENS_MIN));
            passed++;
            if (!group.isSnapshotDue() && readers.haveRoom(group.first(), nowNanos)) {
                left -= addChunk(step, group, share);
                sharers += group.isPrefilled() ? 0 : 1;
            }
        }
        prompts.turn(passed);
    }

    private boolean isWorthWaiting(int decodeRowCount, long nowNanos) {
        if (decodeRowCount == 0) {
            return false;
        }
        double lost = pacer.nanosOfAny();
        double waitMax = WAIT_STEPS_MAX * pacer.decodeNanos(decodeRowCount);
        double worth = lost / pacer.nanosEach();
        double waited = 0;
        long tokens = 0;
        for (int i = 0; i < prompts.count() && tokens < worth; i++) {
            var group = prompts.get(i);
            long wait = nowNanos - group.admittedNanos();
            if (group.hasBegun() || wait >= waitMax) {
                return false;
            }
            tokens += group.prefillEnd() - group.prefillCount();
            waited += wait;
        }
        return tokens < worth && waited < WAIT_SHARE_MAX * lost * decodeRowCount;
    }

    private static int addChunk(Step step, SequenceGroup group, int share) {
        var sequence = group.first();
        int from = group.prefillCount();
        int tokens = Math.min(share, group.prefillEnd() - from);
        if (group.request().scoresPrompt()) {
            tokens = Math.min(tokens, sequence.roomCount());
        }
        var prefix = group.prefix();
        int to = prefix == null ? from + tokens : prefix.chunkEnd(from, from + tokens);
        boolean samples = to == group.promptCount(); // never without tokens to sample: then the last one is left
        step.addPrefill(sequence, from, to, samples);
        group.prefilled(to - from);
        return to - from;
    }
}
