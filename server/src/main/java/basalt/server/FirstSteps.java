package basalt.server;

import basalt.engine.SamplingParams;
import basalt.engine.backend.Backend;
import basalt.engine.backend.Batch;
import basalt.engine.backend.RowSampling;
import basalt.engine.backend.StepResult;
import java.util.Map;
import java.util.Random;
import java.util.function.BooleanSupplier;

/**
 * Steps of a backend that no engine has yet, so that its kernels are compiled while the rest of a model is loaded. What
 * they leave in slots is overwritten when a slot is acquired.
 */
final class FirstSteps {
    /** Six rows and one: with the tokens of several rows every kernel runs. */
    private static final int PROMPT_TOKENS = 7;
    /** Of one slot: past a fold of Taylor attention. */
    private static final int TOKENS_MAX = 64;

    private static final SamplingParams[] SAMPLINGS = {
        SamplingParams.GREEDY, new SamplingParams(1, 40, 0.9f, 0, 0, 0, 1, Map.of())
    };

    private FirstSteps() {}

    /**
     * Runs steps on the caller's thread until there is no more to wait for.
     *
     * @param vocabSize N
     * @param isOver asked after each step
     */
    static void run(Backend backend, int vocabSize, BooleanSupplier isOver) {
        var batch = new Batch(backend.rowCountMax(), backend.tokenCountMax());
        var result = new StepResult(backend.rowCountMax(), backend.tokenCountMax());
        var random = new Random(0);
        int promptTokens = Math.min(PROMPT_TOKENS, backend.tokenCountMax());
        for (int round = 0; !isOver.getAsBoolean(); round++) {
            int rowCount =
                    Math.min(1 + round % 4, Math.min(backend.rowCountMax(), backend.tokenCountMax() / promptTokens));
            batch.clear();
            for (int slot = 0; slot < rowCount; slot++) {
                backend.zero(slot);
                backend.configure(slot, sampling(round));
                batch.add(slot, random.ints(promptTokens, 0, vocabSize).toArray(), 0, promptTokens, true);
            }
            int stepCount = 1 << Math.min(round, 4);
            for (int step = 0; step < stepCount && !isOver.getAsBoolean(); step++) {
                backend.enqueue(batch);
                backend.await(result);
                batch.clear();
                for (int slot = 0; slot < rowCount; slot++) {
                    batch.addContinuing(slot);
                }
            }
        }
    }

    private static RowSampling sampling(int round) {
        return new RowSampling(
                SAMPLINGS[round % SAMPLINGS.length],
                round,
                0,
                new int[0],
                0,
                TOKENS_MAX,
                round % 4 == 3 ? 1 : -1,
                new int[0]);
    }
}
