package basalt.engine.session;

import static basalt.engine.session.StoreFixture.OWNER;
import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import basalt.engine.Engine;
import basalt.engine.EngineException;
import basalt.engine.GenerationRequest;
import basalt.engine.state.PrefixCache;
import basalt.engine.state.PrefixUse;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicLong;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Sessions where something fails, is full, or happens at an unlucky moment. */
class SessionFailureTest {
    private static final int[] PROMPT = {1, 2, 3};
    private static final int IMAGE_BYTES = 1_024; // of the fake, at most

    @TempDir
    private Path directory;

    private final Engine engine = StoreFixture.engine(0);
    private final AtomicLong millis = new AtomicLong(1_000_000);

    @AfterEach
    void stop() {
        engine.close();
    }

    private HookedArchive archive() {
        return new HookedArchive(DirectoryArchive.open(directory, Durability.OFF));
    }

    private SessionStore open(SessionArchive archive, SessionConfig config) {
        return SessionStore.open(engine, config, archive, millis::get);
    }

    private static SessionConfig sessions(int max) {
        return new SessionConfig(StoreFixture.FINGERPRINT, max, 1 << 20, 1 << 20, 1);
    }

    private List<String> files() throws IOException {
        try (var files = Files.list(directory)) {
            return files.map(path -> path.getFileName().toString())
                    .filter(name -> !name.equals("lock"))
                    .sorted()
                    .toList();
        }
    }

    /** While a commit waits for memory to be freed, the turn still counts as running. */
    @Test
    void forkBetweenACommitAndTheEndOfItsTurnHasTheTurnOnce() throws Exception {
        var archive = archive();
        List<String> forks = Collections.synchronizedList(new ArrayList<>());
        var busy = new AtomicInteger();
        try (var store = open(archive, StoreFixture.config(0, 1 << 20, 1_000))) {
            for (int i = 0; i < 10; i++) {
                String id = store.create(OWNER, Duration.ZERO);
                archive.beforeImage = saved -> {
                    if (saved.equals(id) && store.summary(OWNER, id).isBusy()) {
                        archive.beforeImage = any -> {};
                        busy.incrementAndGet();
                        forks.add(forked(store, id));
                    }
                };
                StoreFixture.answer(store, id, PROMPT, 10, 0);
            }
        }

        assertTrue(busy.get() > 0, "no fork came in time");
        int[] history = StoreFixture.concat(PROMPT, StoreFixture.expected(PROMPT, 10, 0));
        try (var store = open(archive(), StoreFixture.config(0, 1 << 20, 1_000))) {
            for (String fork : forks) {
                assertEquals(13, store.summary(OWNER, fork).tokenCount());
                assertArrayEquals(
                        StoreFixture.expected(history, 5, 0), StoreFixture.answer(store, fork, new int[0], 5, 0));
            }
        }
    }

    private static String forked(SessionStore store, String id) {
        try {
            return store.fork(OWNER, id, 1, Duration.ZERO).getFirst();
        } catch (InterruptedException e) {
            throw new IllegalStateException(e);
        }
    }

    @Test
    void forksAreMadeAllOrNone() throws Exception {
        try (var store = open(archive(), sessions(5))) {
            String id = store.create(OWNER, Duration.ZERO);
            StoreFixture.answer(store, id, PROMPT, 100, 0);
        }
        var again = archive();
        try (var store = open(again, sessions(5))) {
            String id = store.list(OWNER, "", 1).getFirst().id();
            List<String> before = files();
            assertTrue(before.stream().anyMatch(name -> name.endsWith(".image")), before.toString());

            assertThrows(EngineException.SessionsFull.class, () -> store.fork(OWNER, id, 10, Duration.ZERO));
            var left = new AtomicInteger(2);
            again.beforeCreate = () -> {
                if (left.getAndDecrement() == 0) {
                    throw new EngineException.ArchiveFailure("no space left", new IOException());
                }
            };
            assertThrows(EngineException.ArchiveFailure.class, () -> store.fork(OWNER, id, 4, Duration.ZERO));

            assertEquals(before, files());
            assertEquals(1, store.count());
        }
    }

