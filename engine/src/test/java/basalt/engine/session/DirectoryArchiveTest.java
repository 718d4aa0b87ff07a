package basalt.engine.session;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import basalt.engine.EngineException;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.PosixFilePermissions;
import java.time.Duration;
import java.util.List;
import java.util.concurrent.atomic.AtomicBoolean;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.function.Executable;
import org.junit.jupiter.api.io.TempDir;

class DirectoryArchiveTest {
    private static final SessionArchive.Label LABEL = new SessionArchive.Label("sess_1", "owner", 0);
    private static final byte[] JOURNAL = {1, 2, 3, 4};
    private static final byte[] ENTRY = {5, 6};
    private static final byte[] BOTH = {1, 2, 3, 4, 5, 6};

    @TempDir
    private Path directory;

    private static void create(SessionArchive archive) {
        archive.create(LABEL, JournalVersion.NONE, JOURNAL);
    }

    private static void append(SessionArchive archive, byte[] entry) {
        archive.append("sess_1", JournalVersion.NONE, entry);
    }

    private static byte[] journal(SessionArchive archive) {
        return archive.journal("sess_1").orElseThrow();
    }

    /** A thread that is interrupted while it writes may not even cut off what it has written. */
    @Test
    void entryThatCouldNotBeCutOffIsCutOffLater() throws Exception {
        Path journal = directory.resolve("sess_1.journal");
        try (var archive = DirectoryArchive.open(directory, Durability.OFF)) {
            create(archive);
            boolean isTorn = false;
            for (int attempt = 0; attempt < 200 && !isTorn; attempt++) {
                archive.create(LABEL, JournalVersion.NONE, JOURNAL);
                boolean isRefused = isRefusedWhenInterrupted(archive, journal);
                isTorn = isRefused && Files.size(journal) > JOURNAL.length;
            }
            assumeTrue(isTorn, "no write could be interrupted");

            assertArrayEquals(JOURNAL, journal(archive));
            append(archive, ENTRY);

            assertArrayEquals(BOTH, journal(archive));
            assertArrayEquals(BOTH, Files.readAllBytes(journal));
        }
    }

    private static boolean isRefusedWhenInterrupted(SessionArchive archive, Path journal) throws Exception {
        var isRefused = new AtomicBoolean();
        var writer = Thread.ofPlatform().start(() -> {
            try {
                append(archive, new byte[8 << 20]);
            } catch (EngineException.ArchiveFailure e) {
                isRefused.set(true);
            }
        });
        while (writer.isAlive() && Files.size(journal) == JOURNAL.length) {
            Thread.onSpinWait();
        }
        writer.interrupt();
        writer.join();
        return isRefused.get();
    }

    private static void createOther(SessionArchive archive, int bytes) {
        archive.create(new SessionArchive.Label("sess_2", "owner", 0), JournalVersion.NONE, new byte[bytes]);
    }

    /** Else forks of a long session would fill the disk, whatever states may take; a turn is never refused. */
    @Test
    void newJournalsAreBounded() {
        try (var archive = DirectoryArchive.open(directory, Durability.OFF, 10)) {
            create(archive);
            append(archive, ENTRY);
            assertThrows(EngineException.SessionsFull.class, () -> createOther(archive, 5));
            append(archive, new byte[5]);
            assertEquals(List.of("sess_1"), archive.ids());
        }
        try (var archive = DirectoryArchive.open(directory, Durability.OFF, 10)) {
            assertThrows(EngineException.SessionsFull.class, () -> createOther(archive, 1));
            archive.truncate("sess_1", 6);
            createOther(archive, 4);
            assertThrows(EngineException.SessionsFull.class, () -> createOther(archive, 5));
            createOther(archive, 3);
            archive.delete("sess_1");
            createOther(archive, 10);
            assertThrows(EngineException.SessionsFull.class, () -> create(archive));
        }
    }

    private static void isRefused(Executable write) {
        var refused = assertThrows(EngineException.ArchiveFailure.class, write);
        assertTrue(String.valueOf(refused.getMessage()).contains("lock was replaced"), refused.getMessage());
    }

