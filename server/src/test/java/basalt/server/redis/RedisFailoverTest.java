package basalt.server.redis;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
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
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.locks.LockSupport;
import java.util.function.BooleanSupplier;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** What a replica that takes over has lost, and how it is found. Real primaries, replicas and Sentinels. */
class RedisFailoverTest {
    private static final String ID = "sess_00000000000000000000000000000001";
    private static final Label LABEL = new Label(ID, "tenant", 0);
    private static final Duration TIMEOUT = Duration.ofSeconds(20);
    private static final byte[] STATE = {1};
    private static final byte[] OTHER_STATE = {2};

    @TempDir
    private Path folder;

    private final List<AutoCloseable> open = new ArrayList<>();
    private RedisServer primary;
    private RedisServer replica;

    @BeforeEach
    void start() throws IOException {
        assumeTrue(RedisServer.isInstalled(), RedisServer.whyNot());
        primary = closed(RedisServer.start(folder));
        replica = closed(RedisServer.replica(folder, primary.port()));
    }

    @AfterEach
    void stop() throws Exception {
        for (AutoCloseable each : open.reversed()) {
            each.close();
        }
    }

    private <T extends AutoCloseable> T closed(T each) {
        open.add(each);
        return each;
    }

    private RedisArchive archive(String url) {
        var config = new RedisConfig(RedisUrl.parse(url).orElseThrow(), TIMEOUT, Duration.ofHours(1));
        return closed(RedisArchive.open(config, "model"));
    }

    private static byte[] bytes(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }

    private static String journal(RedisArchive archive) {
        return new String(archive.journal(ID).orElseThrow(), StandardCharsets.UTF_8);
    }

    private static void await(String what, BooleanSupplier isSo) {
        long began = System.nanoTime();
        while (!isSo.getAsBoolean()) {
            assertTrue(System.nanoTime() - began < 60_000_000_000L, "no " + what);
            LockSupport.parkNanos(5_000_000);
        }
    }

    @Test
    void commitLandsOnTheHistoryItWasBasedOnAlone() throws Exception {
        var proxy = closed(new CutProxy(primary.port()));
        var one = archive(RedisServer.url(proxy.port()));
        var first = one.create(LABEL, JournalVersion.NONE, bytes("begin"));
        replica.leave(primary);
        var lost = one.append(ID, first, bytes(" lost"));
        var other = archive(replica.url());
        var kept = other.append(ID, other.version("tenant", ID).orElseThrow(), bytes(" kept"));

        proxy.leadTo(replica.port());

        assertEquals(lost.number(), kept.number());
        assertNotEquals(lost, kept);
        assertThrows(EngineException.SessionConflict.class, () -> one.append(ID, lost, bytes(" wrong")));
        assertThrows(EngineException.SessionConflict.class, () -> one.create(LABEL, lost, bytes("wrong")));
        assertThrows(
                EngineException.SessionConflict.class, () -> one.replace(LABEL, lost, bytes("wrong"), 7, OTHER_STATE));
        assertEquals("begin kept", journal(one));
        assertTrue(one.image(ID, 7).isEmpty());
        assertEquals(Optional.of(kept), one.version("tenant", ID));
        one.append(ID, kept, bytes(" on"));
        assertEquals("begin kept on", journal(other));
    }

    @Test
    void writeThatIsBehindOrAheadOfALostHistoryIsRefused() throws Exception {
        var proxy = closed(new CutProxy(primary.port()));
        var one = archive(RedisServer.url(proxy.port()));
        var first = one.create(LABEL, JournalVersion.NONE, bytes("begin"));
        replica.leave(primary);
        var second = one.append(ID, first, bytes(" lost"));
        var third = one.append(ID, second, bytes(" lost"));

        proxy.leadTo(replica.port());

        assertThrows(EngineException.SessionConflict.class, () -> one.append(ID, third, bytes(" wrong")));
        assertThrows(EngineException.SessionConflict.class, () -> one.append(ID, second, bytes(" wrong")));
        assertEquals("begin on", journal(continued(one, first)));
    }

    private static RedisArchive continued(RedisArchive archive, JournalVersion version) {
        archive.append(ID, version, bytes(" on"));
        return archive;
    }

