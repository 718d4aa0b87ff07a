package basalt.engine.backend.cpu;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.Arrays;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;

class StepSharesTest {
    private static final int ROWS_MAX = 64;
    private static final int TOKENS_MAX = 1_000;

    private final StepShares shares = new StepShares(2, ROWS_MAX, TOKENS_MAX);
    private final CpuSlot[] slots = new CpuSlot[ROWS_MAX];
    private int[] tokens = new int[0];

    private Step step(int... tokenCounts) {
        var step = new Step(ROWS_MAX, TOKENS_MAX);
        for (int row = 0; row < tokenCounts.length; row++) {
            slots[row] = new CpuSlot(TestConfigs.plain());
            slots[row].tokenCount(100L * row);
            step.add(slots[row], tokenCounts[row]);
        }
        tokens = IntStream.range(0, step.tokenCount()).map(i -> 7 * i + 1).toArray();
        return step;
    }

    private static int[] ones(int count) {
        var counts = new int[count];
        Arrays.fill(counts, 1);
        return counts;
    }

    @Test
    void everyTokenIsInOneShareWithItsSlotAndPosition() {
        var step = step(1, 20, 1, 0, 1, 19, 1, 1);

        assertTrue(shares.divide(step, tokens));

        assertEquals(
                step.tokenCount(),
                shares.share(0).tokenCount() + shares.share(1).tokenCount());
        for (int row = 0; row < step.rowCount(); row++) {
            for (int token = step.start(row); token < step.end(row); token++) {
                int index = shares.indexOf(token);
                var share = shares.share(shares.shareOf(token));
                assertEquals(tokens[token], shares.tokens(shares.shareOf(token))[index]);
                assertEquals(step.position(token), share.position(index));
                assertEquals(slots[row], share.slot(rowOf(share, index)));
            }
        }
    }

    private static int rowOf(Step step, int token) {
        return IntStream.range(0, step.rowCount())
                .filter(row -> step.start(row) <= token && token < step.end(row))
                .findFirst()
                .orElseThrow();
    }

    @Test
    void sharesAreEven() {
        var step =
                step(IntStream.concat(Arrays.stream(ones(30)), IntStream.of(31)).toArray());

        assertTrue(shares.divide(step, tokens));

        assertArrayEquals(
                new int[] {31, 30},
                new int[] {shares.share(0).tokenCount(), shares.share(1).tokenCount()});
    }

    @Test
    void aPromptTooLongForAShareOfTheStepIsNotDivided() {
        assertFalse(shares.divide(step(1, 1, 1, 1, 100), tokens));
        assertFalse(shares.divide(step(StepShares.TOKENS_MAX + 1, StepShares.TOKENS_MAX + 1), tokens));
        assertTrue(shares.divide(step(StepShares.TOKENS_MAX, StepShares.TOKENS_MAX), tokens));
    }

    @Test
    void fewRowsAreNotDivided() {
        assertFalse(shares.divide(step(ones(7)), tokens));
        assertTrue(shares.divide(step(ones(8)), tokens));
    }
}
