package basalt.engine.session;

import static basalt.engine.session.StoreFixture.OWNER;
import static org.junit.jupiter.api.Assertions.assertTrue;

import basalt.engine.Engine;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class ImageKeeperTest {
    private static final SessionConfig CONFIG = new SessionConfig(StoreFixture.FINGERPRINT, 10, 1 << 20, 1 << 20, 1);
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

    private static void throwAny(Throwable failure) {
        switch (failure) {
            case Error e -> throw e;
            case RuntimeException e -> throw e;
            default -> throw new AssertionError(failure);
        }
    }
}
