package basalt.engine;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import basalt.engine.backend.cpu.CpuBackend;
import basalt.engine.model.Checkpoint;
import basalt.engine.session.DirectoryArchive;
import basalt.engine.session.Durability;
import basalt.engine.session.Patience;
import basalt.engine.session.SessionConfig;
import basalt.engine.session.SessionStore;
import basalt.engine.session.TurnRequest;
import basalt.engine.state.PrefixCache;
import basalt.engine.state.PrefixUse;
import basalt.engine.state.SessionState;
import basalt.engine.state.TokenHistory;
import basalt.engine.text.Tokenizers;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Optional;
import java.util.Random;
import java.util.stream.LongStream;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** Sessions of the bundled model. Seeded; {@code -Dseed=N} replays one. */
class SessionCpuPropertyTest {
    private static final Path MODEL = Path.of("..", "models", "based-10m");
    private static final int TOP = 5;
    private static final int FORKS = 16;

    @TempDir
    private Path directory;

    static LongStream seeds() {
        String seed = System.getProperty("seed");
        return seed == null ? LongStream.range(0, 2) : LongStream.of(Long.parseLong(seed));
    }

    /** A token with the bits of its log-probabilities. */
    private record Seen(int token, int logprobBits, String top) {}

    private record Turned(List<Seen> seen, SessionState state, FinishReason reason) {}

    private static Engine start(Checkpoint checkpoint, Random random) {
        int rows = 1 + random.nextInt(4);
        var backend =
                CpuBackend.open(checkpoint.config(), checkpoint.weights(), 4, rows, rows + 1 + random.nextInt(70), 2);
        var config = new EngineConfig(rows, 1 + random.nextInt(70), 50, 100, 1_000_000, Duration.ofMinutes(1));
        var tokenizer = Tokenizers.open(checkpoint.directory(), checkpoint.config());
        return Engine.start(checkpoint.config(), tokenizer, List.of(backend), config);
    }

    private static GenerationRequest request(int[] prompt, int maxTokens, Random random, List<String> stops) {
        return new GenerationRequest(
                prompt,
                maxTokens,
                random.nextBoolean() ? SamplingParams.GREEDY : SamplingParams.DEFAULT.withFilters(40, 0.95f, 0),
                7,
                1,
                stops,
                new int[0],
                true,
                0,
                TOP,
                false,
                0,
                Optional.empty());
    }

    private static Turned turn(Engine engine, SessionState from, GenerationRequest request) throws Exception {
        return run(engine, from.append(request.prompt()), request);
    }

    private static Turned run(Engine engine, SessionState start, GenerationRequest request) throws Exception {
        try (var turn = engine.resume(start, request.withPrompt(start.pending()), false)) {
            return read(turn);
        }
    }

    private static Turned read(Turn turn) throws InterruptedException {
        var seen = new ArrayList<Seen>();
        var reason = FinishReason.ERROR;
        for (var event = turn.next(); event.isPresent(); event = turn.next()) {
            switch (event.get()) {
                case TokenEvent.Scored e -> throw new AssertionError(e);
                case TokenEvent.Sampled e -> seen.add(seen(e));
                case TokenEvent.Finished e -> reason = e.reason();
            }
        }
        return new Turned(seen, turn.outcome().orElseThrow().state(), reason);
    }

    private static Seen seen(TokenEvent.Sampled e) {
        var values = e.logprobs().orElseThrow();
        return new Seen(
                e.token(),
                Float.floatToRawIntBits(values.chosen()),
                Arrays.toString(values.topIds()) + Arrays.toString(values.topLogprobs()));
    }

    private static List<Seen> whole(Engine engine, int[] history, GenerationRequest request) throws Exception {
        try (var generation = engine.submit(request.withPrompt(history))) {
            return seen(generation);
        }
    }

    private static List<Seen> seen(Generation generation) throws InterruptedException {
        var seen = new ArrayList<Seen>();
        for (var event = generation.next(); event.isPresent(); event = generation.next()) {
            if (event.get() instanceof TokenEvent.Sampled e) {
                seen.add(seen(e));
            }
        }
        return seen;
    }

