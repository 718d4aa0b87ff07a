package basalt.engine.session;

import static basalt.engine.session.StoreFixture.OWNER;
import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import basalt.engine.Engine;
import basalt.engine.EngineException;
import basalt.engine.FinishReason;
import basalt.engine.GenerationRequest;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicLong;
import java.util.concurrent.locks.LockSupport;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

class SessionStoreTest {
    private static final SessionConfig CONFIG = StoreFixture.config(1 << 20, 1 << 20, 1);
    private static final int[] PROMPT = {1, 2, 3};

    @TempDir
    private Path directory;

    private final Engine engine = StoreFixture.engine(0);
    private final AtomicLong millis = new AtomicLong(1_000_000);

    @AfterEach
    void stop() {
        engine.close();
    }

    private SessionStore open() {
        return open(CONFIG);
    }

    private SessionStore open(SessionConfig config) {
        return SessionStore.open(engine, config, DirectoryArchive.open(directory, Durability.OFF), millis::get);
    }

    private List<Path> files(String suffix) throws IOException {
        try (var files = Files.list(directory)) {
            return files.filter(path -> path.toString().endsWith(suffix)).toList();
        }
    }

    @Test
    void anothersSessionIsNotThere() throws Exception {
        try (var store = open()) {
            String id = store.create(OWNER, Duration.ZERO);

            assertThrows(EngineException.SessionNotFound.class, () -> store.summary("other", id));
            assertThrows(EngineException.SessionNotFound.class, () -> store.delete("other", id));
            assertThrows(EngineException.SessionNotFound.class, () -> store.exported("other", id));
            assertThrows(
                    EngineException.SessionNotFound.class,
                    () -> store.turn("other", id, StoreFixture.request(PROMPT, 1, 0), new Patience(Duration.ZERO)));
            assertTrue(store.list("other", "", 10).isEmpty());
            assertEquals(1, store.list(OWNER, "", 10).size());
        }
    }

    @Test
    void oneTurnAtATimeAndTheNextMayWait() throws Exception {
        try (var slow = StoreFixture.engine(1_000_000);
                var store = SessionStore.open(slow, CONFIG, new MemoryArchive(1 << 24), millis::get)) {
            String id = store.create(OWNER, Duration.ZERO);
            var first = store.turn(OWNER, id, StoreFixture.request(PROMPT, 20, 0), new Patience(Duration.ZERO));

            assertThrows(
                    EngineException.SessionBusy.class,
                    () -> store.turn(OWNER, id, StoreFixture.request(PROMPT, 1, 0), new Patience(Duration.ZERO)));
            assertThrows(EngineException.SessionBusy.class, () -> store.rewind(OWNER, id, 0));
            var reader = Thread.ofVirtual().start(() -> {
                try (first) {
                    StoreFixture.read(first);
                } catch (InterruptedException e) {
                    throw new IllegalStateException(e);
                }
            });
            try (var second =
                    store.turn(OWNER, id, StoreFixture.request(PROMPT, 1, 0), new Patience(Duration.ofSeconds(60)))) {
                assertEquals(1, StoreFixture.read(second).length);
            }
            reader.join();
            assertEquals(2, store.summary(OWNER, id).turnCount());
        }
    }

    /** Time with a session that is busy is a turn's own, not given on top. */
    @Test
    void deadlineCountsTheWaitForTheSession() throws Exception {
        try (var store = open()) {
            String id = store.create(OWNER, Duration.ZERO);
            var first = store.turn(OWNER, id, StoreFixture.request(PROMPT, 1_000_000, 0), new Patience(Duration.ZERO));
            var end = new CompletableFuture<FinishReason>();
            var deadline = Duration.ofMillis(500);
            var waiting = Thread.ofPlatform().start(() -> {
                try (var second = store.turn(
                        OWNER,
                        id,
                        StoreFixture.withDeadline(StoreFixture.request(PROMPT, 2, 0), deadline),
                        new Patience(Duration.ofMinutes(1)))) {
                    end.complete(StoreFixture.end(second));
                } catch (InterruptedException e) {
                    throw new IllegalStateException(e);
                }
            });
            while (waiting.getState() != Thread.State.TIMED_WAITING) {
                LockSupport.parkNanos(100_000);
            }
            Thread.sleep(deadline);

            first.close();

            assertEquals(FinishReason.DEADLINE, end.get(1, TimeUnit.MINUTES));
        }
    }

