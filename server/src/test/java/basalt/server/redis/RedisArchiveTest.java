package basalt.server.redis;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import basalt.engine.EngineException;
import basalt.engine.session.JournalVersion;
import basalt.engine.session.SessionArchive.Label;
import basalt.server.fixture.CutProxy;
import basalt.server.fixture.RedisServer;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Arrays;
import java.util.List;
import java.util.Optional;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.locks.LockSupport;
import java.util.function.BooleanSupplier;
import java.util.random.RandomGenerator;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import redis.clients.jedis.RedisClient;

/** Two servers' archives over one real Redis; the first one's network can be cut. */
class RedisArchiveTest {
    private static final String MODEL = "model";
    private static final String ID = "sess_00000000000000000000000000000001";
    private static final String OTHER_ID = "sess_00000000000000000000000000000002";
    private static final String OWNER = "tenant";
    private static final byte[] JOURNAL = "begin".getBytes(StandardCharsets.UTF_8);
    private static final byte[] ENTRY = " more".getBytes(StandardCharsets.UTF_8);
    private static final Duration TIMEOUT = Duration.ofSeconds(20);
    private static final Duration BRIEF_TIMEOUT = Duration.ofMillis(200);
    private static final Duration PATIENCE = Duration.ofSeconds(60);
    private static final int ATTEMPTS = 5;
    private static final Duration LIFE = Duration.ofHours(1);

    @TempDir
    private Path folder;

    private RedisServer server;
    private CutProxy proxy;
    private RedisArchive one;
    private RedisArchive other;
    private RedisClient redis;

    @BeforeEach
    void start() throws IOException {
        assumeTrue(RedisServer.isInstalled(), RedisServer.whyNot());
        server = RedisServer.start(folder);
        proxy = new CutProxy(server.port());
        one = open(RedisServer.url(proxy.port()), LIFE);
        other = open(server.url(), LIFE);
        redis = server.client();
    }

    @AfterEach
    void stop() throws IOException {
        if (server != null) {
            one.close();
            other.close();
            redis.close();
            proxy.close();
            server.close();
        }
    }

    private static RedisArchive open(String url, Duration life) {
        return open(url, TIMEOUT, life);
    }

    private static RedisArchive open(String url, Duration timeout, Duration life) {
        return RedisArchive.open(new RedisConfig(RedisUrl.parse(url).orElseThrow(), timeout, life), MODEL);
    }

    private static Label label(String id, Duration life) {
        return new Label(id, OWNER, life.toMillis());
    }

    private static void await(String what, BooleanSupplier isSo) {
        long began = System.nanoTime();
        while (!isSo.getAsBoolean()) {
            assertTrue(System.nanoTime() - began < PATIENCE.toNanos(), "no " + what);
            LockSupport.parkNanos(5_000_000);
        }
    }

    /** But for those that say which servers there are. */
    private Set<String> keys() {
        var keys = new TreeSet<>(redis.keys("*"));
        keys.removeIf(key -> key.startsWith("basalt:1:9372c470eeadd5ec:server:"));
        return keys;
    }

    private static void awaitHealth(RedisArchive archive, boolean isAvailable) {
        await("change of availability", () -> archive.health().isAvailable() == isAvailable);
    }

    @Test
    void ofWritesWithTheSameVersionOneSucceeds() {
        var made = one.create(label(ID, Duration.ZERO), JournalVersion.NONE, JOURNAL);
        assertEquals(Optional.of(made), other.version(OWNER, ID));

        var written = other.append(ID, made, ENTRY);

        assertEquals(2, written.number());
        assertThrows(EngineException.SessionConflict.class, () -> one.append(ID, made, ENTRY));
        assertThrows(EngineException.SessionConflict.class, () -> one.create(label(ID, LIFE), made, JOURNAL));
        assertArrayEquals(
                "begin more".getBytes(StandardCharsets.UTF_8), one.journal(ID).orElseThrow());
        assertEquals(2, one.health().conflictCount());
        assertEquals(3, one.create(label(ID, LIFE), written, ENTRY).number());
        assertArrayEquals(ENTRY, other.journal(ID).orElseThrow());
    }

    @Test
    void writeWhoseAnswerIsLostIsDoneOnce() {
        var version = one.create(label(ID, Duration.ZERO), JournalVersion.NONE, JOURNAL);
        for (int i = 0; i < 5; i++) {
            proxy.loseAnswers(1);

            version = one.append(ID, version, ENTRY);
        }

        assertEquals(
                "begin more more more more more", new String(one.journal(ID).orElseThrow(), StandardCharsets.UTF_8));
        assertEquals(6, version.number());
    }

