package basalt.engine.schedule;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import org.junit.jupiter.api.Test;

class StepPacerTest {
    private static final double TARGET_NANOS = 50e6;

    @Test
    void takesAllItCanWhenNothingDecodes() {
        var pacer = new StepPacer(32, 512, TARGET_NANOS);
        pacer.measured(0, 512, 10_000_000_000L);

        assertEquals(512, pacer.chunkTokens(0));
    }

    @Test
    void shrinksTheChunkToTheTarget() {
        var pacer = new StepPacer(32, 512, TARGET_NANOS);
        pacer.measured(4, 0, 10_000_000); // 10 ms for four rows
        pacer.measured(0, 100, 40_000_000); // 0.4 ms a token

        assertEquals(100, pacer.chunkTokens(4));
    }

    @Test
    void followsAChangeOfSpeed() {
        var pacer = new StepPacer(32, 4_096, TARGET_NANOS);
        pacer.measured(1, 0, 1_000_000);

        int tokens = pacer.chunkTokens(1);
        for (int step = 0; step < 60; step++) {
            tokens = pacer.chunkTokens(1);
            pacer.measured(1, tokens, 1_000_000 + tokens * (step < 30 ? 100_000L : 1_000_000L));
        }

        assertEquals(49, tokens, 2);
    }

    @Test
    void neverStopsPrefillHoweverSlowTheDevice() {
        var pacer = new StepPacer(32, 512, TARGET_NANOS);
        pacer.measured(8, 0, 200_000_000);
        pacer.measured(8, 100, 90_000_000_000L);

        assertEquals(StepPacer.CHUNK_TOKENS_MIN, pacer.chunkTokens(8));
        assertEquals(StepPacer.CHUNK_TOKENS_MIN, pacer.chunkTokens(9));
    }

    @Test
    void promptsGoOnBesideDecodingThatIsSlowerThanTheTarget() {
        var pacer = new StepPacer(32, 512, TARGET_NANOS);
        pacer.measured(8, 0, 200_000_000); // 200 ms for eight rows
        pacer.measured(0, 100, 50_000_000); // 0.5 ms a token

        assertEquals(100, pacer.chunkTokens(8));
    }

    @Test
    void leftAloneItTakesThreeMillisOrMoreThanTheDecoding() {
        var pacer = new StepPacer(32, 4_096, 0);
        pacer.measured(1, 0, 1_000_000); // 1 ms for one row
        pacer.measured(32, 0, 10_000_000); // 10 ms for 32 rows
        pacer.measured(0, 100, 1_000_000); // 10 us a token

        assertEquals(300, pacer.chunkTokens(1));
        assertEquals(1_400, pacer.chunkTokens(32)); // 1.4 times
    }

    @Test
    void learnsWhatAnyPromptCosts() {
        var pacer = new StepPacer(32, 4_096, 0);
        pacer.measured(32, 0, 4_000_000);
        for (int step = 0; step < 40; step++) {
            int tokens = step % 2 == 0 ? 50 : 400;
            pacer.measured(32, tokens, 4_000_000 + 1_000_000 + tokens * 5_000L); // 1 ms and 5 us a token
        }

        assertEquals(920, pacer.chunkTokens(32), 5); // 5.6 ms are 1 and 920 times 5 us
    }

    @Test
    void targetHoldsWhereDecodingLeavesRoomBelowIt() {
        var pacer = new StepPacer(32, 512, TARGET_NANOS);
        pacer.measured(8, 0, 40_000_000); // 40 ms of 50
        pacer.measured(0, 100, 10_000_000); // 0.1 ms a token

        assertEquals(100, pacer.chunkTokens(8));
    }

    /** A burst of long prompts on a server just started: the price of rows follows from that of prompts. */
    @Test
    void learnsWhatRowsCostWhilePromptsAlwaysWait() {
        var pacer = new StepPacer(32, 160, 0);
        pacer.measured(0, 160, 16_000_000); // 0.1 ms a token
        for (int rows = 1; rows <= 32; rows++) {
            int tokens = pacer.chunkTokens(rows);
            pacer.measured(rows, tokens, 4_000_000 + rows * 250_000L + tokens * 100_000L);
        }

        assertEquals(160, pacer.chunkTokens(32), 20); // one and a half times 12 ms is more
        assertEquals(75, pacer.chunkTokens(4), 15); // of 5 ms
    }

    /** As many requests begin at once: no step without prompts is seen before all of them are read. */
    @Test
    void burstIsReadInLargeChunksThoughNoSuchStepWasSeen() {
        var pacer = new StepPacer(512, 2_048, 0);
        pacer.measured(0, 2_048, 10_000_000);
        pacer.measured(1, 0, 1_000_000);
        for (int rows = 40; rows <= 512; rows += 8) {
            int tokens = pacer.chunkTokens(rows);
            assertTrue(tokens >= 300, rows + " rows, " + tokens + " tokens");
            pacer.measured(rows, tokens, 1_000_000 + rows * 7_500L + 1_000_000 + tokens * 4_000L);
        }
        pacer.measured(512, 0, 4_840_000);

        assertEquals(1_240, pacer.chunkTokens(512), 600);
        assertTrue(pacer.chunkTokens(256) < pacer.chunkTokens(512));
        assertTrue(pacer.chunkTokens(256) > 300);
    }

    @Test
    void startsCarefullyBesideRunningStreams() {
        var pacer = new StepPacer(32, 512, TARGET_NANOS);

        assertTrue(pacer.chunkTokens(1) <= StepPacer.CHUNK_TOKENS_UNKNOWN);
        assertEquals(4, new StepPacer(32, 4, TARGET_NANOS).chunkTokens(1));
    }
}