    /** Somebody who has gone holds no place, and takes no turn from those who wait behind. */
    @Test
    void waitingEndsWhenNobodyWaitsAnyMore() throws Exception {
        try (var slow = StoreFixture.engine(1_000_000);
                var store = SessionStore.open(slow, CONFIG, new MemoryArchive(1 << 24), millis::get)) {
            String id = store.create(OWNER, Duration.ZERO);
            var first = store.turn(OWNER, id, StoreFixture.request(PROMPT, 1_000_000, 0), new Patience(Duration.ZERO));
            var patience = new ArrayList<Patience>();
            var waiting = new ArrayList<Thread>();
            var busyCount = new AtomicLong();
            for (int i = 0; i < Session.WAITING_MAX; i++) {
                var each = new Patience(Duration.ofMinutes(10));
                patience.add(each);
                waiting.add(Thread.ofPlatform().start(() -> {
                    try {
                        StoreFixture.read(store.turn(OWNER, id, StoreFixture.request(PROMPT, 2, 0), each));
                    } catch (EngineException.SessionBusy e) {
                        busyCount.incrementAndGet();
                    } catch (InterruptedException e) {
                        throw new IllegalStateException(e);
                    }
                }));
            }
            while (!waiting.stream().allMatch(thread -> thread.getState() == Thread.State.TIMED_WAITING)) {
                LockSupport.parkNanos(100_000);
            }

            assertThrows(
                    EngineException.SessionBusy.class,
                    () -> store.turn(
                            OWNER, id, StoreFixture.request(PROMPT, 1, 0), new Patience(Duration.ofMinutes(10))));
            patience.subList(0, Session.WAITING_MAX - 1).forEach(Patience::end);
            for (var gone : waiting.subList(0, Session.WAITING_MAX - 1)) {
                gone.join();
            }
            first.close();
            waiting.getLast().join();

            assertEquals(Session.WAITING_MAX - 1, busyCount.get());
            assertEquals(1, store.summary(OWNER, id).turnCount());
        }
    }

    @Test
    void sessionWithoutAnyTokenNeedsAPrompt() {
        try (var store = open()) {
            String id = store.create(OWNER, Duration.ZERO);

            assertThrows(
                    EngineException.InvalidRequest.class,
                    () -> store.turn(OWNER, id, StoreFixture.request(new int[0], 1, 0), new Patience(Duration.ZERO)));
            assertFalse(store.summary(OWNER, id).isBusy());
        }
    }

    @Test
    void unusedSessionsExpireAndMakeRoom() {
        var config = new SessionConfig(StoreFixture.FINGERPRINT, 2, 0, 0, 1);
        try (var store = open(config)) {
            String brief = store.create(OWNER, Duration.ofSeconds(5));
            store.create(OWNER, Duration.ZERO);

            assertThrows(EngineException.SessionsFull.class, () -> store.create(OWNER, Duration.ZERO));
            millis.addAndGet(5_001);

            assertThrows(EngineException.SessionNotFound.class, () -> store.summary(OWNER, brief));
            store.create(OWNER, Duration.ZERO);
            assertEquals(2, store.count());
        }
    }

    @Test
    void deletedSessionEndsItsTurnAndLeavesNoFile() throws Exception {
        try (var store = open()) {
            String id = store.create(OWNER, Duration.ZERO);
            StoreFixture.answer(store, id, PROMPT, 100, 0);
            try (var turn = store.turn(
                    OWNER, id, StoreFixture.request(PROMPT, 1_000_000_000, 0), new Patience(Duration.ZERO))) {
                assertTrue(turn.next().isPresent());

                store.delete(OWNER, id);

                assertThrows(AssertionError.class, () -> StoreFixture.read(turn)); // cancelled
            }
        }
        assertEquals(List.of(), files(".journal"));
        assertEquals(List.of(), files(".image"));
    }

