package basalt.engine.backend.fake;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import basalt.engine.EngineException;
import basalt.engine.SamplingParams;
import basalt.engine.backend.Batch;
import basalt.engine.backend.RowSampling;
import basalt.engine.backend.StepResult;
import basalt.engine.state.StateImage;
import java.time.Duration;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** The fake keeps what {@link basalt.engine.backend.Backend} promises, so that tests on it mean something. */
class FakeBackendTest {
    private static final FakeBackend.Options OPTIONS = FakeBackend.Options.DEFAULT.withSlots(4, 4);
    private static final int[] TOKENS = {9, 8, 7, 6, 5, 4, 3, 2, 1};

    private final FakeBackend backend = new FakeBackend(OPTIONS);
    private final Batch batch = new Batch(4, 512);
    private final StepResult result = new StepResult(4, 512);

    @Test
    void splitsOfPromptGiveTheSameToken() {
        configure(0, 100, new int[0]);
        configure(1, 100, new int[0]);

        int whole = step(0, 0, TOKENS.length);
        consume(1, 0, 4);
        consume(1, 4, 8);
        int split = step(1, 8, TOKENS.length);

        assertEquals(whole, split);
    }

    @Test
    void continuingRowGoesOnFromTheTokenThatTheHostHasNotSeen() {
        configure(0, 100, new int[0]);
        batch.add(0, TOKENS, 0, TOKENS.length, true);
        backend.enqueue(batch);
        batch.clear();
        batch.addContinuing(0);
        backend.enqueue(batch);
        backend.await(result);
        int first = result.tokens[0];

        backend.await(result);

        long history = FakeLanguage.consume(FakeLanguage.consume(FakeLanguage.EMPTY, TOKENS), first);
        var sampling = sampling(100, new int[0]);
        assertEquals(FakeLanguage.next(history, TOKENS.length + 1, sampling, 1, 4_096), result.tokens[0]);
        assertEquals(TOKENS.length + 1, backend.tokenCount(0));
    }

    @Test
    void rowFreezesAtItsLengthAndAtStopIds() {
        configure(0, 1, new int[0]);
        int token = step(0, 0, TOKENS.length);
        assertEquals(-1, stepContinuing(0));
        assertEquals(TOKENS.length, backend.tokenCount(0));

        configure(1, 100, new int[] {token});
        assertEquals(token, step(1, 0, TOKENS.length));
        assertEquals(-1, stepContinuing(1));
        configure(1, 100, new int[0]);
        assertTrue(stepContinuing(1) >= 0);
    }

    @Test
    void copyTakesTheStateThatTheStepBeforeItLeaves() {
        configure(0, 100, new int[0]);
        configure(1, 100, new int[0]);
        batch.add(0, TOKENS, 0, TOKENS.length, true);
        backend.enqueue(batch);

        backend.copy(0, 1);
        backend.await(result);

        assertEquals(stepContinuing(0), stepContinuing(1));
        assertEquals(backend.tokenCount(0), backend.tokenCount(1));
    }

    @Test
    void savedStateContinuesInAnotherSlot() {
        configure(0, 100, new int[0]);
        configure(2, 100, new int[0]);
        consume(0, 0, 5);
        var image = new StateImage(backend.layout());

        backend.save(0, image);
        backend.load(2, image);

        assertEquals(5, backend.tokenCount(2));
        assertEquals(step(0, 5, TOKENS.length), step(2, 5, TOKENS.length));
    }

    @Test
    void itsOwnFormOfASavedStateIsTheImagesToo() {
        for (int slot = 0; slot < 3; slot++) {
            configure(slot, 100, new int[0]);
        }
        consume(0, 0, 5);

        var saved = backend.beginSave(0).join();
        backend.load(1, saved);
        backend.load(2, saved.image());

        assertEquals(5, saved.tokenCount());
        int expected = step(0, 5, TOKENS.length);
        assertEquals(expected, step(1, 5, TOKENS.length));
        assertEquals(expected, step(2, 5, TOKENS.length));
    }

    @Test
    void rollbackIsExactWithinABlock() {
        configure(0, 100, new int[0]);
        configure(1, 100, new int[0]);
        consume(0, 0, 8);
        backend.rollback(0, 3);
        consume(1, 0, 3);

        assertEquals(step(1, 3, TOKENS.length), step(0, 3, TOKENS.length));
    }

    @Test
    void rollbackAcrossAFoldIsRefused() {
        for (int i = 0; i < 33; i++) {
            consume(0, 0, 1);
        }

        backend.rollback(0, 33);
        assertThrows(IllegalArgumentException.class, () -> backend.rollback(0, 32));
        assertThrows(IllegalArgumentException.class, () -> backend.rollback(0, 10));
    }

    @Test
    void rowsOfOneSlotTwiceAreRefused() {
        batch.add(0, TOKENS, 0, 1, false);
        batch.add(0, TOKENS, 1, 2, false);

        assertThrows(IllegalArgumentException.class, () -> backend.enqueue(batch));
    }

    @Test
    void failsWhenTold() {
        backend.failAtStep(1);
        consume(0, 0, 1);

        assertThrows(EngineException.DeviceFailure.class, () -> consume(0, 0, 1));
    }

    @Test
    void stepsTakeTheTimeTheyAreTold() {
        var slow = new FakeBackend(OPTIONS.withTimes(2_000_000, 10_000));
        batch.add(0, TOKENS, 0, 9, false);
        long start = System.nanoTime();

        slow.enqueue(batch);
        slow.enqueue(batch);
        slow.await(result);
        slow.await(result);

        assertEquals(2_090_000, result.nanos());
        assertTrue(System.nanoTime() - start >= Duration.ofNanos(4_180_000).toNanos());
    }

    @Test
    @Timeout(60)
    void hurriedStepEndsAtOnceAndLaterOnesTakeNoTime() throws InterruptedException {
        var slow = new FakeBackend(OPTIONS.withTimes(Duration.ofHours(1).toNanos(), 0));
        batch.add(0, TOKENS, 0, 9, false);
        slow.enqueue(batch);
        Thread waiting = Thread.ofVirtual().start(() -> slow.await(result));
        assertFalse(waiting.join(Duration.ofMillis(20)), "a step of an hour has ended");

        slow.hurry();

        waiting.join();
        slow.enqueue(batch);
        slow.await(result);
    }

    private void configure(int slot, int maxTokens, int[] stopTokenIds) {
        backend.configure(slot, sampling(maxTokens, stopTokenIds));
    }

    private static RowSampling sampling(int maxTokens, int[] stopTokenIds) {
        return new RowSampling(SamplingParams.DEFAULT, 1, 0, stopTokenIds, 0, maxTokens, -1, new int[0]);
    }

    private void consume(int slot, int from, int to) {
        run(slot, from, to, false);
    }

    private int step(int slot, int from, int to) {
        return run(slot, from, to, true);
    }

    private int run(int slot, int from, int to, boolean samples) {
        batch.clear();
        batch.add(slot, TOKENS, from, to, samples);
        backend.enqueue(batch);
        backend.await(result);
        return result.tokens[0];
    }

    private int stepContinuing(int slot) {
        batch.clear();
        batch.addContinuing(slot);
        backend.enqueue(batch);
        backend.await(result);
        return result.tokens[0];
    }
}
