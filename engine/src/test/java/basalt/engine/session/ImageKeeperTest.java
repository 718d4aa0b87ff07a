package basalt.engine.session;

import static basalt.engine.session.StoreFixture.OWNER;
import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import basalt.engine.Engine;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicReference;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class ImageKeeperTest {
    private static final SessionConfig CONFIG = new SessionConfig(StoreFixture.FINGERPRINT, 10, 1 << 20, 1 << 20, 1);
    private static final SessionConfig LAZY = // which writes no images but uploaded ones
            new SessionConfig(StoreFixture.FINGERPRINT, 10, 1 << 20, 1 << 20, 1_000);
    private static final int[] PROMPT = {1, 2, 3};

    @TempDir
    private Path directory;

    private final Engine engine = StoreFixture.engine(0);

    @AfterEach
    void stop() {
        engine.close();
    }

    /** The thread that keeps images goes on, whatever an image fails by. */
    @Test
    void imagesAreKeptAfterAnyFailure() throws Exception {
        var archive = new HookedArchive(DirectoryArchive.open(directory, Durability.OFF));
        try (var store = SessionStore.open(engine, CONFIG, archive, () -> 1_000_000)) {
            String id = store.create(OWNER, Duration.ZERO);
            for (var failure : List.of(new IllegalStateException("a fault of ours"), new OutOfMemoryError("as told"))) {
                var failed = new CountDownLatch(1);
                archive.beforeImage = any -> {
                    failed.countDown();
                    throwAny(failure);
                };
                StoreFixture.answer(store, id, PROMPT, 10, 0);
                assertTrue(failed.await(60, TimeUnit.SECONDS), "no image was tried");
                var tried = new CountDownLatch(1);
                archive.beforeImage = any -> tried.countDown();
                StoreFixture.answer(store, id, PROMPT, 10, 0);

                assertTrue(tried.await(60, TimeUnit.SECONDS), "no image is kept any more");
            }
        }
    }

    /** Holds the keeper where an image is written and not yet kept, while a test does something. */
    private void whileAnImageIsWritten(Step step, Step after) throws Exception {
        var archive = new HookedArchive(DirectoryArchive.open(directory, Durability.SECOND));
        var written = new CountDownLatch(1);
        var goesOn = new CountDownLatch(1);
        var ended = new CountDownLatch(1);
        try (var store = SessionStore.open(engine, CONFIG, archive, () -> 1_000_000)) {
            String id = store.create(OWNER, Duration.ZERO);
            archive.beforeKeep = any -> {
                written.countDown();
                await(goesOn);
            };
            archive.afterKeep = any -> ended.countDown();
            archive.afterDrop = any -> ended.countDown();
            StoreFixture.answer(store, id, PROMPT, 10, 0);
            await(written);
            archive.beforeKeep = any -> {};

            step.run(store, id);
            goesOn.countDown();
            await(ended);
            after.run(store, id);
        } finally {
            goesOn.countDown();
        }
    }

    private interface Step {
        void run(SessionStore store, String id) throws InterruptedException, IOException;
    }

    private static void await(CountDownLatch latch) {
        try {
            assertTrue(latch.await(20, TimeUnit.SECONDS), "it never came");
        } catch (InterruptedException e) {
            throw new AssertionError(e);
        }
    }

    private static int[] history(int... more) {
        return StoreFixture.concat(StoreFixture.concat(PROMPT, StoreFixture.expected(PROMPT, 10, 0)), more);
    }

    private List<String> files(String glob) throws IOException {
        var names = new ArrayList<String>();
        try (var paths = Files.newDirectoryStream(directory, glob)) {
            paths.forEach(path -> names.add(path.getFileName().toString()));
        }
        return names;
    }

    /** Nobody waits for a disk but the keeper. */
    @Test
    void sessionGoesOnWhileItsImageIsWritten() throws Exception {
        whileAnImageIsWritten(
                (store, id) -> {
                    String fork = store.fork(OWNER, id, 1, Duration.ZERO).getFirst();
                    for (String each : List.of(id, fork)) {
                        assertArrayEquals(
                                StoreFixture.expected(history(7), 5, 0),
                                StoreFixture.answer(store, each, new int[] {7}, 5, 0));
                        assertEquals(19, store.summary(OWNER, each).tokenCount());
                    }
                },
                (store, id) -> assertArrayEquals(
                        StoreFixture.expected(history(StoreFixture.concat(new int[] {7}, after7())), 5, 0),
                        StoreFixture.answer(store, id, new int[0], 5, 0)));
    }

    private static int[] after7() {
        return StoreFixture.expected(history(7), 5, 0);
    }

    /** Else it would be found when the session has as many tokens again, which are others. */
    @Test
    void imageOfTokensTakenBackMeanwhileIsNotKept() throws Exception {
        whileAnImageIsWritten(
                (store, id) -> store.rewind(OWNER, id, 2),
                (store, id) -> assertEquals(List.of(), files(id + "*.image*")));
    }

    /** Both are of 13 tokens, and have one name. */
    @Test
    void imageThatASessionIsBuiltOnIsNotReplacedByAnOlderOne() throws Exception {
        int[] others = {9, 8, 7};
        var id = new AtomicReference<String>();
        whileAnImageIsWritten(
                (store, old) -> {
                    id.set(old);
                    String other = store.create(OWNER, Duration.ZERO);
                    StoreFixture.answer(store, other, others, 10, 0);
                    store.importState(OWNER, old, store.exported(OWNER, other));
                },
                (store, old) -> store.abandon());

        try (var archive = DirectoryArchive.open(directory, Durability.SECOND);
                var store = SessionStore.open(engine, CONFIG, archive, () -> 1_000_000)) {
            int[] history = StoreFixture.concat(others, StoreFixture.expected(others, 10, 0));
            assertArrayEquals(
                    StoreFixture.expected(history, 5, 0), StoreFixture.answer(store, id.get(), new int[0], 5, 0));
        }
    }

    @Test
    void imageOfASessionDeletedMeanwhileLeavesNothing() throws Exception {
        whileAnImageIsWritten(
                (store, id) -> store.delete(OWNER, id), (store, id) -> assertEquals(List.of(), files(id + "*")));
    }

    /** Wherever the process is killed, the next one goes on from the last committed token. */
    @Test
    void sessionIsWholeAtEveryStepOfItsImage() throws Exception {
        var archive = new HookedArchive(DirectoryArchive.open(directory.resolve("live"), Durability.COMMIT));
        var first = new CountDownLatch(1);
        var second = new CountDownLatch(2);
        var steps = new ArrayList<Path>();
        String id;
        try (var store = SessionStore.open(engine, CONFIG, archive, () -> 1_000_000)) {
            id = store.create(OWNER, Duration.ZERO);
            archive.beforeImage = any -> steps.add(copied("begun-" + steps.size()));
            archive.beforeKeep = any -> steps.add(copied("written-" + steps.size()));
            archive.afterKeep = any -> {
                steps.add(copied("kept-" + steps.size()));
                first.countDown();
                second.countDown();
            };
            StoreFixture.answer(store, id, PROMPT, 10, 0);
            await(first);
            StoreFixture.answer(store, id, new int[] {7}, 5, 0);
            await(second);
            store.abandon();
        }

        assertEquals(6, steps.size());
        for (int i = 0; i < steps.size(); i++) {
            try (var left = DirectoryArchive.open(steps.get(i), Durability.COMMIT);
                    var store = SessionStore.open(engine, CONFIG, left, () -> 1_000_000)) {
                int[] all = i < 3 ? history() : history(StoreFixture.concat(new int[] {7}, after7()));
                assertEquals(all.length, store.summary(OWNER, id).tokenCount());
                assertArrayEquals(
                        StoreFixture.expected(StoreFixture.concat(all, 3), 4, 0),
                        StoreFixture.answer(store, id, new int[] {3}, 4, 0),
                        steps.get(i).toString());
            }
        }
    }

    /** The image has the name of the one before, and neither must be taken for the other. */
    @Test
    void sessionIsWholeAtEveryStepOfAnotherUploadOfAsManyTokens() throws Exception {
        var archive = new HookedArchive(DirectoryArchive.open(directory.resolve("live"), Durability.OFF));
        var steps = new ArrayList<Path>();
        int[] others = {9, 8, 7};
        String id;
        try (var store = SessionStore.open(engine, LAZY, archive, () -> 1_000_000)) {
            id = store.create(OWNER, Duration.ZERO);
            for (int[] prompt : List.of(PROMPT, others)) {
                String from = store.create(OWNER, Duration.ZERO);
                StoreFixture.answer(store, from, prompt, 10, 0);
                boolean isLast = Arrays.equals(prompt, others);
                if (isLast) {
                    StoreFixture.answer(store, id, new int[] {7}, 5, 0);
                    archive.beforeCreate = () -> steps.add(copied("before-journal"));
                    archive.beforeName = any -> steps.add(copied("before-image"));
                }
                store.importState(OWNER, id, store.exported(OWNER, from));
            }
            archive.beforeCreate = () -> {};
            archive.beforeName = any -> {};
            steps.add(copied("done"));
            store.abandon();
        }

        var expected = List.of(
                history(StoreFixture.concat(new int[] {7}, after7())),
                history(),
                StoreFixture.concat(others, StoreFixture.expected(others, 10, 0)));
        for (int i = 0; i < 3; i++) {
            try (var left = DirectoryArchive.open(steps.get(i), Durability.OFF);
                    var store = SessionStore.open(engine, LAZY, left, () -> 1_000_000)) {
                assertArrayEquals(
                        StoreFixture.expected(StoreFixture.concat(expected.get(i), 3), 4, 0),
                        StoreFixture.answer(store, id, new int[] {3}, 4, 0),
                        steps.get(i).toString());
            }
        }
    }

    private Path copied(String name) {
        Path to = directory.resolve(name);
        try {
            Files.createDirectory(to);
            try (var paths = Files.newDirectoryStream(directory.resolve("live"))) {
                for (Path path : paths) {
                    Files.copy(path, to.resolve(path.getFileName()));
                }
            }
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
        return to;
    }

    private static void throwAny(Throwable failure) {
        switch (failure) {
            case Error e -> throw e;
            case RuntimeException e -> throw e;
            default -> throw new AssertionError(failure);
        }
    }
}
