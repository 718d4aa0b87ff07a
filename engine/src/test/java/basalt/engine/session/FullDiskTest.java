package basalt.engine.session;

import static basalt.engine.session.StoreFixture.OWNER;
import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import basalt.engine.Engine;
import basalt.engine.EngineException;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.random.RandomGenerator;
import java.util.random.RandomGeneratorFactory;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/** Sessions on a file system of their own that is really full. */
class FullDiskTest {
    private static final int DISK_KIBIBYTES = 1_024;

    @TempDir
    private Path directory;

    private final Engine engine = StoreFixture.engine(0);
    private final RandomGenerator random =
            RandomGeneratorFactory.of("L64X128MixRandom").create(5);
    private boolean isMounted;

    @BeforeEach
    void mount() throws Exception {
        isMounted = run("mount", "-t", "tmpfs", "-o", "size=" + DISK_KIBIBYTES + "k", "tmpfs", directory.toString());
        assumeTrue(isMounted, "FULL DISK NOT TESTED: no file system may be mounted here; run as root");
    }

    @AfterEach
    void unmount() throws Exception {
        engine.close();
        if (isMounted) {
            assertTrue(run("umount", directory.toString()), "not unmounted");
        }
    }

    private static boolean run(String... command) throws Exception {
        try {
            return new ProcessBuilder(command).start().waitFor() == 0;
        } catch (IOException e) {
            return false;
        }
    }

    /** The disk but for so many bytes. */
    private void fill(int left) throws IOException {
        Path ballast = directory.resolve("ballast");
        var block = new byte[4_096];
        try (var out = Files.newOutputStream(ballast)) {
            while (Files.getFileStore(directory).getUsableSpace() > left) {
                out.write(block);
            }
        }
    }

    private void free() throws IOException {
        Files.deleteIfExists(directory.resolve("ballast"));
    }

    private SessionStore open(Durability durability, long memoryBytesMax) {
        return SessionStore.open(
                engine,
                StoreFixture.config(memoryBytesMax, 1 << 30, 1),
                DirectoryArchive.open(directory.resolve("sessions"), durability),
                () -> 1_000_000);
    }

    /** A session, and what must be in it. */
    private static final class Past {
        private final String id;
        private int[] tokens = {};

        Past(String id) {
            this.id = id;
        }
    }

    /** Whether a turn was committed; then it is part of the past. */
    private boolean isAnswered(SessionStore store, Past past) throws Exception {
        int[] prompt =
                random.ints(1 + random.nextInt(300), 1, StoreFixture.VOCAB_SIZE).toArray();
        try {
            int[] answer = StoreFixture.answer(store, past.id, prompt, 5, 0);
            int[] asked = StoreFixture.concat(past.tokens, prompt);
            assertArrayEquals(StoreFixture.expected(asked, 5, 0), answer);
            past.tokens = StoreFixture.concat(asked, answer);
            return true;
        } catch (EngineException.ArchiveFailure e) {
            assertTrue(String.valueOf(e.getMessage()).contains("No space left"), e.getMessage());
            return false;
        }
    }

    private void areWhole(SessionStore store, List<Past> pasts) throws Exception {
        assertEquals(pasts.size(), store.count());
        for (Past past : pasts) {
            assertEquals(past.tokens.length, store.summary(OWNER, past.id).tokenCount());
            String fork = store.fork(OWNER, past.id, 1, Duration.ZERO).getFirst();
            assertArrayEquals(
                    StoreFixture.expected(StoreFixture.concat(past.tokens, 7), 5, 0),
                    StoreFixture.answer(store, fork, new int[] {7}, 5, 0));
            store.delete(OWNER, fork);
        }
    }

    @ParameterizedTest
    @EnumSource
    void turnsThatWereCommittedAreThereWhateverTheDiskRefuses(Durability durability) throws Exception {
        var pasts = new ArrayList<Past>();
        int refusedCount = 0;
        for (long memory : new long[] {0, 1 << 20}) {
            try (var store = open(durability, memory)) {
                for (int i = 0; i < 5; i++) {
                    pasts.add(new Past(store.create(OWNER, Duration.ZERO)));
                }
                for (int round = 0; round < 6; round++) {
                    fill(random.nextInt(4) * 4_096);
                    for (int i = 0; i < 40; i++) {
                        refusedCount += isAnswered(store, pasts.get(random.nextInt(pasts.size()))) ? 0 : 1;
                    }
                    assertThrows(
                            EngineException.ArchiveFailure.class,
                            () -> store.fork(OWNER, pasts.getFirst().id, 64, Duration.ZERO));
                    for (Past past : pasts) {
                        assertEquals(
                                past.tokens.length,
                                store.summary(OWNER, past.id).tokenCount());
                    }

                    free();
                    assertTrue(isAnswered(store, pasts.get(random.nextInt(pasts.size()))));
                    areWhole(store, pasts);
                }
                fill(0);
            }
            try (var store = open(durability, memory)) {
                free();
                areWhole(store, pasts);
            }
        }
        assertTrue(refusedCount > 20, "refused " + refusedCount);
        try (var files = Files.list(directory.resolve("sessions"))) {
            assertEquals(
                    List.of(),
                    files.filter(path -> !path.toString().matches(".*([.]journal|[.]image|lock)"))
                            .toList());
        }
    }
}
