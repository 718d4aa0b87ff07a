package basalt.engine.session;

import static basalt.engine.session.StoreFixture.OWNER;
import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import basalt.engine.Engine;
import basalt.engine.EngineException;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicLong;
import java.util.concurrent.atomic.AtomicReference;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** What several clients do to one session at a time. */
class SessionRacesTest {
    private static final SessionConfig CONFIG = new SessionConfig(StoreFixture.FINGERPRINT, 1_000, 1 << 16, 1 << 20, 1);
    private static final int[] PROMPT = {1, 2, 3};

    @TempDir
    private Path directory;

    private final Engine engine = StoreFixture.engine(0);
    private final AtomicLong now = new AtomicLong(1_000_000);

    @AfterEach
    void stop() {
        engine.close();
    }

    private SessionStore open(SessionArchive archive) {
        return SessionStore.open(engine, CONFIG, archive, now::get);
    }

    private static int[] history(int turns) {
        int[] history = {};
        for (int i = 0; i < turns; i++) {
            history = StoreFixture.concat(history, PROMPT);
            history = StoreFixture.concat(history, StoreFixture.expected(history, 5, 0));
        }
        return history;
    }

    private static void assertGoesOn(SessionStore store, String id, int turns) throws InterruptedException {
        assertArrayEquals(
                StoreFixture.expected(StoreFixture.concat(history(turns), 7), 4, 0),
                StoreFixture.answer(store, id, new int[] {7}, 4, 0));
    }

    @Test
    void deletingASessionWhileItIsForkedLeavesItsForks() throws Exception {
        var archive = new HookedArchive(DirectoryArchive.open(directory, Durability.OFF));
        try (var store = open(archive)) {
            String id = store.create(OWNER, Duration.ZERO);
            StoreFixture.answer(store, id, PROMPT, 5, 0);
            var deleting = new AtomicReference<Thread>();
            archive.beforeCreate = () -> {
                if (deleting.get() == null) {
                    deleting.set(Thread.ofPlatform().start(() -> store.delete(OWNER, id)));
                }
            };

            var forks = store.fork(OWNER, id, 3, Duration.ZERO);
            deleting.get().join();

            assertThrows(EngineException.SessionNotFound.class, () -> store.summary(OWNER, id));
            for (String fork : forks) {
                assertGoesOn(store, fork, 1);
            }
        }
        try (var files = Files.list(directory)) {
            assertTrue(files.noneMatch(file -> file.toString().endsWith(".new")));
        }
    }

    /** Forks from many threads, while the session goes on and its images are written and dropped. */
    @Test
    void everyForkOfAStormIsASessionAsItOnceWas() throws Exception {
        int turns = 12;
        var forks = new ConcurrentLinkedQueue<String>();
        var failures = new ConcurrentLinkedQueue<Throwable>();
        var threads = new ArrayList<Thread>();
        try (var store = open(DirectoryArchive.open(directory, Durability.SECOND))) {
            String id = store.create(OWNER, Duration.ZERO);
            StoreFixture.answer(store, id, PROMPT, 5, 0);
            for (int i = 0; i < 4; i++) {
                threads.add(Thread.ofPlatform().start(() -> {
                    try {
                        for (int round = 0; round < 20; round++) {
                            forks.addAll(store.fork(OWNER, id, 2, Duration.ZERO));
                        }
                    } catch (InterruptedException | EngineException e) {
                        failures.add(e);
                    }
                }));
            }
            for (int i = 1; i < turns; i++) {
                StoreFixture.answer(store, id, PROMPT, 5, 0);
            }
            for (var thread : threads) {
                thread.join();
            }
            assertEquals(List.of(), List.copyOf(failures));
            store.abandon();
        }

        try (var store = open(DirectoryArchive.open(directory, Durability.SECOND))) {
            assertEquals(160, forks.size());
            for (String fork : forks) {
                long count = store.summary(OWNER, fork).tokenCount();
                int[] all = history(turns);
                int[] tokens = Arrays.copyOf(all, (int) count);
                assertArrayEquals(
                        StoreFixture.expected(StoreFixture.concat(tokens, 7), 4, 0),
                        StoreFixture.answer(store, fork, new int[] {7}, 4, 0));
            }
            assertEquals(List.of(), asideFiles());
        }
    }

