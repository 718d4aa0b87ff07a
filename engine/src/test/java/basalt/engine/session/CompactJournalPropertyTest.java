package basalt.engine.session;

import static basalt.engine.session.StoreFixture.OWNER;
import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import basalt.engine.session.Journal.Entry;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.random.RandomGenerator;
import java.util.random.RandomGeneratorFactory;
import org.junit.jupiter.api.RepeatedTest;
import org.junit.jupiter.api.RepetitionInfo;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class CompactJournalPropertyTest {
    private static final int CASES = 500;
    private static final int ENTRIES = 40;
    private static final Entry HEAD = new Entry.Head("model", OWNER, 1, 2);

    @TempDir
    private Path directory;

    private static List<Entry> journal(RandomGenerator random) {
        var entries = new ArrayList<>(List.of(HEAD));
        if (random.nextInt(3) == 0) {
            entries.add(new Entry.Base(random.nextInt(1_000)));
        }
        int count = random.nextInt(ENTRIES);
        for (int i = 0; i < count; i++) {
            var log = new SessionLog(entries);
            long millis = 10L + i;
            entries.add(
                    switch (random.nextInt(5)) {
                        case 0 -> new Entry.Rewound(millis, random.nextLong(log.firstCount(), log.tokenCount() + 1));
                        case 1 -> new Entry.Noted(new byte[] {(byte) i}, random.nextBoolean());
                        default -> {
                            int[] tokens =
                                    random.ints(random.nextInt(6), 0, 1_000).toArray();
                            yield new Entry.Turned(millis, random.nextInt(tokens.length + 1), tokens);
                        }
                    });
        }
        return entries;
    }

    private static void addUpToTheSame(SessionLog log, SessionLog compact) {
        assertEquals(log.head(), compact.head());
        assertEquals(log.hasBase(), compact.hasBase());
        assertEquals(log.tokenCount(), compact.tokenCount());
        assertArrayEquals(
                log.tokens(log.firstCount(), log.tokenCount()),
                compact.tokens(compact.firstCount(), compact.tokenCount()));
        assertEquals(log.turnCount(), compact.turnCount());
        assertEquals(log.promptTokens(), compact.promptTokens());
        assertEquals(log.answerTokens(), compact.answerTokens());
        assertEquals(log.usedMillis(), compact.usedMillis());
        assertEquals(log.note().map(note -> note[0]), compact.note().map(note -> note[0]));
    }

    @RepeatedTest(value = CASES, name = "seed {currentRepetition}")
    void compactJournalAddsUpToTheSameAndGoesOnAlike(RepetitionInfo seed) {
        var random = RandomGeneratorFactory.of("L64X128MixRandom").create(seed.getCurrentRepetition());
        var entries = journal(random);

        var compact =
                Journal.read(Journal.bytes(CompactJournal.compact(entries))).entries();

        addUpToTheSame(new SessionLog(entries), new SessionLog(compact));
        assertEquals(distinct(entries), distinct(compact));
        addUpToTheSame(new SessionLog(entries), new SessionLog(CompactJournal.compact(compact)));
        var all = new ArrayList<>(entries);
        compact = new ArrayList<>(compact);
        long end = random.nextLong(new SessionLog(entries).firstCount(), new SessionLog(entries).tokenCount() + 1);
        for (var entry : List.of(
                new Entry.Turned(90, 1, new int[] {1, 2, 3}),
                new Entry.Rewound(91, end),
                new Entry.Turned(92, 0, new int[] {4}))) {
            all.add(entry);
            compact.add(entry);
            addUpToTheSame(new SessionLog(all), new SessionLog(compact));
            assertEquals(distinct(all), distinct(compact));
        }
    }

    /** Token counts after the turns; a turn without tokens ends where the one before did. */
    private static List<Long> distinct(List<Entry> entries) {
        return new SessionLog(entries).ends().stream().distinct().toList();
    }

    @Test
    void journalOfTurnsThatAreTakenBackStaysSmall() throws Exception {
        int rounds = 200;
        int[] prompt = RandomGeneratorFactory.of("L64X128MixRandom")
                .create(3)
                .ints(1_000, 1, StoreFixture.VOCAB_SIZE)
                .toArray();
        var config = StoreFixture.config(1 << 20, 1 << 20, 1_000_000);
        long largest = 0;
        String id;
        try (var engine = StoreFixture.engine(0);
                var store = SessionStore.open(
                        engine, config, DirectoryArchive.open(directory, Durability.OFF), () -> 1_000_000)) {
            id = store.create(OWNER, Duration.ZERO);
            StoreFixture.answer(store, id, new int[] {1, 2, 3}, 5, 0);
            for (int i = 0; i < rounds; i++) {
                StoreFixture.answer(store, id, prompt, 5, 0);
                store.rewind(OWNER, id, 6);
                largest = Math.max(largest, Files.size(directory.resolve(id + ".journal")));
            }

            assertEquals(rounds + 1, store.summary(OWNER, id).turnCount());
        }

        assertTrue(largest > 32 * 1024 && largest < 2 * 64 * 1024, "grew to " + largest);
        try (var engine = StoreFixture.engine(0);
                var store = SessionStore.open(
                        engine, config, DirectoryArchive.open(directory, Durability.OFF), () -> 1_000_000)) {
            int[] history = StoreFixture.concat(new int[] {1, 2, 3}, StoreFixture.expected(new int[] {1, 2, 3}, 3, 0));
            assertEquals(6, store.summary(OWNER, id).tokenCount());
            assertEquals(rounds + 1, store.summary(OWNER, id).turnCount());
            assertArrayEquals(
                    StoreFixture.expected(StoreFixture.concat(history, 7), 5, 0),
                    StoreFixture.answer(store, id, new int[] {7}, 5, 0));
        }
    }
}
