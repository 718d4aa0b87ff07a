package basalt.engine.session;

import static basalt.engine.session.StoreFixture.OWNER;
import static basalt.engine.session.StoreFixture.concat;
import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import basalt.engine.Engine;
import basalt.engine.state.TokenHistory;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.stream.LongStream;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** Sessions under small budgets and many restarts. Seeded; {@code -Dseed=N} replays one. */
class SessionStorePropertyTest {
    private static final int OPERATIONS = 400;

    @TempDir
    private Path directory;

    static LongStream seeds() {
        String seed = System.getProperty("seed");
        return seed == null ? LongStream.range(0, 6) : LongStream.of(Long.parseLong(seed));
    }

    @ParameterizedTest(name = "seed {0}")
    @MethodSource("seeds")
    void everyCommittedTurnIsThereWhateverHappens(long seed) throws Exception {
        var random = new Random(seed);
        long imageBytes = 1_024; // of the fake
        var config = StoreFixture.config(
                random.nextInt(6) * imageBytes, random.nextInt(8) * imageBytes, 1 + random.nextInt(100));
        Map<String, int[]> histories = new HashMap<>();
        try (var engine = StoreFixture.engine(0)) {
            var store = open(engine, config);
            for (int i = 0; i < OPERATIONS; i++) {
                if (random.nextInt(40) == 0) {
                    if (random.nextBoolean()) {
                        store.close();
                        store = open(engine, config);
                    } else {
                        store = abandon(store, engine, config);
                    }
                }
                operate(store, histories, random);
            }
            for (var entry : histories.entrySet()) {
                check(store, entry.getKey(), entry.getValue());
            }
            assertEquals(histories.size(), store.count());
            for (String id : histories.keySet()) {
                store.delete(OWNER, id);
            }
            assertEquals(0, store.stats().archive().bytes());
            store.close();
            try (var files = java.nio.file.Files.list(directory)) {
                assertEquals(
                        List.of("lock"),
                        files.map(path -> path.getFileName().toString()).toList());
            }
        }
    }

    private SessionStore open(Engine engine, SessionConfig config) {
        return SessionStore.open(engine, config, DirectoryArchive.open(directory, Durability.OFF), () -> 1_000);
    }

    /** As after a kill: nothing is written, only the lock is free. */
    private SessionStore abandon(SessionStore store, Engine engine, SessionConfig config) {
        store.abandon();
        return open(engine, config);
    }

    private static void operate(SessionStore store, Map<String, int[]> histories, Random random) throws Exception {
        if (histories.isEmpty() || random.nextInt(20) == 0) {
            histories.put(store.create(OWNER, Duration.ZERO), new int[0]);
        }
        String id = histories.keySet().stream()
                .sorted()
                .skip(random.nextInt(histories.size()))
                .findFirst()
                .orElseThrow();
        int[] history = histories.getOrDefault(id, new int[0]);
        int[] prompt = random.ints(history.length == 0 ? 1 : random.nextInt(50), 0, StoreFixture.VOCAB_SIZE)
                .toArray();
        int[] before = concat(history, prompt);
        switch (random.nextInt(8)) {
            case 0 -> cancel(store, id, prompt, random);
            case 1 -> {
                for (String fork : store.fork(OWNER, id, 1 + random.nextInt(3), Duration.ZERO)) {
                    histories.put(fork, history);
                }
            }
            case 2 -> {
                var summary = store.summary(OWNER, id);
                if (!summary.checkpoints().isEmpty()) {
                    long end = summary.checkpoints()
                            .get(random.nextInt(summary.checkpoints().size()));
                    store.rewind(OWNER, id, end);
                    histories.put(id, Arrays.copyOf(history, (int) end));
                }
            }
            case 3 -> forkRunning(store, id, prompt, random, histories);
            default -> {
                if (before.length > 0) {
                    int[] answer = StoreFixture.answer(store, id, prompt, 1 + random.nextInt(60), random.nextInt(3));
                    histories.put(id, concat(before, answer));
                }
            }
        }
        check(store, id, histories.getOrDefault(id, new int[0]));
    }

    private static void cancel(SessionStore store, String id, int[] prompt, Random random) throws Exception {
        if (prompt.length == 0) {
            return;
        }
        try (var turn =
                store.turn(OWNER, id, StoreFixture.request(prompt, 1_000_000, 1), new Patience(Duration.ZERO))) {
            for (int i = random.nextInt(30); i > 0; i--) {
                assertTrue(turn.next().isPresent());
            }
        }
    }

    private static void forkRunning(
            SessionStore store, String id, int[] prompt, Random random, Map<String, int[]> histories) throws Exception {
        if (prompt.length == 0) {
            return;
        }
        int[] before = concat(histories.getOrDefault(id, new int[0]), prompt);
        try (var turn = store.turn(OWNER, id, StoreFixture.request(prompt, 200, 5), new Patience(Duration.ZERO))) {
            for (int i = random.nextInt(30); i > 0; i--) {
                assertTrue(turn.next().isPresent());
            }
            String fork = store.fork(OWNER, id, 1, Duration.ZERO).getFirst();
            int count = (int) store.summary(OWNER, fork).tokenCount();
            int[] whole = concat(before, StoreFixture.expected(before, 200, 5));
            if (count >= before.length) {
                histories.put(fork, Arrays.copyOf(whole, count));
            } else {
                throw new AssertionError("forked before the turn: " + count);
            }
            StoreFixture.read(turn);
            histories.put(id, whole);
        }
    }

    /** By its digest, and by what it says next. */
    private static void check(SessionStore store, String id, int[] history) throws Exception {
        var summary = store.summary(OWNER, id);
        assertEquals(history.length, summary.tokenCount());
        assertEquals(TokenHistory.EMPTY.append(history).digestText(), summary.digest());
        if (history.length == 0) {
            return;
        }
        String probe = store.fork(OWNER, id, 1, Duration.ZERO).getFirst();
        int[] answer = StoreFixture.answer(store, probe, new int[0], 5, 9);
        assertArrayEquals(StoreFixture.expected(history, 5, 9), answer);
        store.delete(OWNER, probe);
    }
}
