package basalt.engine.schedule;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import basalt.engine.EngineConfig;
import basalt.engine.GenerationRequest;
import basalt.engine.backend.fake.FakeBackend;
import basalt.engine.state.PrefixCache;
import basalt.engine.state.PrefixUse;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import java.util.stream.LongStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** Prompts that begin alike, on a device several steps deep. Seeded; {@code -Dseed=N} replays one. */
class PrefixPropertyTest {
    private static final PrefixCache.Scope SCOPE = new PrefixCache.Scope("tenant", "scope");
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
        var backend = new FakeBackend(options);
        if (seed % 2 == 1) {
            backend.saveLate(Thread::startVirtualThread);
        }
        var engine = new SteppedEngine(backend, config);
        var cache = new PrefixCache(20_000 + random.nextInt(200_000));
        List<Answer> open = new ArrayList<>();
        long cached = 0;

        for (int sent = 0; sent < REQUESTS || !open.isEmpty(); ) {
            if (sent < REQUESTS && random.nextInt(3) == 0) {
                var request = request(random, slots);
                var scope = new PrefixCache.Scope("tenant", random.nextInt(4) == 0 ? "other" : "scope");
                open.add(new Answer(
                        request,
                        engine.front()
                                .submit(List.of(request), use(seed + sent, cache, scope, request))
                                .getFirst()));
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
        assertTrue(cached > 0 || seed % 2 == 1, "nothing was found");
    }

    /** With breakpoints now and then, and then only there. */
    private static PrefixUse use(long seed, PrefixCache cache, PrefixCache.Scope scope, GenerationRequest request) {
        var random = new Random(seed);
        int[] breakpoints = random.ints(random.nextInt(3), 1, request.prompt().length + 10)
                .sorted()
                .toArray();
        return new PrefixUse(cache, scope, breakpoints, random.nextInt(8) == 0);
    }

    @Test
    void samePromptAgainReadsItsLastTokenOnly() {
        for (int length = 256; length < 330; length++) {
            var engine = new SteppedEngine();
            var cache = new PrefixCache(1 << 24);
            var request = Requests.with(Requests.prompt(length, length), 3, 1, 0);
            for (int time = 0; time < 2; time++) {
                var answer = new Answer(
                        request,
                        engine.front()
                                .submit(List.of(request), PrefixUse.of(cache, SCOPE))
                                .getFirst());
                engine.run(answer);
                Expected.of(request, 0).assertEqualTo(answer);
                var usage = answer.generation().usage();
                assertEquals(time == 0 ? 0 : length - 1, usage.cachedTokenCount(), "length " + length);
            }
        }
    }

    /** A beginning that is too short to be kept without being asked for. */
    @Test
    void stateIsKeptExactlyAtABreakpoint() {
        var engine = new SteppedEngine(new FakeBackend(SteppedEngine.OPTIONS), EngineConfig.DEFAULT);
        var cache = new PrefixCache(1 << 24);
        int[] head = Requests.prompt(1, 37);
        for (int tail = 0; tail < 3; tail++) {
            int[] prompt = Arrays.copyOf(head, 60 + tail);
            Arrays.fill(prompt, 37, prompt.length, tail);
            var use = new PrefixUse(cache, SCOPE, new int[] {37}, true);
            var request = GenerationRequest.of(prompt, 5);
            var answer = new Answer(
                    request, engine.front().submit(List.of(request), use).getFirst());
            while (!answer.generation().isFinished()) {
                engine.turn();
                answer.read();
            }

            Expected.of(request, 0).assertEqualTo(answer);
            assertEquals(tail == 0 ? 0 : 37, answer.generation().usage().cachedTokenCount());
            assertEquals(tail == 0 ? 37 : 0, answer.generation().usage().cacheWriteTokenCount());
        }
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
                    engine.front()
                            .submit(List.of(request), PrefixUse.of(cache, SCOPE))
                            .getFirst());
            engine.run(answer);
            Expected.of(request, 0).assertEqualTo(answer);
        }

        long read = engine.stats().promptTokenCount() - before;
        // The second one finds where they part.
        assertTrue(read < 2_048 + 512 + 100 * 8, "read " + read);
    }
}