    @Test
    void tornEndOfAJournalIsCutAndTheRestIsThere() throws Exception {
        String id;
        int[] answer;
        try (var store = open()) {
            id = store.create(OWNER, Duration.ZERO);
            answer = StoreFixture.answer(store, id, PROMPT, 10, 0);
            StoreFixture.answer(store, id, PROMPT, 10, 0);
        }
        Path journal = files(".journal").getFirst();
        byte[] bytes = Files.readAllBytes(journal);
        Files.write(journal, java.util.Arrays.copyOf(bytes, bytes.length - 1));

        try (var store = open()) {
            assertEquals(13, store.summary(OWNER, id).tokenCount());
            int[] next = StoreFixture.answer(store, id, new int[] {7}, 10, 0);

            int[] history = StoreFixture.concat(StoreFixture.concat(PROMPT, answer), 7);
            assertArrayEquals(StoreFixture.expected(history, 10, 0), next);
        }
    }

    @Test
    void damagedFilesAreSetAsideAndNothingElseIsLost() throws Exception {
        String id;
        String other;
        int[] answer;
        try (var store = open()) {
            id = store.create(OWNER, Duration.ZERO);
            other = store.create(OWNER, Duration.ZERO);
            answer = StoreFixture.answer(store, id, PROMPT, 100, 0);
            StoreFixture.answer(store, other, PROMPT, 100, 0);
        }
        assertEquals(2, files(".image").size());
        flip(files(other + ".journal").getFirst());
        flip(files(".image").stream()
                .filter(path -> path.toString().contains(id))
                .findFirst()
                .orElseThrow());

        try (var store = open()) {
            assertThrows(EngineException.SessionNotFound.class, () -> store.summary(OWNER, other));
            assertArrayEquals(
                    StoreFixture.expected(StoreFixture.concat(PROMPT, answer), 5, 0),
                    StoreFixture.answer(store, id, new int[0], 5, 0));
        }
        assertEquals(1, files(".journal.aside").size());
        assertEquals(1, files(".image.aside").size());
    }

    private static void flip(Path path) throws IOException {
        byte[] bytes = Files.readAllBytes(path);
        bytes[bytes.length / 2] ^= 4;
        Files.write(path, bytes);
    }

    @Test
    void sessionsOfAnotherModelStayAndAreNotServed() throws Exception {
        String id;
        try (var store = open()) {
            id = store.create(OWNER, Duration.ZERO);
            StoreFixture.answer(store, id, PROMPT, 10, 0);
        }
        try (var store = open(new SessionConfig("other model", 10, 0, 0, 1))) {
            assertThrows(EngineException.SessionNotFound.class, () -> store.summary(OWNER, id));
        }
        try (var store = open()) {
            assertEquals(13, store.summary(OWNER, id).tokenCount());
        }
    }

    @Test
    void importedStateGoesOnAndOutlivesARestart() throws Exception {
        byte[] bytes;
        int[] history;
        try (var store = SessionStore.open(engine, CONFIG, new MemoryArchive(1 << 24), millis::get)) {
            String id = store.create(OWNER, Duration.ZERO);
            history = StoreFixture.concat(PROMPT, StoreFixture.answer(store, id, PROMPT, 100, 0));
            bytes = store.exported(OWNER, id);
        }
        String id;
        try (var store = open(StoreFixture.config(0, 1 << 20, 1))) {
            id = store.create(OWNER, Duration.ZERO);
            store.importState(OWNER, id, bytes);
            history = StoreFixture.concat(history, StoreFixture.answer(store, id, new int[] {4}, 40, 0));
        }
        int[] all = StoreFixture.concat(PROMPT, StoreFixture.expected(PROMPT, 100, 0));
        int[] asked = StoreFixture.concat(all, 4);
        all = StoreFixture.concat(asked, StoreFixture.expected(asked, 40, 0));
        try (var store = open(StoreFixture.config(0, 1 << 20, 1))) {
            assertEquals(all.length, store.summary(OWNER, id).tokenCount());
            assertArrayEquals(StoreFixture.expected(all, 5, 0), StoreFixture.answer(store, id, new int[0], 5, 0));
            assertThrows(EngineException.InvalidRequest.class, () -> store.rewind(OWNER, id, 50));
            store.rewind(OWNER, id, 103);
            int[] base = java.util.Arrays.copyOf(all, 103);
            assertArrayEquals(StoreFixture.expected(base, 5, 0), StoreFixture.answer(store, id, new int[0], 5, 0));
        }
    }

