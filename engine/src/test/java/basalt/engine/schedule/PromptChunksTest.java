package basalt.engine.schedule;

import static org.junit.jupiter.api.Assertions.assertEquals;

import basalt.engine.backend.fake.FakeBackend;
import basalt.engine.state.StatePool;
import java.util.Objects;
import java.util.Optional;
import org.junit.jupiter.api.Test;

/** A step of many rows takes 4 ms, any prompt beside it 1 ms more and 4 us a token: 250 tokens are worth that. */
class PromptChunksTest {
    private static final int ROWS = 140;
    private static final int TOKENS = 4_096;
    private static final long MILLI = 1_000_000;

    private final StatePool pool = new StatePool(new FakeBackend(SteppedEngine.OPTIONS.withSlots(ROWS, ROWS)));
    private final StepPacer pacer = new StepPacer(ROWS, TOKENS, 0);
    private final Rotation<SequenceGroup> prompts = new Rotation<>(ROWS);
    private final PromptChunks chunks = new PromptChunks(prompts, pacer, ROWS, TOKENS, (sequence, now) -> true);

    PromptChunksTest() {
        for (int rows = 1; rows <= ROWS; rows++) {
            pacer.measured(rows, 0, 4 * MILLI);
        }
        for (int i = 0; i < 100; i++) {
            int tokens = i % 2 == 0 ? 50 : 450;
            pacer.measured(100, tokens, 5 * MILLI + tokens * 4_000L);
        }
    }

    private SequenceGroup group(int promptCount, long arrivedNanos) {
        var work = SequenceGroup.Work.of(Requests.endless(1, promptCount, 10));
        var group = new SequenceGroup(work, 10, new int[0], Optional.empty(), arrivedNanos);
        group.admitted(arrivedNanos);
        group.first().hold(pool.acquire());
        return group;
    }

    /** Prompt tokens of a step beside so many rows. */
    private int tokens(int rowCount, long nowNanos) {
        var step = new Step(ROWS, TOKENS);
        for (int row = 0; row < rowCount; row++) {
            var running = group(1, 0);
            step.addDecode(running.first());
            pool.release(Objects.requireNonNull(running.first().slot()));
        }
        chunks.plan(step, nowNanos);
        return step.prefillTokenCount();
    }

    @Test
    void shortPromptWaitsForOthersBesideManyStreams() {
        prompts.add(group(50, 0));
        assertEquals(0, tokens(100, 2 * MILLI));
        prompts.add(group(150, 3 * MILLI));
        assertEquals(0, tokens(100, 4 * MILLI));

        prompts.add(group(100, 5 * MILLI));

        assertEquals(300, tokens(100, 6 * MILLI));
    }

    @Test
    void waitsForFourStepsAtMost() {
        prompts.add(group(50, 0));

        assertEquals(0, tokens(130, 15 * MILLI));
        assertEquals(50, tokens(130, 16 * MILLI));
    }

    /** Ten streams lose 10 ms together: a quarter of that is what the prompt may lose. */
    @Test
    void waitsLessBesideFewStreamsAndNotAtAllWithout() {
        prompts.add(group(50, 0));

        assertEquals(0, tokens(10, 2 * MILLI));
        assertEquals(50, tokens(10, 3 * MILLI));
        prompts.removeIf(SequenceGroup::isPrefilled);
        prompts.add(group(50, 3 * MILLI));
        assertEquals(50, tokens(0, 3 * MILLI));
    }

    @Test
    void promptThatHasBegunGoesOn() {
        var half = group(100, 0);
        half.prefilled(60);
        prompts.add(half);
        prompts.add(group(50, 0));

        assertEquals(90, tokens(100, MILLI));
    }

    @Test
    void longPromptTakesShortOnesAlong() {
        prompts.add(group(50, 0));
        prompts.add(group(2_000, 0));

        assertEquals(1_150, tokens(100, MILLI), 60); // what fits beside a step of 4 ms
    }
}
