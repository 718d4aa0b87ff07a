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
import java.time.Duration;
import java.util.List;
import java.util.concurrent.atomic.AtomicLong;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;

/** Two servers that share an archive. */
class SharedSessionsTest {
    private static final SessionConfig CONFIG = StoreFixture.config(1 << 20, 1 << 20, 1_000);

    private final Engine engine = StoreFixture.engine(0);
    private final SharedMemoryArchive.Common common = new SharedMemoryArchive.Common();
    private final SharedMemoryArchive oneArchive = new SharedMemoryArchive(common);
    private final SessionStore one = open(CONFIG, oneArchive);
    private final SessionStore other = open(CONFIG, new SharedMemoryArchive(common));

    @AfterEach
    void stop() {
        one.close();
        other.close();
        engine.close();
    }

    private SessionStore open(SessionConfig config, SharedArchive archive) {
        return SessionStore.open(engine, config, archive, () -> 1_000_000);
    }

    @Test
    void conversationAlternatesBetweenServers() throws Exception {
        String id = one.create(OWNER, Duration.ZERO);
        int[] history = {};

        for (int turn = 0; turn < 20; turn++) {
            int[] prompt = {turn + 1, turn + 2};
            history = StoreFixture.concat(history, prompt);
            int[] answer = StoreFixture.answer(turn % 2 == 0 ? one : other, id, prompt, 3, turn);

            assertArrayEquals(StoreFixture.expected(history, 3, turn), answer, "turn " + turn);
            history = StoreFixture.concat(history, answer);
        }

        assertEquals(20, other.summary(OWNER, id).turnCount());
        assertEquals(one.summary(OWNER, id).digest(), other.summary(OWNER, id).digest());
    }

    @Test
    void ofTwoTurnsAtOnceOneIsCommitted() throws Exception {
        String id = one.create(OWNER, Duration.ZERO);
        int[] first = StoreFixture.answer(one, id, new int[] {1, 2}, 3, 0);
        var here = one.turn(OWNER, id, StoreFixture.request(new int[] {5}, 4, 1), new Patience(Duration.ZERO));
        var there = other.turn(OWNER, id, StoreFixture.request(new int[] {6}, 4, 2), new Patience(Duration.ZERO));
        int[] kept = StoreFixture.read(there);
        // What a server learns meanwhile must not make the late turn look current.
        assertEquals(1 + 3 + 2 + 4, one.summary(OWNER, id).tokenCount());

        assertThrows(EngineException.SessionConflict.class, () -> StoreFixture.read(here));

        here.close();
        there.close();
        int[] history = StoreFixture.concat(new int[] {1, 2}, first);
        history = StoreFixture.concat(StoreFixture.concat(history, 6), kept);
        history = StoreFixture.concat(history, 7);
        assertArrayEquals(StoreFixture.expected(history, 5, 3), StoreFixture.answer(one, id, new int[] {7}, 5, 3));
        assertEquals(3, other.summary(OWNER, id).turnCount());
    }

    @Test
    void changesOfAnotherServerAreNoticed() throws Exception {
        String id = one.create(OWNER, Duration.ZERO);
        StoreFixture.answer(one, id, new int[] {1, 2}, 3, 0);
        StoreFixture.answer(other, id, new int[] {3}, 3, 1);

        one.rewind(OWNER, id, 2);
        int[] answer = StoreFixture.answer(other, id, new int[] {9}, 4, 2);

        assertArrayEquals(StoreFixture.expected(new int[] {1, 2, 9}, 4, 2), answer);
        String fork = one.fork(OWNER, id, 1, Duration.ZERO).getFirst();
        int[] history = StoreFixture.concat(StoreFixture.concat(new int[] {1, 2, 9}, answer), 4);
        assertArrayEquals(StoreFixture.expected(history, 4, 5), StoreFixture.answer(other, fork, new int[] {4}, 4, 5));
    }

    @Test
    void sessionWhoseTurnRunsIsNotTheOneToForget() throws Exception {
        var config = new SessionConfig(StoreFixture.FINGERPRINT, 3, 1 << 20, 1 << 20, 1_000);
        var clock = new AtomicLong();
        try (var store = SessionStore.open(engine, config, new SharedMemoryArchive(common), clock::incrementAndGet)) {
            String id = store.create(OWNER, Duration.ZERO);
            var turn = store.turn(OWNER, id, StoreFixture.request(new int[] {5}, 4, 1), new Patience(Duration.ZERO));

            for (int i = 0; i < 5; i++) {
                store.create(OWNER, Duration.ZERO);
            }

            StoreFixture.read(turn);
            turn.close();
            assertEquals(1 + 4, store.summary(OWNER, id).tokenCount());
            assertEquals(6, store.list(OWNER, "", 10).size());
        }
    }

    @Test
    void importedStateGoesOnElsewhere() throws Exception {
        String from = one.create(OWNER, Duration.ZERO);
        int[] answer = StoreFixture.answer(one, from, new int[] {1, 2}, 3, 0);
        String to = other.create(OWNER, Duration.ZERO);
        assertEquals(0, one.summary(OWNER, to).tokenCount());

        other.importState(OWNER, to, one.exported(OWNER, from));

        int[] history = StoreFixture.concat(StoreFixture.concat(new int[] {1, 2}, answer), 4);
        assertArrayEquals(StoreFixture.expected(history, 4, 5), StoreFixture.answer(one, to, new int[] {4}, 4, 5));
    }