    @Test
    void sessionLivesWhileItsTurnRuns() throws Exception {
        try (var slow = StoreFixture.engine(1_000_000);
                var store = SessionStore.open(slow, sessions(10), new MemoryArchive(1 << 20), millis::get)) {
            String id = store.create(OWNER, Duration.ofSeconds(5));
            try (var turn = store.turn(OWNER, id, StoreFixture.request(PROMPT, 50, 0), new Patience(Duration.ZERO))) {
                millis.addAndGet(5_001);

                assertTrue(store.summary(OWNER, id).isBusy());
                assertEquals(1, store.list(OWNER, "", 10).size());
                String fork = store.fork(OWNER, id, 1, Duration.ZERO).getFirst();
                assertTrue(store.summary(OWNER, fork).tokenCount() > 3);
                StoreFixture.read(turn);
            }
            assertEquals(53, store.summary(OWNER, id).tokenCount());
            millis.addAndGet(5_001);
            assertThrows(EngineException.SessionNotFound.class, () -> store.summary(OWNER, id));
        }
    }

    @Test
    void turnThatCannotBeWrittenDownLeavesTheSessionAsItWasAndFree() throws Exception {
        var archive = archive();
        try (var store = open(archive, sessions(10))) {
            String id = store.create(OWNER, Duration.ZERO);
            StoreFixture.answer(store, id, PROMPT, 10, 0);
            var before = store.summary(OWNER, id);
            for (RuntimeException failure : List.of(
                    new EngineException.ArchiveFailure("no space left", new IOException()),
                    new IllegalStateException("a fault of ours"))) {
                archive.beforeAppend = () -> {
                    throw failure;
                };
                assertThrows(failure.getClass(), () -> StoreFixture.answer(store, id, PROMPT, 10, 0));
                archive.beforeAppend = () -> {};

                assertEquals(before.digest(), store.summary(OWNER, id).digest());
                assertEquals(before.turnCount(), store.summary(OWNER, id).turnCount());
                assertFalse(store.summary(OWNER, id).isBusy());
            }
            StoreFixture.answer(store, id, PROMPT, 10, 0);
            assertEquals(26, store.summary(OWNER, id).tokenCount());
        }
    }

    @Test
    void fileThatCannotBeWrittenLeavesNothing() throws Exception {
        try (var archive = DirectoryArchive.open(directory, Durability.OFF)) {
            Files.createDirectories(directory.resolve("sess_1.5.image").resolve("in the way"));

            assertThrows(EngineException.ArchiveFailure.class, () -> archive.putImage("sess_1", 5, new byte[100]));
        }
        assertEquals(List.of("sess_1.5.image"), files());
    }

    @Test
    void memoryOfHistoriesIsBounded() throws Exception {
        try (var store = open(new MemoryArchive(2_000), sessions(1_000))) {
            String id = store.create(OWNER, Duration.ZERO);
            StoreFixture.answer(store, id, PROMPT, 10, 0);
            var made = new ArrayList<String>();

            assertThrows(EngineException.SessionsFull.class, () -> {
                for (int i = 0; i < 100; i++) {
                    made.addAll(store.fork(OWNER, id, 1, Duration.ZERO));
                }
            });

            assertTrue(made.size() > 5, "forks " + made.size());
            assertThrows(EngineException.SessionsFull.class, () -> StoreFixture.answer(store, id, PROMPT, 50, 0));
            assertEquals(13, store.summary(OWNER, id).tokenCount());
            made.forEach(fork -> store.delete(OWNER, fork));
            StoreFixture.answer(store, id, PROMPT, 50, 0);
            assertEquals(66, store.summary(OWNER, id).tokenCount());
        }
    }