    /** Its state has read the last token already and goes back by one. */
    @ParameterizedTest(name = "seed {0}")
    @MethodSource("seeds")
    void promptSentAgainIsAnsweredBitForBit(long seed) throws Exception {
        var random = new Random(seed);
        try (var checkpoint = Checkpoint.open(MODEL);
                var engine = start(checkpoint, random)) {
            var cache = new PrefixCache(1 << 28);
            var use = PrefixUse.of(cache, new PrefixCache.Scope("tenant", "scope"));
            for (int length : new int[] {257, 258, 272 + random.nextInt(16), 288, 289}) {
                int[] prompt = random.ints(length, 0, 8_000).toArray();
                var request = request(prompt, 8, random, List.of());
                var alone = whole(engine, prompt, request);
                for (int time = 0; time < 2; time++) {
                    long entries = cache.stats().entries();
                    try (var generation = engine.submit(List.of(request), use).getFirst()) {
                        assertEquals(alone, seen(generation));
                        while (time == 0 && cache.stats().entries() == entries) {
                            Thread.onSpinWait(); // a thread of the backend's own copies the state
                        }
                        assertEquals(
                                time == 0 ? 0 : length - 1, generation.usage().cachedTokenCount());
                    }
                }
            }
        }
    }

    @ParameterizedTest(name = "seed {0}")
    @MethodSource("seeds")
    void textInTurnsIsTheUninterruptedOneBitForBit(long seed) throws Exception {
        var random = new Random(seed);
        try (var checkpoint = Checkpoint.open(MODEL);
                var engine = start(checkpoint, random)) {
            int[] prompt = random.ints(
                            1 + random.nextInt(150), 0, checkpoint.config().vocabSize())
                    .toArray();
            var request = request(prompt, 120, random, List.of());
            var uninterrupted = whole(engine, prompt, request);

            var inTurns = new ArrayList<Seen>();
            var state = SessionState.EMPTY.append(prompt);
            while (inTurns.size() < uninterrupted.size()) {
                int count = Math.min(1 + random.nextInt(50), uninterrupted.size() - inTurns.size());
                var turned = run(engine, state, withMaxTokens(request, count));
                inTurns.addAll(turned.seen());
                state = turned.state();
                assertEquals(1, state.pendingCount());
            }

            assertEquals(uninterrupted, inTurns);
            assertEquals(prompt.length + 120, state.tokenCount());
        }
    }

    private static GenerationRequest withMaxTokens(GenerationRequest request, int maxTokens) {
        return new GenerationRequest(
                request.prompt(),
                maxTokens,
                request.sampling(),
                request.seed(),
                1,
                request.stopStrings(),
                new int[0],
                true,
                0,
                TOP,
                false,
                0,
                Optional.empty());
    }

    @ParameterizedTest(name = "seed {0}")
    @MethodSource("seeds")
    void turnsThatEndAtStopStringsGoOnAsTheTextThatWasShown(long seed) throws Exception {
        var random = new Random(seed + 1_000);
        try (var checkpoint = Checkpoint.open(MODEL);
                var engine = start(checkpoint, random)) {
            var tokenizer = engine.tokenizer().orElseThrow();
            var state = SessionState.EMPTY;
            int[] history = {};
            int stopped = 0;
            for (int i = 0; i < 8; i++) {
                int[] prompt = tokenizer.encode(i == 0 ? "The old man went" : " And then");
                var stops = List.of(List.of(" the", "e", "o", "e a").get(random.nextInt(4)));
                var request = request(prompt, 60, random, stops);
                int[] all = concat(history, prompt);
                var expected = whole(engine, all, request);

                var turned = turn(engine, state, request);

                assertEquals(expected, turned.seen());
                state = turned.state();
                stopped += turned.reason() == FinishReason.STOP ? 1 : 0;
                String text = tokenizer.decode(
                        turned.seen().stream().mapToInt(Seen::token).toArray());
                int end = text.indexOf(stops.getFirst());
                int[] pending = state.pending();
                // What is consumed is known by its digest only: the tokens wholly before the cut, and the rest again.
                history = historyOf(
                        all, turned, tokenizer.decode(pending), end < 0 ? text : text.substring(0, end), engine);
                assertEquals(TokenHistory.EMPTY.append(history), state.history());
            }
            assertTrue(stopped > 3, "stopped " + stopped + " times");
        }
    }

