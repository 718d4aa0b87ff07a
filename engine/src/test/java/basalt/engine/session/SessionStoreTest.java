package basalt.engine.session;

import static basalt.engine.session.StoreFixture.OWNER;
import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import basalt.engine.Engine;
import basalt.engine.EngineException;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.concurrent.atomic.AtomicLong;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

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
        return SessionStore.open(engine, config, DirectoryArchive.open(directory), millis::get);
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
                    () -> store.turn("other", id, StoreFixture.request(PROMPT, 1, 0), Duration.ZERO));
            assertTrue(store.list("other", "", 10).isEmpty());
            assertEquals(1, store.list(OWNER, "", 10).size());
        }
    }

    @Test
    void oneTurnAtATimeAndTheNextMayWait() throws Exception {
        try (var slow = StoreFixture.engine(1_000_000);
                var store = SessionStore.open(slow, CONFIG, new MemoryArchive(), millis::get)) {
            String id = store.create(OWNER, Duration.ZERO);
            var first = store.turn(OWNER, id, StoreFixture.request(PROMPT, 20, 0), Duration.ZERO);

            assertThrows(
                    EngineException.SessionBusy.class,
                    () -> store.turn(OWNER, id, StoreFixture.request(PROMPT, 1, 0), Duration.ZERO));
            assertThrows(EngineException.SessionBusy.class, () -> store.rewind(OWNER, id, 0));
            var reader = Thread.ofVirtual().start(() -> {
                try (first) {
                    StoreFixture.read(first);
                } catch (InterruptedException e) {
                    throw new IllegalStateException(e);
                }
            });
            try (var second = store.turn(OWNER, id, StoreFixture.request(PROMPT, 1, 0), Duration.ofSeconds(20))) {
                assertEquals(1, StoreFixture.read(second).length);
            }
            reader.join();
            assertEquals(2, store.summary(OWNER, id).turnCount());
        }
    }

    @Test
    void sessionWithoutAnyTokenNeedsAPrompt() {
        try (var store = open()) {
            String id = store.create(OWNER, Duration.ZERO);

            assertThrows(
                    EngineException.InvalidRequest.class,
                    () -> store.turn(OWNER, id, StoreFixture.request(new int[0], 1, 0), Duration.ZERO));
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
            try (var turn = store.turn(OWNER, id, StoreFixture.request(PROMPT, 1_000_000_000, 0), Duration.ZERO)) {
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
        try (var store = SessionStore.open(engine, CONFIG, new MemoryArchive(), millis::get)) {
            String id = store.create(OWNER, Duration.ZERO);
            history = StoreFixture.concat(PROMPT, StoreFixture.answer(store, id, PROMPT, 100, 0));
            bytes = store.exported(OWNER, id);
        }
        String id;
        try (var store = open(StoreFixture.config(0, 0, 1))) {
            id = store.create(OWNER, Duration.ZERO);
            store.importState(OWNER, id, bytes);
            history = StoreFixture.concat(history, StoreFixture.answer(store, id, new int[] {4}, 40, 0));
        }
        int[] all = StoreFixture.concat(PROMPT, StoreFixture.expected(PROMPT, 100, 0));
        int[] asked = StoreFixture.concat(all, 4);
        all = StoreFixture.concat(asked, StoreFixture.expected(asked, 40, 0));
        try (var store = open(StoreFixture.config(0, 0, 1))) {
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
}