    @Test
    void keysAreThoseOfTheDocumentAndEnd() {
        one.create(label(ID, Duration.ofSeconds(1_000)), JournalVersion.NONE, JOURNAL);
        one.create(label(OTHER_ID, Duration.ZERO), JournalVersion.NONE, JOURNAL);
        one.putImage(ID, 7, new byte[100]);
        // The beginning of the SHA-256 of "model".
        String tenant = "basalt:1:9372c470eeadd5ec:tenant:";

        assertEquals(
                Set.of(
                        tenant + ID + ":head",
                        tenant + ID + ":journal",
                        tenant + ID + ":images",
                        tenant + OTHER_ID + ":head",
                        tenant + OTHER_ID + ":journal",
                        tenant + "sessions"),
                keys());
        for (String part : List.of(":head", ":journal", ":images")) {
            long left = redis.pttl(tenant + ID + part);
            assertTrue(left > 500_000 && left <= 1_000_000, part + " lives for " + left);
        }
        long left = redis.pttl(tenant + OTHER_ID + ":journal");
        assertTrue(left > LIFE.toMillis() - 500_000 && left <= LIFE.toMillis(), "lives for " + left);
        redis.pexpire(tenant + ID + ":journal", 400_000);
        other.version(OWNER, ID);
        assertTrue(redis.pttl(tenant + ID + ":journal") > 500_000, "a look is a use");
        try (var eternal = open(server.url(), Duration.ZERO)) {
            eternal.create(label("sess_00000000000000000000000000000003", Duration.ZERO), JournalVersion.NONE, JOURNAL);
            assertEquals(-1, redis.pttl(tenant + "sess_00000000000000000000000000000003:journal"));
        }
    }

    @Test
    void whatEndedIsGoneEverywhere() {
        var made = one.create(label(ID, Duration.ofMillis(50)), JournalVersion.NONE, JOURNAL);
        one.create(label(OTHER_ID, Duration.ZERO), JournalVersion.NONE, JOURNAL);
        await("end of it", () -> !redis.exists("basalt:1:9372c470eeadd5ec:tenant:" + ID + ":journal"));

        assertEquals(Optional.empty(), other.version(OWNER, ID));
        assertThrows(EngineException.SessionNotFound.class, () -> one.append(ID, made, ENTRY));
        assertEquals(List.of(OTHER_ID), other.ids(OWNER));
        one.delete(OTHER_ID);
        assertEquals(List.of(), other.ids(OWNER));
        assertEquals(Set.of(), keys());
    }

    @Test
    void tenantsAndModelsAreApart() {
        one.create(label(ID, Duration.ZERO), JournalVersion.NONE, JOURNAL);

        assertEquals(Optional.empty(), other.version("another", ID));
        assertEquals(List.of(), other.ids("another"));
        try (var foreign = RedisArchive.open(
                new RedisConfig(RedisUrl.parse(server.url()).orElseThrow(), TIMEOUT, LIFE), "foreign")) {
            assertEquals(Optional.empty(), foreign.version(OWNER, ID));
        }
        assertTrue(one.version(OWNER, ID).isPresent());
    }

    @Test
    void imagesComeBackAsTheyWere() {
        var random = RandomGenerator.of("L64X128MixRandom");
        var image = new byte[300_001];
        random.nextBytes(image);
        one.create(label(ID, Duration.ZERO), JournalVersion.NONE, JOURNAL);
        one.putImage(ID, 5, image);
        one.putImage(ID, 1_000, new byte[0]);

        other.version(OWNER, ID);

        assertEquals(List.of(5L, 1_000L), other.images(ID));
        assertArrayEquals(image, other.image(ID, 5).orElseThrow());
        assertArrayEquals(new byte[0], other.image(ID, 1_000).orElseThrow());
        assertTrue(other.image(ID, 6).isEmpty());
        assertEquals(one.imageBytes(ID), other.imageBytes(ID));
        other.copyImage(ID, OTHER_ID, 5);
        other.create(label(OTHER_ID, Duration.ZERO), JournalVersion.NONE, JOURNAL);
        one.version(OWNER, OTHER_ID);
        assertArrayEquals(image, one.image(OTHER_ID, 5).orElseThrow());
        one.deleteImage(ID, 5);
        assertTrue(one.image(ID, 5).isEmpty());
        assertEquals(List.of(1_000L), one.images(ID));
    }