    @Test
    void uploadedStatesAreBounded() throws Exception {
        byte[] state = exported(100);
        assertTrue(state.length < 2 * IMAGE_BYTES, "bytes " + state.length);
        int room = 4 * state.length + 2_000;
        var stores = List.of(
                open(new MemoryArchive(room), sessions(1_000)),
                open(archive(), new SessionConfig(StoreFixture.FINGERPRINT, 1_000, 1 << 20, room, 1)));
        for (var store : stores) {
            try (store) {
                var made = new ArrayList<String>();
                assertThrows(EngineException.SessionsFull.class, () -> {
                    for (int i = 0; i < 10; i++) {
                        made.add(store.create(OWNER, Duration.ZERO));
                        store.importState(OWNER, made.getLast(), state);
                    }
                });

                assertTrue(made.size() >= 4 && made.size() <= 6, "uploads " + made.size());
                assertEquals(0, store.summary(OWNER, made.getLast()).tokenCount());
                store.delete(OWNER, made.getFirst());
                store.importState(OWNER, made.getLast(), state);
                assertEquals(103, store.summary(OWNER, made.getLast()).tokenCount());
            }
        }
    }

    @Test
    void forksOfAnUploadedStateTakeItsRoomInADirectoryAlone() throws Exception {
        byte[] state = exported(100);
        int room = 4 * state.length;
        var config = new SessionConfig(StoreFixture.FINGERPRINT, 1_000, 1 << 20, room, 1);
        try (var store = open(archive(), config)) {
            String id = store.create(OWNER, Duration.ZERO);
            store.importState(OWNER, id, state);
            List<String> before = files();

            assertThrows(EngineException.SessionsFull.class, () -> store.fork(OWNER, id, 4, Duration.ZERO));

            assertEquals(before, files());
            List<String> forks = store.fork(OWNER, id, 3, Duration.ZERO);
            assertThrows(EngineException.SessionsFull.class, () -> store.fork(OWNER, id, 1, Duration.ZERO));
            store.importState(OWNER, id, state); // in the place of the one before
            store.delete(OWNER, forks.getFirst());
            store.fork(OWNER, forks.getLast(), 1, Duration.ZERO);
        }
        try (var store = open(archive(), config)) {
            String id = store.list(OWNER, "", 1).getFirst().id();
            assertThrows(EngineException.SessionsFull.class, () -> store.fork(OWNER, id, 1, Duration.ZERO));
        }
        try (var store = open(new MemoryArchive(2 * state.length + 20_000), sessions(100))) {
            String id = store.create(OWNER, Duration.ZERO);
            store.importState(OWNER, id, state);
            assertEquals(50, store.fork(OWNER, id, 50, Duration.ZERO).size());
        }
    }

    @Test
    void smallUploadedStatesTakeLittleOfTheRoom() throws Exception {
        byte[] large = exported(100);
        byte[] small = exported(0);
        assertTrue(3 * small.length < 2 * large.length, "bytes " + small.length + " and " + large.length);
        var config = new SessionConfig(StoreFixture.FINGERPRINT, 1_000, 1 << 20, 3L * large.length, 1);
        try (var store = open(archive(), config)) {
            for (int i = 0; i < 3; i++) {
                store.importState(OWNER, store.create(OWNER, Duration.ZERO), small);
            }
            String id = store.create(OWNER, Duration.ZERO);

            store.importState(OWNER, id, large);

            assertEquals(103, store.summary(OWNER, id).tokenCount());
        }
    }

    /** The state after a turn, or of a new session. */
    private byte[] exported(int tokenCount) throws InterruptedException {
        try (var store = open(new MemoryArchive(1 << 20), sessions(1_000))) {
            String id = store.create(OWNER, Duration.ZERO);
            if (tokenCount > 0) {
                StoreFixture.answer(store, id, PROMPT, tokenCount, 0);
            }
            return store.exported(OWNER, id);
        }
    }

    @Test
    void uploadsTakeTheRoomOfStatesThatCanBeReadAgain() throws Exception {
        var config = new SessionConfig(StoreFixture.FINGERPRINT, 1_000, 0, 5 * IMAGE_BYTES, 1);
        try (var store = open(archive(), config)) {
            for (int i = 0; i < 10; i++) {
                String id = store.create(OWNER, Duration.ZERO);
                StoreFixture.answer(store, id, PROMPT, 100, 0);
            }
            for (int i = 0; i < 3; i++) {
                String from = store.list(OWNER, "", 1).getFirst().id();
                store.importState(OWNER, store.create(OWNER, Duration.ZERO), store.exported(OWNER, from));
            }
            assertEquals(13, store.count());
        }
    }