    @Test
    void imagesOfAnotherHistoryAreNeitherAddedNorDropped() {
        var one = archive(primary.url());
        var other = archive(primary.url());
        var first = one.create(LABEL, JournalVersion.NONE, bytes("begin"));
        one.putImage(ID, 5, STATE);
        var second = other.replace(LABEL, other.version("tenant", ID).orElseThrow(), bytes("base"), 7, STATE);

        one.putImage(ID, 7, OTHER_STATE);
        one.deleteImage(ID, 7);
        one.truncate(ID, 1);

        assertEquals(first.number() + 1, second.number());
        assertArrayEquals(STATE, other.image(ID, 7).orElseThrow());
        assertEquals("base", journal(other));
        assertTrue(other.image(ID, 5).isEmpty(), "replaced with the journal");
        assertEquals(Optional.of(second), one.version("tenant", ID));
        assertEquals(List.of(7L), one.images(ID));
        one.putImage(ID, 9, OTHER_STATE);
        assertArrayEquals(OTHER_STATE, other.image(ID, 9).orElseThrow());
    }

    /** It answers questions, so that failures are never in a row. */
    @Test
    void primaryThatBecameAReplicaIsLeft() {
        var one = archive(primary.url());
        var first = one.create(LABEL, JournalVersion.NONE, bytes("begin"));
        replica.leave(primary);
        try (var old = primary.connect()) {
            old.replicaof("127.0.0.1", replica.port());
            // Until then it may answer that it loads.
            await("copy", () -> old.info("replication").contains("master_link_status:up"));

            await("look for another primary", () -> {
                assertThrows(EngineException.ArchiveUnavailable.class, () -> one.append(ID, first, bytes(" on")));
                boolean isLeft = !one.health().isAvailable();
                if (!isLeft) {
                    assertEquals("begin", journal(one));
                }
                return isLeft;
            });

            old.replicaofNoOne();
        }
        await("primary", () -> one.health().isAvailable());
        assertEquals(2, one.append(ID, first, bytes(" on")).number());
    }

    @Test
    void sentinelsLeadToTheNewPrimary() throws Exception {
        var sentinels = new ArrayList<RedisServer>();
        for (int i = 0; i < 3; i++) {
            sentinels.add(closed(RedisServer.sentinel(folder, primary.port())));
        }
        int nobody = sentinels.getFirst().port();
        String url = "redis+sentinel://:secret@127.0.0.1:%d,127.0.0.1:%d,127.0.0.1:%d/sessions"
                .formatted(nobody, sentinels.get(1).port(), sentinels.get(2).port());
        try (var server = primary.client();
                var copy = replica.client();
                var sentinel = sentinels.get(1).connect()) {
            // A Redis with a password behind Sentinels without.
            for (var each : List.of(server, copy)) {
                each.configSet("masterauth", "secret");
                each.configSet("requirepass", "secret");
            }
            for (RedisServer each : sentinels) {
                try (var asked = each.connect()) {
                    asked.sentinelSet("sessions", Map.of("auth-pass", "secret"));
                }
            }
            sentinels.getFirst().close();
            var one = archive(url);
            var first = one.create(LABEL, JournalVersion.NONE, bytes("begin"));
            await(
                    "replica that the Sentinels know",
                    () -> !sentinel.sentinelReplicas("sessions").isEmpty());
            await("replication", () -> !copy.keys("*:" + ID + ":journal").isEmpty());
            for (RedisServer each : sentinels.subList(1, sentinels.size())) {
                try (var asked = each.connect()) {
                    asked.sentinelSet("sessions", Map.of("down-after-milliseconds", "500"));
                }
            }

            primary.close();

            var next = new ArrayList<JournalVersion>();
            await("new primary", () -> {
                try {
                    next.add(one.append(ID, first, bytes(" on")));
                    return true;
                } catch (EngineException.ArchiveUnavailable e) {
                    return false;
                }
            });
            assertEquals(2, next.getFirst().number());
            await("way to it", () -> one.health().isAvailable());
            // The other Sentinel may learn of it last.
            var other = archive(url);
            var seen = new ArrayList<Optional<JournalVersion>>();
            await("new primary for others", () -> {
                try {
                    return seen.add(other.version("tenant", ID));
                } catch (EngineException.ArchiveUnavailable e) {
                    return false;
                }
            });
            assertEquals(Optional.of(next.getFirst()), seen.getFirst());
            assertEquals("begin on", journal(other));
        }
        String unknown = url.replace("/sessions", "/nobody");
        var refused = assertThrows(EngineException.ArchiveFailure.class, () -> archive(unknown));
        assertTrue(String.valueOf(refused.getMessage()).contains("nobody"), refused.getMessage());
        assertFalse(String.valueOf(refused.getMessage()).contains("secret"), refused.getMessage());
    }
}