    /** The image is of a history that the session still has. */
    @Test
    void draftIsKeptWhileItsServerGoesOnWithTheSession() {
        var image = new byte[1_000];
        Arrays.fill(image, (byte) 7);
        var version = one.create(label(ID, Duration.ZERO), JournalVersion.NONE, JOURNAL);
        var draft = one.draftImage(ID, 5, image);
        one.append(ID, version, ENTRY);
        other.version(OWNER, ID);
        assertEquals(List.of(), one.images(ID));
        assertEquals(List.of(), other.images(ID));

        draft.keep();

        other.version(OWNER, ID);
        assertEquals(List.of(5L), one.images(ID));
        assertArrayEquals(image, other.image(ID, 5).orElseThrow());
        assertEquals(1_000, other.imageBytes(ID, 5));
        assertEquals(Set.of(), redis.keys("*:draft:*"));
        assertTrue(redis.pttl("basalt:1:9372c470eeadd5ec:tenant:" + ID + ":images") > 0);
    }

    @Test
    void draftIsNotKeptOnceAnotherServerHasWritten() {
        var version = one.create(label(ID, Duration.ZERO), JournalVersion.NONE, JOURNAL);
        var draft = one.draftImage(ID, 5, new byte[10]);
        other.version(OWNER, ID);
        other.create(label(ID, Duration.ZERO), version, JOURNAL);

        draft.keep();

        one.version(OWNER, ID);
        assertEquals(List.of(), one.images(ID));
        assertEquals(Set.of(), redis.keys("*:draft:*"));
    }

    @Test
    void draftEndsByItselfOrIsDropped() {
        one.create(label(ID, Duration.ZERO), JournalVersion.NONE, JOURNAL);
        var late = one.draftImage(ID, 5, new byte[10]);
        one.draftImage(ID, 6, new byte[10]).drop();
        String key = redis.keys("*:draft:*").iterator().next();
        long left = redis.pttl(key);
        redis.pexpire(key, 1);
        await("end of the draft", () -> !redis.exists(key));

        assertThrows(EngineException.ArchiveUnavailable.class, late::keep);

        assertTrue(left > 60_000 && left <= 120_000, "lives for " + left);
        assertEquals(List.of(), one.images(ID));
    }

    @Test
    void draftWhoseAnswerIsLostIsKeptOnce() {
        one.create(label(ID, Duration.ZERO), JournalVersion.NONE, JOURNAL);
        for (long count = 1; count <= 5; count++) {
            proxy.loseAnswers(1);
            var draft = one.draftImage(ID, count, new byte[10]);
            proxy.loseAnswers(1);

            draft.keep();

            assertEquals(count, one.images(ID).size());
        }
    }

    @Test
    void whatIsSetAsideIsNotThere() {
        String tenant = "basalt:1:9372c470eeadd5ec:tenant:";
        one.create(label(ID, Duration.ZERO), JournalVersion.NONE, JOURNAL);
        one.putImage(ID, 9, new byte[3]);

        one.setAsideImage(ID, 9, "a test");

        assertTrue(one.image(ID, 9).isEmpty());
        assertEquals(List.of(), one.images(ID));
        one.setAside(ID, "a test");
        assertEquals(Set.of(tenant + ID + ":journal:aside"), keys());
        assertEquals(Optional.empty(), other.version(OWNER, ID));
        assertEquals(List.of(), other.ids(OWNER));
    }

    @Test
    void cutNetworkFailsFastAndComesBack() {
        var version = one.create(label(ID, Duration.ZERO), JournalVersion.NONE, JOURNAL);
        proxy.become(CutProxy.State.CUT);
        assertThrows(EngineException.ArchiveUnavailable.class, () -> one.append(ID, version, ENTRY));
        awaitHealth(one, false);

        var unasked = assertThrows(EngineException.ArchiveUnavailable.class, () -> one.append(ID, version, ENTRY));
        assertTrue(String.valueOf(unasked.getMessage()).endsWith(" does not answer"), unasked.getMessage());
        assertTrue(one.health().failureCount() >= 2);

        proxy.become(CutProxy.State.WHOLE);
        awaitHealth(one, true);
        assertEquals(2, one.append(ID, version, ENTRY).number());
    }

    @Test
    void whatCouldNotBeMadeOrDroppedIsNotRemembered() {
        var version = one.create(label(ID, Duration.ZERO), JournalVersion.NONE, JOURNAL);
        proxy.become(CutProxy.State.CUT);

        assertThrows(
                EngineException.ArchiveUnavailable.class,
                () -> one.create(label(OTHER_ID, Duration.ZERO), JournalVersion.NONE, JOURNAL));
        assertThrows(EngineException.SessionNotFound.class, () -> one.append(OTHER_ID, JournalVersion.NONE, ENTRY));
        assertThrows(EngineException.ArchiveUnavailable.class, () -> one.append(ID, version, ENTRY));
        assertThrows(EngineException.ArchiveUnavailable.class, () -> one.delete(ID));
        assertThrows(EngineException.SessionNotFound.class, () -> one.append(ID, version, ENTRY));

        awaitHealth(one, false);
        proxy.become(CutProxy.State.WHOLE);
        awaitHealth(one, true);
        assertEquals(Optional.of(version), one.version(OWNER, ID));
        one.delete(ID);
        assertEquals(Set.of(), keys());
    }