    @Test
    void twoStoresCannotHaveOneDirectory() {
        try (var store = open()) {
            assertEquals(0, store.count());
            assertThrows(EngineException.ArchiveFailure.class, this::open);
        }
    }

    @ParameterizedTest
    @EnumSource(Durability.class)
    void turnsAreThereAgainWhateverTheDurability(Durability durability) throws Exception {
        String id;
        int[] history = PROMPT;
        try (var store = SessionStore.open(engine, CONFIG, DirectoryArchive.open(directory, durability), millis::get)) {
            id = store.create(OWNER, Duration.ZERO);
            for (int turn = 0; turn < 5; turn++) {
                int[] prompt = turn == 0 ? PROMPT : new int[] {turn};
                history = turn == 0 ? PROMPT : StoreFixture.concat(history, turn);
                history = StoreFixture.concat(history, StoreFixture.answer(store, id, prompt, 20, turn));
            }
        }

        try (var store = SessionStore.open(engine, CONFIG, DirectoryArchive.open(directory, durability), millis::get)) {
            assertEquals(history.length, store.summary(OWNER, id).tokenCount());
            assertArrayEquals(StoreFixture.expected(history, 5, 0), StoreFixture.answer(store, id, new int[0], 5, 0));
        }
    }

    @Test
    void importedStateOutlivesMemoryWithoutADirectory() throws Exception {
        byte[] bytes;
        try (var store = SessionStore.open(engine, CONFIG, new MemoryArchive(1 << 24), millis::get)) {
            String id = store.create(OWNER, Duration.ZERO);
            StoreFixture.answer(store, id, PROMPT, 100, 0);
            bytes = store.exported(OWNER, id);
        }
        int[] history = StoreFixture.concat(PROMPT, StoreFixture.expected(PROMPT, 100, 0));
        try (var store =
                SessionStore.open(engine, StoreFixture.config(0, 0, 1), new MemoryArchive(1 << 24), millis::get)) {
            String id = store.create(OWNER, Duration.ZERO);
            store.importState(OWNER, id, bytes);
            String fork = store.fork(OWNER, id, 1, Duration.ZERO).getFirst();
            for (var session : List.of(id, fork)) {
                long end = System.nanoTime() + Duration.ofSeconds(60).toNanos();
                while (store.stats().memory().sessions() > 0 && System.nanoTime() < end) {
                    LockSupport.parkNanos(100_000);
                }
                assertArrayEquals(
                        StoreFixture.expected(history, 5, 0), StoreFixture.answer(store, session, new int[0], 5, 0));
            }
        }
    }

    @Test
    void imageOfOtherTokensIsSetAsideThoughItIsWhole() throws Exception {
        try (var store = open(StoreFixture.config(0, 1 << 20, 1))) {
            String id = store.create(OWNER, Duration.ZERO);
            String other = store.create(OWNER, Duration.ZERO);
            int[] answer = StoreFixture.answer(store, id, PROMPT, 100, 0);
            StoreFixture.answer(store, other, new int[] {3, 2, 1}, 100, 0);
            long end = System.nanoTime() + Duration.ofSeconds(60).toNanos();
            while ((store.stats().memory().sessions() > 0 || files(".image").size() < 2) && System.nanoTime() < end) {
                LockSupport.parkNanos(100_000);
            }
            Files.copy(
                    directory.resolve(other + ".103.image"),
                    directory.resolve(id + ".103.image"),
                    StandardCopyOption.REPLACE_EXISTING);

            assertArrayEquals(
                    StoreFixture.expected(StoreFixture.concat(PROMPT, answer), 5, 0),
                    StoreFixture.answer(store, id, new int[0], 5, 0));
            assertEquals(1, store.stats().restoreFailures());
        }
        assertEquals(1, files(".image.aside").size());
    }

