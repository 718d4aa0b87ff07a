package basalt.engine.schedule;

import basalt.engine.backend.Batch;
import org.jspecify.annotations.Nullable;

/** One planned step: its batch, and which choice each row belongs to. Confined to the engine thread and reused. */
final class Step {
    private final Batch batch;
    private final @Nullable Sequence[] sequences; // [rowCountMax]
    private final int[] promptStarts; // [rowCountMax]: where a prefill row starts in the prompt, -1 for others
    private final int[] roomCounts; // [rowCountMax]: channel entries reserved for the row
    private int prefillTokenCount;

    Step(int rowCountMax, int tokenCountMax) {
        batch = new Batch(rowCountMax, tokenCountMax);
        sequences = new Sequence[rowCountMax];
        promptStarts = new int[rowCountMax];
        roomCounts = new int[rowCountMax];
    }

    Batch batch() {
        return batch;
    }

    int rowCount() {
        return batch.rowCount();
    }

    /** Tokens of prefill rows. */
    int prefillTokenCount() {
        return prefillTokenCount;
    }

    /** Rows that only decode. */
    int decodeRowCount() {
        int count = 0;
        for (int row = 0; row < batch.rowCount(); row++) {
            count += promptStarts[row] < 0 ? 1 : 0;
        }
        return count;
    }

    Sequence sequence(int row) {
        var sequence = sequences[row];
        if (sequence == null) {
            throw new IllegalStateException("no row " + row);
        }
        return sequence;
    }

    int promptStart(int row) {
        return promptStarts[row];
    }

    int roomCount(int row) {
        return roomCounts[row];
    }

    void clear() {
        for (int row = 0; row < batch.rowCount(); row++) {
            sequences[row] = null;
        }
        batch.clear();
        prefillTokenCount = 0;
    }

    /**
     * Adds the next decode row of a choice: from its last sampled token, or from the prompt's last if it is its first.
     */
    void addDecode(Sequence sequence) {
        int[] prompt = sequence.request().prompt();
        if (sequence.hasStarted()) {
            batch.addContinuing(sequence.slotIndex());
        } else {
            batch.add(sequence.slotIndex(), prompt, prompt.length - 1, prompt.length, true);
        }
        note(sequence, -1, 1, true);
    }

    /**
     * Adds a chunk of a prompt.
     *
     * @param samples whether the first token is sampled after it
     */
    void addPrefill(Sequence sequence, int from, int to, boolean samples) {
        var request = sequence.request();
        int[] prompt = request.prompt();
        batch.add(sequence.slotIndex(), prompt, from, to, samples);
        int room = samples ? 1 : 0;
        if (request.scoresPrompt()) {
            int target = to < prompt.length ? prompt[to] : -1;
            batch.score(Math.max(0, request.logprobCount()), target);
            room += Math.min(to, prompt.length - 1) - from;
        }
        prefillTokenCount += to - from;
        note(sequence, from, room, samples);
    }

    private void note(Sequence sequence, int promptStart, int room, boolean samples) {
        int row = batch.rowCount() - 1;
        sequences[row] = sequence;
        promptStarts[row] = promptStart;
        roomCounts[row] = room;
        sequence.enqueued(room, samples);
    }
}