    @Test
    void deletedElsewhereIsGone() throws Exception {
        String id = one.create(OWNER, Duration.ZERO);
        StoreFixture.answer(one, id, new int[] {1, 2}, 3, 0);
        var running = one.turn(OWNER, id, StoreFixture.request(new int[] {5}, 4, 1), new Patience(Duration.ZERO));

        other.delete(OWNER, id);

        assertEquals(FinishReason.CANCELLED, StoreFixture.end(running));
        assertTrue(running.isSessionDeleted());
        assertThrows(EngineException.SessionNotFound.class, () -> one.summary(OWNER, id));
        assertEquals(List.of(), one.list(OWNER, "", 10));
    }

    @Test
    void sessionsOfOthersAndStrangeNamesAreNotThere() {
        String id = one.create(OWNER, Duration.ZERO);

        assertThrows(EngineException.SessionNotFound.class, () -> other.summary("other", id));
        assertThrows(EngineException.SessionNotFound.class, () -> other.summary(OWNER, "sess_*"));
        assertEquals(1, other.list(OWNER, "", 10).size());
        assertEquals(List.of(), other.list("other", "", 10));
    }

    @Test
    void someAreForgottenAtOnceSoThatNotEachNewOneLooksAtAll() throws Exception {
        var bounds = new SessionConfig(StoreFixture.FINGERPRINT, 128, 1 << 20, 1 << 20, 1_000);
        try (var small = open(bounds, new SharedMemoryArchive(common))) {
            for (int i = 0; i < 128; i++) {
                small.create(OWNER, Duration.ZERO);
            }
            assertEquals(128, small.count());

            small.create(OWNER, Duration.ZERO);

            assertEquals(126, small.count());
            assertEquals(129, small.list(OWNER, "", 200).size());
        }
    }

    @Test
    void manySessionsAreFoundAgainThoughFewAreRemembered() throws Exception {
        var bounds = new SessionConfig(StoreFixture.FINGERPRINT, 3, 1 << 20, 1 << 20, 1_000);
        try (var small = open(bounds, new SharedMemoryArchive(common))) {
            var ids = new String[8];
            var answers = new int[8][];
            for (int i = 0; i < ids.length; i++) {
                ids[i] = small.create(OWNER, Duration.ZERO);
                answers[i] = StoreFixture.answer(small, ids[i], new int[] {i + 1}, 3, i);
                assertTrue(small.count() <= 3, "remembered: " + small.count());
            }
            for (int i = 0; i < ids.length; i++) {
                int[] history = StoreFixture.concat(StoreFixture.concat(new int[] {i + 1}, answers[i]), 9);
                assertArrayEquals(
                        StoreFixture.expected(history, 3, 7), StoreFixture.answer(small, ids[i], new int[] {9}, 3, 7));
            }
        }
    }

    @Test
    void withoutTheArchiveTurnsAreRefusedAndNothingIsLost() throws Exception {
        String id = one.create(OWNER, Duration.ZERO);
        int[] answer = StoreFixture.answer(one, id, new int[] {1, 2}, 3, 0);
        var running = one.turn(OWNER, id, StoreFixture.request(new int[] {5}, 4, 1), new Patience(Duration.ZERO));
        oneArchive.cut(true);

        assertThrows(EngineException.ArchiveUnavailable.class, () -> StoreFixture.read(running));
        running.close();
        assertThrows(EngineException.ArchiveUnavailable.class, () -> one.create(OWNER, Duration.ZERO));
        assertThrows(EngineException.ArchiveUnavailable.class, () -> one.summary(OWNER, id));
        assertFalse(one.peers().orElseThrow().health().isAvailable());

        oneArchive.cut(false);
        int[] history = StoreFixture.concat(StoreFixture.concat(new int[] {1, 2}, answer), 6);
        assertArrayEquals(StoreFixture.expected(history, 3, 3), StoreFixture.answer(one, id, new int[] {6}, 3, 3));
        assertEquals(2, other.summary(OWNER, id).turnCount());
    }

    @Test
    void whatAServerHandsOverIsNotReadAgain() throws Exception {
        var leaving = open(CONFIG, new SharedMemoryArchive(common));
        String id = leaving.create(OWNER, Duration.ZERO);
        int[] answer = StoreFixture.answer(leaving, id, new int[] {1, 2}, 30, 0);

        leaving.close();

        assertEquals(SessionSummary.Tier.ARCHIVE, other.summary(OWNER, id).tier());
        try (var turn = other.turn(OWNER, id, StoreFixture.request(new int[] {4}, 5, 5), new Patience(Duration.ZERO))) {
            int[] history = StoreFixture.concat(StoreFixture.concat(new int[] {1, 2}, answer), 4);
            assertArrayEquals(StoreFixture.expected(history, 5, 5), StoreFixture.read(turn));
            assertTrue(turn.usage().cachedTokenCount() >= 31, "cached: " + turn.usage());
        }
    }
}
