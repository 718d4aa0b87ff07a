package basalt.bench;

import basalt.engine.SamplingParams;
import basalt.engine.backend.Backend;
import basalt.engine.backend.Batch;
import basalt.engine.backend.RowSampling;
import basalt.engine.backend.StepResult;
import basalt.engine.state.StateImage;
import java.util.function.DoubleSupplier;
import java.util.random.RandomGenerator;
import java.util.random.RandomGeneratorFactory;

/**
 * Drives a backend as the engine does, but with nothing else to do between steps: greedy rows in slots 0 to B-1, as
 * many steps in flight as the backend takes.
 */
final class BackendDriver {
    /** Steps of a repeat are a multiple of this, so that each repeat has its share of folds. */
    private static final int STEP_GRAIN = 32;

    private static final long REPEAT_NANOS_MIN = 400_000_000;
    private static final int WARM_UP_COUNT_MAX = 20;
    private static final int WARM_UP_IDLE_COUNT = 2;
    private static final double WARM_UP_GAIN = 1.05;
    private static final RowSampling GREEDY =
            new RowSampling(SamplingParams.GREEDY, 0, 0, new int[0], 0, Integer.MAX_VALUE, -1, new int[0]);

    private final Backend backend;
    private final int vocabSize;
    private final Batch batch;
    private final StepResult result;
    private final RandomGenerator random =
            RandomGeneratorFactory.of("L64X128MixRandom").create(1);

    BackendDriver(Backend backend, int vocabSize) {
        this.backend = backend;
        this.vocabSize = vocabSize;
        batch = new Batch(backend.rowCountMax(), backend.tokenCountMax());
        result = new StepResult(backend.rowCountMax(), backend.tokenCountMax());
    }

    /**
     * Measures decode steps.
     *
     * @param rowCount rows B of each step
     * @param position tokens that every slot has consumed before the first step
     */
    Rate decode(int rowCount, long position, int repeatCount) {
        for (int slot = 0; slot < rowCount; slot++) {
            fill(slot, position);
        }
        int stepCount = STEP_GRAIN;
        while (decodeSteps(rowCount, stepCount) < REPEAT_NANOS_MIN) {
            stepCount *= 2;
        }
        int repeatSteps = stepCount;
        return measure(repeatCount, () -> 1e9 * rowCount * repeatSteps / decodeSteps(rowCount, repeatSteps));
    }

    private long decodeSteps(int rowCount, int stepCount) {
        int inFlightMax = backend.stepsInFlightMax();
        long start = System.nanoTime();
        int enqueuedCount = 0;
        for (int awaitedCount = 0; awaitedCount < stepCount; awaitedCount++) {
            for (; enqueuedCount < stepCount && enqueuedCount - awaitedCount < inFlightMax; enqueuedCount++) {
                batch.clear();
                for (int slot = 0; slot < rowCount; slot++) {
                    batch.addContinuing(slot);
                }
                backend.enqueue(batch);
            }
            backend.await(result);
        }
        return System.nanoTime() - start;
    }

    /** Brings a slot to a position, with a token sampled that the next step consumes. */
    private void fill(int slot, long position) {
        backend.zero(slot);
        backend.configure(slot, GREEDY);
        // Far positions are stamped on the state of a short prompt: a step's work depends on the position alone.
        long promptCount = Math.min(position, 4L * STEP_GRAIN + position % STEP_GRAIN) - 1;
        consume(slot, randomTokens(Math.toIntExact(promptCount)), backend.tokenCountMax(), false);
        if (position - 1 > promptCount) {
            var image = new StateImage(backend.layout());
            backend.save(slot, image);
            image.tokenCount(position - 1);
            backend.load(slot, image);
        }
        consume(slot, randomTokens(1), 1, true);
    }

    /**
     * Measures prefill of one prompt, chunk after chunk, without a single row of logits.
     *
     * @param chunkTokens tokens a step
     */
    Rate prefill(int promptTokens, int chunkTokens, int repeatCount) {
        var tokens = randomTokens(promptTokens);
        return measure(repeatCount, () -> {
            long nanos = 0;
            int count = 0;
            while (nanos < REPEAT_NANOS_MIN) {
                nanos += prefillNanos(tokens, chunkTokens);
                count++;
            }
            return 1e9 * promptTokens * count / nanos;
        });
    }

    /** Repeats until the rate has stopped to rise, since compiled code comes late, and then as often as asked. */
    private static Rate measure(int repeatCount, DoubleSupplier tokensPerSecond) {
        double best = 0;
        int idleCount = 0;
        for (int i = 0; i < WARM_UP_COUNT_MAX && idleCount < WARM_UP_IDLE_COUNT; i++) {
            double rate = tokensPerSecond.getAsDouble();
            idleCount = rate > best * WARM_UP_GAIN ? 0 : idleCount + 1;
            best = Math.max(best, rate);
        }
        var rates = new double[repeatCount];
        for (int repeat = 0; repeat < repeatCount; repeat++) {
            rates[repeat] = tokensPerSecond.getAsDouble();
        }
        return Rate.of(rates);
    }

    private long prefillNanos(int[] tokens, int chunkTokens) {
        backend.zero(0);
        backend.configure(0, GREEDY);
        long start = System.nanoTime();
        consume(0, tokens, chunkTokens, false);
        return System.nanoTime() - start;
    }

    private void consume(int slot, int[] tokens, int chunkTokens, boolean samples) {
        for (int from = 0; from < tokens.length; from += chunkTokens) {
            int to = Math.min(tokens.length, from + chunkTokens);
            batch.clear();
            batch.add(slot, tokens, from, to, samples && to == tokens.length);
            backend.enqueue(batch);
            backend.await(result);
        }
    }

    private int[] randomTokens(int count) {
        return random.ints(count, 0, vocabSize).toArray();
    }
}