    @Test
    void listSaysWhenItsPlaceIsGoneAndShowsWhatCanBeRead() throws Exception {
        try (var store = open(archive(), sessions(10))) {
            String gone = store.create(OWNER, Duration.ZERO);
            String damaged = store.create(OWNER, Duration.ZERO);
            String whole = store.create(OWNER, Duration.ZERO);
            store.delete(OWNER, gone);
            Files.write(directory.resolve(damaged + ".journal"), new byte[] {0, 0, 0, 1, 0, 0, 0, 0, 9});

            assertThrows(EngineException.SessionNotFound.class, () -> store.list(OWNER, gone, 10));
            assertEquals(
                    List.of(whole),
                    store.list(OWNER, "", 10).stream().map(SessionSummary::id).toList());
            store.delete(OWNER, damaged);
            assertEquals(1, store.count());
        }
    }

    @Test
    void sessionThatEndedByAStopIdGoesOnWithoutAPrompt() throws Exception {
        try (var store = open(archive(), sessions(100))) {
            for (int max = 5; max < 70; max++) {
                int[] answer = StoreFixture.expected(PROMPT, max, 0);
                int stop = answer[max - 1];
                int end = 0;
                while (answer[end] != stop) {
                    end++;
                }
                String id = store.create(OWNER, Duration.ZERO);
                var ask = StoreFixture.request(PROMPT, 1_000, 0).template();
                var stopped = new GenerationRequest(
                        PROMPT,
                        1_000,
                        ask.sampling(),
                        0,
                        1,
                        List.of(),
                        new int[] {stop},
                        true,
                        0,
                        -1,
                        false,
                        0,
                        Optional.empty());
                try (var turn = store.turn(
                        OWNER, id, new TurnRequest(PROMPT, PROMPT, stopped, false), new Patience(Duration.ZERO))) {
                    while (!turn.isFinished()) {
                        assertTrue(turn.next().isPresent());
                    }
                }
                int[] history = StoreFixture.concat(PROMPT, Arrays.copyOf(answer, end));
                assertEquals(history.length, store.summary(OWNER, id).tokenCount());

                assertArrayEquals(
                        StoreFixture.expected(history, 5, 1), StoreFixture.answer(store, id, new int[0], 5, 1));

                store.delete(OWNER, id);
            }
        }
    }

    @Test
    void noteIsOfTheSessionAsItWas() throws Exception {
        try (var store = open(archive(), sessions(10))) {
            String id = store.create(OWNER, Duration.ZERO);
            StoreFixture.answer(store, id, PROMPT, 5, 0);
            store.note(OWNER, id, new byte[] {1});
            StoreFixture.answer(store, id, PROMPT, 5, 0);
            assertTrue(store.note(OWNER, id).isEmpty());
            store.note(OWNER, id, new byte[] {2});
            store.rewind(OWNER, id, 8);
            assertTrue(store.note(OWNER, id).isEmpty());
        }
    }

    @Test
    void sessionsWithNotesMakeRoomForOthersOfTheirOwner() throws Exception {
        List<String> noted = new ArrayList<>();
        try (var store = open(archive(), sessions(4))) {
            for (int i = 0; i < 2; i++) {
                millis.incrementAndGet();
                noted.add(store.create(OWNER, Duration.ZERO));
                store.note(OWNER, noted.getLast(), new byte[] {1});
            }
            store.create(OWNER, Duration.ZERO);
            store.create("other", Duration.ZERO);
        }
        try (var store = open(archive(), sessions(4))) {
            assertThrows(EngineException.SessionsFull.class, () -> store.create("other", Duration.ZERO));

            store.create(OWNER, Duration.ZERO);
            assertFalse(store.list(OWNER, "", 9).stream().anyMatch(s -> s.id().equals(noted.getFirst())));
            store.create(OWNER, Duration.ZERO);

            assertThrows(EngineException.SessionsFull.class, () -> store.create(OWNER, Duration.ZERO));
            assertEquals(3, store.list(OWNER, "", 9).size());
            assertEquals(1, store.list("other", "", 9).size());
        }
    }

