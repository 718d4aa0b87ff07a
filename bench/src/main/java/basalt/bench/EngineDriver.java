package basalt.bench;

import basalt.engine.Engine;
import basalt.engine.EngineConfig;
import basalt.engine.Generation;
import basalt.engine.GenerationRequest;
import basalt.engine.SamplingParams;
import basalt.engine.TokenEvent;
import basalt.engine.backend.Backend;
import basalt.engine.model.ModelConfig;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.Random;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.LongAdder;

/** Measures whole generations through the engine: scheduling, channels and a reading thread for each. */
final class EngineDriver implements AutoCloseable {
    static final int PROMPT_TOKENS = 100;
    private static final double REPEAT_SECONDS = 0.5;
    private static final int TOKENS_MIN = 128;
    private static final int TOKENS_MAX = 1 << 20;

    private final Engine engine;
    private final int vocabSize;

    /**
     * Takes the backend over, and closes it in the end.
     *
     * @param queueRequestsMax requests that wait at a time
     */
    EngineDriver(ModelConfig model, Backend backend, int chunkTokens, int queueRequestsMax) {
        var standard = EngineConfig.DEFAULT;
        var config = new EngineConfig(
                backend.rowCountMax(),
                chunkTokens,
                standard.stepTargetMillis(),
                Math.max(standard.queueRequestsMax(), queueRequestsMax),
                standard.queueTokensMax(),
                standard.slowReaderTimeout());
        engine = Engine.start(model, Optional.empty(), List.of(backend), config);
        vocabSize = model.vocabSize();
    }

    /** Tokens/s of so many greedy generations at a time, from the first token of any to the last of all. */
    Rate decode(int generationCount, int repeatCount) {
        double warmUp = once(generationCount, TOKENS_MIN);
        int maxTokens =
                (int) Math.clamp(warmUp * REPEAT_SECONDS / generationCount, (double) TOKENS_MIN, (double) TOKENS_MAX);
        var rates = new double[repeatCount];
        for (int repeat = 0; repeat < repeatCount; repeat++) {
            rates[repeat] = once(generationCount, maxTokens);
        }
        return Rate.of(rates);
    }

    /**
     * Tokens/s of streams that each start a new generation when one ends, as those of {@link LoadRun} do through HTTP.
     */
    double load(int streamCount, int promptTokens, int maxTokens, int seconds) {
        var count = new LongAdder();
        long start = System.nanoTime();
        long end = start + TimeUnit.SECONDS.toNanos(seconds);
        try (var executor = Executors.newVirtualThreadPerTaskExecutor()) {
            for (int i = 0; i < streamCount; i++) {
                int seed = i;
                executor.execute(() -> {
                    while (System.nanoTime() < end) {
                        countTokens(request(seed, promptTokens, maxTokens), end, count);
                    }
                });
            }
            TimeUnit.SECONDS.sleep(seconds);
            return 1e9 * count.sum() / (System.nanoTime() - start);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            throw new BenchException("interrupted", e);
        }
    }

    private void countTokens(GenerationRequest request, long end, LongAdder count) {
        try (var generation = engine.submit(request)) {
            for (var event = generation.next(); event.isPresent(); event = generation.next()) {
                if (event.get() instanceof TokenEvent.Sampled) {
                    count.increment();
                }
                if (System.nanoTime() > end) {
                    return;
                }
            }
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            throw new BenchException("interrupted", e);
        }
    }

    private GenerationRequest request(int seed, int promptTokens, int maxTokens) {
        return new GenerationRequest(
                new Random(seed).ints(promptTokens, 0, vocabSize).toArray(),
                maxTokens,
                SamplingParams.GREEDY,
                0,
                1,
                List.of(),
                new int[0],
                true,
                0,
                -1,
                false,
                0,
                Optional.empty());
    }

    private double once(int generationCount, int maxTokens) {
        var requests = new ArrayList<GenerationRequest>();
        for (int i = 0; i < generationCount; i++) {
            requests.add(request(i, PROMPT_TOKENS, maxTokens));
        }
        var timings = readAll(engine.submit(requests));
        long first = Long.MAX_VALUE;
        long last = Long.MIN_VALUE;
        for (var timing : timings) {
            first = Math.min(first, timing.firstTokenNanos());
            last = Math.max(last, timing.finishedNanos());
        }
        return 1e9 * generationCount * maxTokens / (last - first);
    }

    private static List<Generation.Timing> readAll(List<Generation> generations) {
        var timings = new ArrayList<Generation.Timing>();
        try (var executor = Executors.newVirtualThreadPerTaskExecutor()) {
            var futures = new ArrayList<Future<Generation.Timing>>();
            for (var generation : generations) {
                futures.add(executor.submit(() -> {
                    while (generation.next().isPresent()) {
                        // Only the time counts.
                    }
                    return generation.timing();
                }));
            }
            for (var future : futures) {
                timings.add(future.get());
            }
        } catch (ExecutionException e) {
            throw new BenchException("a generation failed: " + e.getCause(), e);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            throw new BenchException("interrupted", e);
        }
        return timings;
    }

    @Override
    public void close() {
        engine.close();
    }
}
