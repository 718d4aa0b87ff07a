package basalt.engine;

import static org.junit.jupiter.api.Assertions.assertEquals;

import basalt.engine.backend.cpu.CpuBackend;
import basalt.engine.model.Checkpoint;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Optional;
import java.util.Random;
import java.util.concurrent.Callable;
import java.util.concurrent.Executors;
import java.util.stream.LongStream;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** The bundled model through the whole engine. Seeded; {@code -Dseed=N} replays one. */
class EngineCpuPropertyTest {
    private static final Path MODEL = Path.of("..", "models", "based-10m");
    private static final int REQUESTS = 10;

    static LongStream seeds() {
        String seed = System.getProperty("seed");
        return seed == null ? LongStream.range(0, 3) : LongStream.of(Long.parseLong(seed));
    }

    /** How the same requests are run. */
    private record Shape(int slots, int rows, int chunk, int threads) {}

    /** An event without its arrays' identity. */
    private record Seen(int choice, int index, int token, int logprobBits, String top) {}

    @ParameterizedTest(name = "seed {0}")
    @MethodSource("seeds")
    void tokensAndScoresAreTheSameForAnyMixAndChunkingAndThreads(long seed) throws Exception {
        var random = new Random(seed);
        try (var checkpoint = Checkpoint.open(MODEL)) {
            var requests = new ArrayList<GenerationRequest>();
            for (int i = 0; i < REQUESTS; i++) {
                requests.add(request(random, checkpoint.config().vocabSize()));
            }
            var alone = answers(checkpoint, requests, new Shape(4, 4, 512, 1), true);

            var shape = new Shape(4 + random.nextInt(9), 1 + random.nextInt(4), 1 + random.nextInt(70), 2);
            var mixed = answers(checkpoint, requests, shape, false);

            for (int i = 0; i < REQUESTS; i++) {
                assertEquals(alone.get(i), mixed.get(i), shape + ", request " + i);
            }
        }
    }

    private static GenerationRequest request(Random random, int vocabSize) {
        int[] prompt = random.ints(1 + random.nextInt(150), 0, vocabSize).toArray();
        return new GenerationRequest(
                prompt,
                random.nextInt(70),
                random.nextBoolean() ? SamplingParams.GREEDY : SamplingParams.DEFAULT,
                random.nextLong(),
                1 + random.nextInt(3),
                List.of(),
                new int[0],
                true,
                0,
                random.nextInt(4) - 1,
                random.nextInt(3) == 0,
                0,
                Optional.empty());
    }

    private static List<List<Seen>> answers(
            Checkpoint checkpoint, List<GenerationRequest> requests, Shape shape, boolean isAlone) throws Exception {
        var model = checkpoint.config();
        var backend = CpuBackend.open(
                model,
                checkpoint.weights(),
                shape.slots(),
                shape.rows(),
                Math.max(shape.rows(), shape.chunk()),
                shape.threads());
        var config = new EngineConfig(shape.rows(), shape.chunk(), 50, REQUESTS, 1_000_000, Duration.ofMinutes(1));
        var answers = new ArrayList<List<Seen>>();
        try (var engine = Engine.start(model, Optional.empty(), List.of(backend), config);
                var readers = Executors.newVirtualThreadPerTaskExecutor()) {
            if (isAlone) {
                for (var request : requests) {
                    answers.add(read(engine.submit(request)));
                }
            } else {
                var tasks = new ArrayList<Callable<List<Seen>>>();
                requests.forEach(request -> tasks.add(() -> read(engine.submit(request))));
                for (var future : readers.invokeAll(tasks)) {
                    answers.add(future.get());
                }
            }
        }
        return answers;
    }

    /** All tokens of a generation, choice by choice. */
    private static List<Seen> read(Generation generation) throws InterruptedException {
        var seen = new ArrayList<Seen>();
        for (var event = generation.next(); event.isPresent(); event = generation.next()) {
            switch (event.get()) {
                case TokenEvent.Scored e -> seen.add(seen(e.choice(), e.index() - 1_000_000, e.token(), e.logprobs()));
                case TokenEvent.Sampled e -> seen.add(seen(e.choice(), e.index(), e.token(), e.logprobs()));
                case TokenEvent.Finished e -> assertEquals(FinishReason.LENGTH, e.reason());
            }
        }
        seen.sort((a, b) -> a.choice() != b.choice()
                ? Integer.compare(a.choice(), b.choice())
                : Integer.compare(a.index(), b.index()));
        return seen;
    }

    private static Seen seen(int choice, int index, int token, Optional<TokenEvent.Logprobs> logprobs) {
        int bits = logprobs.map(p -> Float.floatToRawIntBits(p.chosen())).orElse(0);
        String top = logprobs.map(p -> Arrays.toString(p.topIds()) + Arrays.toString(p.topLogprobs()))
                .orElse("");
        return new Seen(choice, index, token, bits, top);
    }
}