    private static int[] historyOf(int[] before, Turned turned, String pending, String visible, Engine engine) {
        var tokenizer = engine.tokenizer().orElseThrow();
        int[] tokens = turned.seen().stream().mapToInt(Seen::token).toArray();
        int kept = tokens.length;
        while (tokenizer.decode(Arrays.copyOf(tokens, kept)).length() > visible.length()) {
            kept--;
        }
        int[] whole = Arrays.copyOf(tokens, kept);
        String rest = visible.substring(tokenizer.decode(whole).length());
        assertTrue(pending.endsWith(rest), pending);
        return concat(concat(before, whole), rest.isEmpty() ? new int[0] : tokenizer.encode(rest));
    }

    @ParameterizedTest(name = "seed {0}")
    @MethodSource("seeds")
    void textAcrossRestartsAndServersIsTheUninterruptedOneBitForBit(long seed) throws Exception {
        var random = new Random(seed + 3_000);
        try (var checkpoint = Checkpoint.open(MODEL)) {
            int[] prompt = random.ints(40, 0, checkpoint.config().vocabSize()).toArray();
            var request = request(prompt, 80, random, List.of());
            List<Seen> uninterrupted;
            try (var engine = start(checkpoint, random)) {
                uninterrupted = whole(engine, prompt, request);
            }
            var inTurns = new ArrayList<Seen>();
            String id = "";
            byte[] moved = {};
            for (int i = 0; i < 4; i++) {
                // One directory twice, then another that the state is carried to.
                var archive =
                        DirectoryArchive.open(directory.resolve("server" + i / 2), Durability.OFF, Long.MAX_VALUE);
                var config = new SessionConfig(checkpoint.fingerprint(), 10, 1 << 24, 1 << 24, 1);
                try (var engine = start(checkpoint, random);
                        var store = SessionStore.open(engine, config, archive, () -> 1)) {
                    id = i % 2 == 0 ? store.create("owner", Duration.ZERO) : id;
                    if (i == 2) {
                        store.importState("owner", id, moved);
                    }
                    var template = withMaxTokens(request, 20);
                    int[] next = i == 0 ? prompt : new int[0];
                    var turn = store.turn(
                            "owner", id, new TurnRequest(next, next, template, false), new Patience(Duration.ZERO));
                    for (var event = turn.next(); event.isPresent(); event = turn.next()) {
                        if (event.get() instanceof TokenEvent.Sampled e) {
                            inTurns.add(seen(e));
                        }
                    }
                    assertEquals(i == 0 ? 0 : 39 + 20L * i, turn.usage().cachedTokenCount());
                    moved = store.exported("owner", id);
                }
            }

            assertEquals(uninterrupted, inTurns);
        }
    }

    @ParameterizedTest(name = "seed {0}")
    @MethodSource("seeds")
    void branchesOfARunningTurnGoOnAsIfAlone(long seed) throws Exception {
        var random = new Random(seed + 2_000);
        try (var checkpoint = Checkpoint.open(MODEL);
                var engine = start(checkpoint, random)) {
            int[] prompt = engine.tokenizer().orElseThrow().encode("Once upon a time");
            // More than wait for their reader, so that the turn has not ended before it is forked.
            var request = request(prompt, 300, random, List.of());
            var uninterrupted = whole(engine, prompt, request);
            var start = SessionState.EMPTY.append(prompt);

            try (var turn = engine.resume(start, request, false)) {
                var forked = turn.fork().orElseThrow().state();
                var trunk = read(turn);

                assertEquals(uninterrupted, trunk.seen());
                int count = (int) forked.tokenCount() - prompt.length;
                int[] history = concat(
                        prompt,
                        uninterrupted.subList(0, count).stream()
                                .mapToInt(Seen::token)
                                .toArray());
                for (int branch = 0; branch < FORKS; branch++) {
                    var own = request(new int[] {branch + 1}, 20, random, List.of());
                    var expected = whole(engine, concat(history, own.prompt()), own);
                    assertEquals(expected, turn(engine, forked, own).seen());
                }
            }
        }
    }

    private static int[] concat(int[] first, int[] second) {
        int[] all = Arrays.copyOf(first, first.length + second.length);
        System.arraycopy(second, 0, all, first.length, second.length);
        return all;
    }
}