    private SessionStore openBounded(SessionArchive archive, int sessionsMax) {
        var config = new SessionConfig(StoreFixture.FINGERPRINT, sessionsMax, 1 << 16, 1 << 20, 1);
        return SessionStore.open(engine, config, archive, now::get);
    }

    private static String noted(SessionStore store, int noteBytes) {
        String id = store.create(OWNER, Duration.ZERO);
        store.note(OWNER, id, new byte[noteBytes]);
        return id;
    }

    @Test
    void anotherStoredAnswerMakesRoomIfSomebodyUsesTheOldest() throws Exception {
        var archive = new HookedArchive(new MemoryArchive(1 << 20));
        try (var store = openBounded(archive, 2)) {
            String oldest = noted(store, 1);
            now.incrementAndGet();
            String next = noted(store, 1);
            var isRead = new CountDownLatch(1);
            var goesOn = new CountDownLatch(1);
            archive.beforeJournal = id -> {
                if (id.equals(oldest)) {
                    isRead.countDown();
                    await(goesOn);
                }
            };
            var reading = Thread.ofPlatform().start(() -> store.note(OWNER, oldest));
            await(isRead);

            try {
                store.create(OWNER, Duration.ZERO);
            } finally {
                goesOn.countDown();
                reading.join();
            }

            assertTrue(store.note(OWNER, oldest).isPresent());
            assertThrows(EngineException.SessionNotFound.class, () -> store.note(OWNER, next));
            assertEquals(2, store.count());
        }
    }

    @Test
    void storedAnswerMakesRoomWhileOthersBeginSessions() {
        var archive = new HookedArchive(new MemoryArchive(2_000));
        try (var store = openBounded(archive, 10)) {
            String old = noted(store, 1_000);
            String id = store.create(OWNER, Duration.ZERO);
            archive.beforeDelete = gone -> store.create("other", Duration.ZERO);

            store.note(OWNER, id, new byte[1_000]);

            assertThrows(EngineException.SessionNotFound.class, () -> store.note(OWNER, old));
            assertEquals(2, store.count());
        }
    }

    /** Whether the bound is that of all sessions or that of their owner. */
    @Test
    void placeIsTakenWhileItsSessionIsWrittenAndFreeIfThatFails() {
        for (int ownerSessionsMax : new int[] {0, 2}) {
            var config = new SessionConfig(
                    StoreFixture.FINGERPRINT, ownerSessionsMax > 0 ? 9 : 2, ownerSessionsMax, 1 << 16, 1 << 20, 1);
            var archive = new HookedArchive(new MemoryArchive(1 << 20));
            try (var store = SessionStore.open(engine, config, archive, now::get)) {
                String id = store.create(OWNER, Duration.ZERO);
                archive.beforeCreate = () -> {
                    archive.beforeCreate = () -> {};
                    assertThrows(EngineException.SessionsFull.class, () -> store.create(OWNER, Duration.ZERO));
                    assertThrows(EngineException.SessionsFull.class, () -> store.fork(OWNER, id, 1, Duration.ZERO));
                    throw new EngineException.ArchiveFailure("no space", new IOException());
                };
                assertThrows(EngineException.ArchiveFailure.class, () -> store.create(OWNER, Duration.ZERO));
                assertEquals(1, store.count());

                store.create(OWNER, Duration.ZERO);

                assertEquals(2, store.count());
                assertThrows(EngineException.SessionsFull.class, () -> store.create(OWNER, Duration.ZERO));
            }
        }
    }

    private static void await(CountDownLatch latch) {
        try {
            assertTrue(latch.await(1, TimeUnit.MINUTES));
        } catch (InterruptedException e) {
            throw new IllegalStateException(e);
        }
    }

    private List<Path> asideFiles() throws IOException {
        try (var files = Files.list(directory)) {
            return files.filter(file -> file.toString().endsWith(".aside")).toList();
        }
    }
}