    /** The lock is of a file, and not of its name. */
    @Test
    void processWhoseLockFileWasReplacedWritesNothing() throws IOException {
        try (var one = DirectoryArchive.open(directory, Durability.OFF)) {
            create(one);
            one.putImage("sess_1", 3, JOURNAL);
            var draft = one.draftImage("sess_1", 4, JOURNAL);
            Files.delete(directory.resolve("lock"));
            try (var other = DirectoryArchive.open(directory, Durability.OFF)) {
                append(other, ENTRY);
                other.putImage("sess_1", 5, JOURNAL);

                isRefused(() -> append(one, ENTRY));
                isRefused(() -> create(one));
                isRefused(() -> createOther(one, 1));
                isRefused(() -> one.putImage("sess_1", 7, JOURNAL));
                isRefused(draft::keep);
                isRefused(() -> one.truncate("sess_1", 1));
                isRefused(() -> one.copyImage("sess_1", "sess_2", 3));
                isRefused(() -> one.deleteImage("sess_1", 3));
                isRefused(() -> one.delete("sess_1"));
                isRefused(() -> one.setAside("sess_1", "a test"));

                assertArrayEquals(BOTH, journal(other));
                assertEquals(List.of(3L, 5L), other.images("sess_1"));
                assertTrue(Files.exists(directory.resolve("sess_1.3.image")));
            }
            isRefused(() -> append(one, ENTRY));
        }
        try (var next = DirectoryArchive.open(directory, Durability.OFF)) {
            assertArrayEquals(BOTH, journal(next));
            assertEquals(List.of(3L, 5L), next.images("sess_1"));
        }
    }

    /** As what cleans up after others may do. */
    @Test
    void lockFileThatIsOnlyDeletedIsMadeAgainBeforeAnythingIsWritten() throws IOException {
        Path lock = directory.resolve("lock");
        try (var archive = DirectoryArchive.open(directory, Durability.OFF)) {
            create(archive);
            for (int i = 0; i < 3; i++) {
                Files.delete(lock);

                append(archive, ENTRY);

                assertTrue(Files.exists(lock));
                var second = assertThrows(
                        EngineException.ArchiveFailure.class, () -> DirectoryArchive.open(directory, Durability.OFF));
                assertTrue(String.valueOf(second.getMessage()).contains("another process uses it"));
            }
        }
        DirectoryArchive.open(directory, Durability.OFF).close();
    }

    /** Whoever can make names in the directory does not make the server write elsewhere, nor keep it from starting. */
    @Test
    void linksAreNotFollowed() throws IOException {
        Path elsewhere = Files.write(directory.resolve("elsewhere"), JOURNAL);
        Path kept = Files.createDirectory(directory.resolve("kept"));
        Files.createSymbolicLink(kept.resolve("sess_1.journal"), elsewhere);
        Files.createDirectory(kept.resolve("sess_2.journal"));
        Files.createSymbolicLink(kept.resolve("sess_3.5.image.1.new"), elsewhere);

        try (var archive = DirectoryArchive.open(kept, Durability.OFF)) {
            assertEquals(List.of(), archive.ids());
            assertTrue(Files.exists(kept.resolve("sess_2.journal.aside")));
            create(archive);
            append(archive, ENTRY);
            assertArrayEquals(BOTH, journal(archive));
        }
        assertArrayEquals(JOURNAL, Files.readAllBytes(elsewhere));
    }

    @Test
    void directoryThatIsMadeIsNobodyElses() throws IOException {
        Path made = directory.resolve("a/b");

        DirectoryArchive.open(made, Durability.OFF).close();

        assertEquals("rwx------", PosixFilePermissions.toString(Files.getPosixFilePermissions(made)));
    }

    @Test
    void sessionThatCannotBeReadNowHoldsUpNoOther() throws Exception {
        var config = StoreFixture.config(1 << 20, 1 << 20, 1);
        try (var engine = StoreFixture.engine(0)) {
            String unread;
            String other;
            try (var store =
                    SessionStore.open(engine, config, DirectoryArchive.open(directory, Durability.OFF), () -> 1)) {
                unread = store.create(StoreFixture.OWNER, Duration.ZERO);
                other = store.create(StoreFixture.OWNER, Duration.ZERO);
                StoreFixture.answer(store, unread, new int[] {1}, 3, 0);
            }
            var archive = new HookedArchive(DirectoryArchive.open(directory, Durability.OFF));
            archive.beforeJournal = id -> {
                if (id.equals(unread)) {
                    throw new EngineException.ArchiveFailure("as told", new IOException("an error of the disk"));
                }
            };
            try (var store = SessionStore.open(engine, config, archive, () -> 1)) {
                assertThrows(EngineException.SessionNotFound.class, () -> store.summary(StoreFixture.OWNER, unread));
                assertEquals(3, StoreFixture.answer(store, other, new int[] {1}, 3, 0).length);
            }
            try (var store =
                    SessionStore.open(engine, config, DirectoryArchive.open(directory, Durability.OFF), () -> 1)) {
                assertEquals(4, store.summary(StoreFixture.OWNER, unread).tokenCount());
            }
        }
    }
}
