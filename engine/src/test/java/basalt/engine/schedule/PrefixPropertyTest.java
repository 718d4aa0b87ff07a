package basalt.engine.schedule;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import basalt.engine.EngineConfig;
import basalt.engine.GenerationRequest;
import basalt.engine.backend.fake.FakeBackend;
import basalt.engine.state.PrefixCache;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import java.util.stream.LongStream;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** Prompts that begin alike, on a device several steps deep. Seeded; {@code -Dseed=N} replays one. */
class PrefixPropertyTest {
    private static final int REQUESTS = 150;

    static LongStream seeds() {
        String seed = System.getProperty("seed");
        return seed == null ? LongStream.range(0, 20) : LongStream.of(Long.parseLong(seed));
    }

    @ParameterizedTest(name = "seed {0}")
    @MethodSource("seeds")
    void promptThatBeginsLikeAnotherIsAnsweredAsIfAlone(long seed) {
        var random = new Random(seed);
        int slots = 2 + random.nextInt(8);
        int rows = 1 + random.nextInt(6);
        var options = new FakeBackend.Options(
                SteppedEngine.VOCAB_SIZE, slots, rows, rows + random.nextInt(100), 1 + random.nextInt(4), 0, 0);
        var config = new EngineConfig(
                1 + random.nextInt(8), 1 + random.nextInt(400), 50, REQUESTS, 10_000_000, Duration.ofSeconds(1));
        var engine = new SteppedEngine(new FakeBackend(options), config);
        var cache = new PrefixCache(20_000 + random.nextInt(200_000));
        List<Answer> open = new ArrayList<>();
        long cached = 0;

        for (int sent = 0; sent < REQUESTS || !open.isEmpty(); ) {
            if (sent < REQUESTS && random.nextInt(3) == 0) {
                var request = request(random, slots);
                String scope = random.nextInt(4) == 0 ? "other" : "scope";
                open.add(new Answer(
                        request,
                        engine.front().submit(List.of(request), cache, scope).getFirst()));
                sent++;
            }
            engine.turn();
            for (var answer : List.copyOf(open)) {
                answer.read();
                if (answer.generation().isFinished()) {
                    for (int choice = 0; choice < answer.request().choiceCount(); choice++) {
                        Expected.of(answer.request(), choice).assertEqualTo(answer);
                    }
                    var usage = answer.generation().usage();
                    assertEquals(answer.request().prompt().length, usage.promptTokenCount());
                    assertTrue(usage.cachedTokenCount() < usage.promptTokenCount());
                    cached += usage.cachedTokenCount();
                    open.remove(answer);
                }
            }
        }

        engine.run();

        assertEquals(slots, engine.freeSlotCount());
        assertTrue(cached > 0, "nothing was found");
    }

    /** One of few long beginnings, and a tail of its own. */
    private static GenerationRequest request(Random random, int slots) {
        var any = Requests.random(random, slots);
        int[] head = Requests.prompt(random.nextInt(2), 300 + 300 * random.nextInt(3));
        int[] prompt = Arrays.copyOf(head, head.length + any.prompt().length);
        System.arraycopy(any.prompt(), 0, prompt, head.length, any.prompt().length);
        return any.withPrompt(prompt);
    }

    @ParameterizedTest(name = "seed {0}")
    @MethodSource("seeds")
    void sharedBeginningIsReadOnce(long seed) {
        var engine = new SteppedEngine();
        var cache = new PrefixCache(1 << 24);
        int[] head = Requests.prompt((int) seed, 2_048);
        long before = engine.stats().promptTokenCount();

        for (int i = 0; i < 100; i++) {
            int[] prompt = Arrays.copyOf(head, head.length + 1 + i % 7);
            prompt[head.length] = i % SteppedEngine.VOCAB_SIZE;
            var request = Requests.with(prompt, 3, 1, 0);
            var answer = new Answer(
                    request,
                    engine.front().submit(List.of(request), cache, "scope").getFirst());
            engine.run(answer);
            Expected.of(request, 0).assertEqualTo(answer);
        }

        long read = engine.stats().promptTokenCount() - before;
        // The second one finds where they part.
        assertTrue(read < 2_048 + 512 + 100 * 8, "read " + read);
    }
}