    @Test
    void sessionsWithNotesMakeRoomForTheNoteOfAnother() {
        try (var store = open(new MemoryArchive(2_000), sessions(10))) {
            String old = store.create(OWNER, Duration.ZERO);
            store.note(OWNER, old, new byte[1_000]);
            String id = store.create(OWNER, Duration.ZERO);

            store.note(OWNER, id, new byte[1_000]);

            assertThrows(EngineException.SessionNotFound.class, () -> store.summary(OWNER, old));
            assertThrows(EngineException.SessionsFull.class, () -> store.note(OWNER, id, new byte[1_500]));
            assertArrayEquals(new byte[1_000], store.note(OWNER, id).orElseThrow());
        }
    }

    @Test
    void turnThatEndsAfterTheStoreIsRefusedAndTheNextProcessGoesOn() throws Exception {
        String id;
        try (var slow = StoreFixture.engine(1_000_000)) {
            var store = SessionStore.open(slow, sessions(10), archive(), millis::get);
            id = store.create(OWNER, Duration.ZERO);
            StoreFixture.answer(store, id, PROMPT, 10, 0);
            var late = store.turn(OWNER, id, StoreFixture.request(PROMPT, 20, 0), new Patience(Duration.ZERO));
            store.close();

            var refused = assertThrows(EngineException.ArchiveFailure.class, () -> StoreFixture.read(late));

            assertTrue(String.valueOf(refused.getMessage()).contains("closed"), refused.getMessage());
            assertThrows(EngineException.ArchiveFailure.class, () -> store.create(OWNER, Duration.ZERO));
            late.close();
        }
        List<String> before = files();
        try (var store = open(archive(), sessions(10))) {
            assertEquals(13, store.summary(OWNER, id).tokenCount());
            int[] history = StoreFixture.concat(PROMPT, StoreFixture.expected(PROMPT, 10, 0));
            assertArrayEquals(
                    StoreFixture.expected(StoreFixture.concat(history, PROMPT), 5, 1),
                    StoreFixture.answer(store, id, PROMPT, 5, 1));
        }
        assertFalse(before.stream().anyMatch(name -> name.endsWith(".new")), before.toString());
    }

    @Test
    void stateIsKeptExactlyAtABreakpointOfALaterTurn() throws Exception {
        var cache = new PrefixCache(1 << 20);
        try (var store = open(archive(), sessions(10))) {
            String id = store.create(OWNER, Duration.ZERO);
            int[] history = StoreFixture.concat(PROMPT, StoreFixture.answer(store, id, PROMPT, 40, 0));
            int[] prompt = {4, 5, 6, 7, 8};
            var template = StoreFixture.request(prompt, 20, 0).template();
            var scope = new PrefixCache.Scope("tenant", "scope");
            var use = Optional.of(PrefixUse.of(cache, scope));
            var request = new TurnRequest(prompt, prompt, template, use, new int[] {3}, false);

            int[] asked = StoreFixture.concat(history, prompt);
            try (var turn = store.turn(OWNER, id, request, new Patience(Duration.ZERO))) {
                assertArrayEquals(StoreFixture.expected(asked, 20, 0), StoreFixture.read(turn));
                assertEquals(asked.length, turn.usage().promptTokenCount());
                assertEquals(42, turn.usage().cachedTokenCount());
                assertEquals(46, turn.usage().cacheWriteTokenCount());
            }

            int[] other = StoreFixture.concat(StoreFixture.concat(history, 4, 5, 6), 9);
            assertEquals(46, cache.longest(scope, other, 46).orElseThrow().tokenCount());
            assertEquals(68, store.summary(OWNER, id).tokenCount());
        }
    }
}