    /** A machine that does something else as well may be late now and then, but not always. */
    @Test
    void silentNetworkTimesOut() {
        var version = other.create(label(ID, Duration.ZERO), JournalVersion.NONE, JOURNAL);
        long millis = Long.MAX_VALUE;
        for (int i = 0; i < ATTEMPTS && millis >= 2_000; i++) {
            proxy.become(CutProxy.State.WHOLE);
            try (var brief = open(RedisServer.url(proxy.port()), BRIEF_TIMEOUT, LIFE)) {
                await("look at the session", () -> isThere(brief));
                proxy.become(CutProxy.State.SILENT);

                long began = System.nanoTime();
                assertThrows(EngineException.ArchiveUnavailable.class, () -> brief.append(ID, version, ENTRY));
                millis = Math.min(millis, (System.nanoTime() - began) / 1_000_000);

                awaitHealth(brief, false);
                proxy.become(CutProxy.State.WHOLE);
                awaitHealth(brief, true);
            }
        }

        assertTrue(millis < 2_000, "each call took " + millis + " ms or more");
        // Whether it was written is told by the version.
        var now = one.version(OWNER, ID).orElseThrow();
        assertEquals(now.number() + 1, one.append(ID, now, ENTRY).number());
    }

    private static boolean isThere(RedisArchive archive) {
        try {
            return archive.version(OWNER, ID).isPresent();
        } catch (EngineException.ArchiveUnavailable e) {
            return false;
        }
    }

    @Test
    void serverIsThereUntilItsKeyHasEndedAndRedisHasAnsweredForAsLong() {
        String presence = "basalt:1:9372c470eeadd5ec:server:" + one.name();
        await("sign of the server", () -> redis.exists(presence));
        long left = redis.pttl(presence);
        assertTrue(left > 0 && left <= RedisArchive.PRESENCE.toMillis(), "lives for " + left);
        assertTrue(other.isThere("none"), "it may not have reached Redis yet");

        proxy.become(CutProxy.State.CUT);

        await("end of the server", () -> !other.isThere(one.name()));
        assertFalse(other.isThere("none"));
        assertTrue(other.isThere(other.name()));
        proxy.become(CutProxy.State.WHOLE);
        await("return of the server", () -> other.isThere(one.name()));
        assertTrue(one.isThere("none"));
    }

    @Test
    void fullRedisRefusesAWriteAndKeepsTheRest() {
        var version = one.create(label(ID, Duration.ZERO), JournalVersion.NONE, JOURNAL);
        redis.configSet("maxmemory", "1");

        assertThrows(EngineException.ArchiveUnavailable.class, () -> one.append(ID, version, ENTRY));

        assertTrue(one.health().isAvailable(), "others can still be read");
        assertArrayEquals(JOURNAL, one.journal(ID).orElseThrow());
        redis.configSet("maxmemory", "0");
        assertEquals(2, one.append(ID, version, ENTRY).number());
    }

    @Test
    void serverThatIsNotThereYetIsWaitedForAndOneThatRefusesIsNot() {
        proxy.become(CutProxy.State.CUT);
        try (var early = open(RedisServer.url(proxy.port()), LIFE)) {
            assertFalse(early.health().isAvailable());
            assertThrows(EngineException.ArchiveUnavailable.class, () -> early.version(OWNER, ID));
        }
        redis.configSet("requirepass", "secret");

        var refused = assertThrows(EngineException.ArchiveFailure.class, () -> open(server.url(), LIFE));
        assertTrue(String.valueOf(refused.getMessage()).contains("NOAUTH"), refused.getMessage());
        String wrong = "redis://:wrong@127.0.0.1:" + server.port();
        refused = assertThrows(EngineException.ArchiveFailure.class, () -> open(wrong, LIFE));
        assertTrue(String.valueOf(refused.getMessage()).contains("WRONGPASS"), refused.getMessage());
        assertFalse(String.valueOf(refused.getMessage()).contains("wrong@"), refused.getMessage());
        open("redis://:secret@127.0.0.1:" + server.port() + "/2", LIFE).close();
    }
}