    @Test
    void noteIsKeptAndForksHaveNone() throws Exception {
        String id;
        try (var store = open()) {
            id = store.create(OWNER, Duration.ZERO);
            StoreFixture.answer(store, id, PROMPT, 5, 0);
            assertTrue(store.note(OWNER, id).isEmpty());
            store.note(OWNER, id, new byte[] {1});
            store.note(OWNER, id, new byte[] {2, 3});
        }
        try (var store = open()) {
            assertArrayEquals(new byte[] {2, 3}, store.note(OWNER, id).orElseThrow());
            String fork = store.fork(OWNER, id, 1, Duration.ZERO).getFirst();
            assertTrue(store.note(OWNER, fork).isEmpty());
            assertEquals(8, store.summary(OWNER, fork).tokenCount());
            assertThrows(EngineException.SessionNotFound.class, () -> store.note("other", id));
        }
    }

    @Test
    void stopIdThatEndsTheSessionIsNotReadTwice() {
        var template = StoreFixture.request(PROMPT, 1, 0).template();
        var stopped = new GenerationRequest(
                PROMPT,
                1,
                template.sampling(),
                0,
                1,
                List.of(),
                new int[] {7},
                true,
                0,
                -1,
                false,
                0,
                Optional.empty());
        var turn = new TurnRequest(PROMPT, new int[] {7, 1, 2}, stopped, true);

        assertArrayEquals(new int[] {1, 2}, turn.promptAfter(new int[] {5, 7}, -1));
        assertArrayEquals(new int[] {7, 1, 2}, turn.promptAfter(new int[] {7, 5}, -1));
        assertArrayEquals(new int[] {7, 1, 2}, turn.promptAfter(new int[0], -1));
        var other = new TurnRequest(PROMPT, new int[] {8, 1}, stopped, true);
        assertArrayEquals(new int[] {8, 1}, other.promptAfter(new int[] {8}, -1));
        assertArrayEquals(new int[] {1}, other.promptAfter(new int[] {8}, 8));
        var text = new TurnRequest(PROMPT, new int[] {7, 1}, stopped, false);
        assertArrayEquals(new int[] {7, 1}, text.promptAfter(new int[] {7}, -1));
    }

    @Test
    void noteThatLastsHoldsUntilTheNextOne() throws Exception {
        String id;
        try (var store = open()) {
            id = store.create(OWNER, Duration.ZERO);
            store.noteUntilNext(OWNER, id, new byte[] {1});
            StoreFixture.answer(store, id, PROMPT, 5, 0);
            assertArrayEquals(new byte[] {1}, store.note(OWNER, id).orElseThrow());
            assertTrue(store.note(OWNER, store.fork(OWNER, id, 1, Duration.ZERO).getFirst())
                    .isEmpty());
        }
        try (var store = open()) {
            assertArrayEquals(new byte[] {1}, store.note(OWNER, id).orElseThrow());
            store.note(OWNER, id, new byte[] {2});
            assertArrayEquals(new byte[] {2}, store.note(OWNER, id).orElseThrow());
            StoreFixture.answer(store, id, PROMPT, 5, 0);
            assertTrue(store.note(OWNER, id).isEmpty());
        }
    }

    /** Else one that makes no end of forks leaves no room for others. */
    @Test
    void ownerHasSoManySessionsAndOldResponsesGoFirst() throws Exception {
        try (var store = open(new SessionConfig(StoreFixture.FINGERPRINT, 10, 3, 1 << 20, 1 << 20, 1))) {
            String noted = store.create(OWNER, Duration.ZERO);
            store.note(OWNER, noted, new byte[] {1});
            String id = store.create(OWNER, Duration.ZERO);

            assertEquals(2, store.fork(OWNER, id, 2, Duration.ZERO).size());
            assertThrows(EngineException.SessionNotFound.class, () -> store.summary(OWNER, noted));
            assertThrows(EngineException.SessionsFull.class, () -> store.create(OWNER, Duration.ZERO));
            assertThrows(EngineException.SessionsFull.class, () -> store.fork(OWNER, id, 1, Duration.ZERO));

            for (int i = 0; i < 3; i++) {
                store.create("other", Duration.ZERO);
            }
            assertEquals(3, store.list(OWNER, "", 9).size());
        }
    }
}
