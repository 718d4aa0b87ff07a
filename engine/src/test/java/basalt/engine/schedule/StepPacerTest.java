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
        pacer.measured(8, 100, 900_000_000);

        assertEquals(StepPacer.CHUNK_TOKENS_MIN, pacer.chunkTokens(8));
        assertEquals(StepPacer.CHUNK_TOKENS_MIN, pacer.chunkTokens(20));
    }

    @Test
    void promptsGoOnBesideDecodingThatIsSlowerThanTheTarget() {
        var pacer = new StepPacer(32, 512, TARGET_NANOS);
        pacer.measured(8, 0, 200_000_000); // 200 ms for eight rows
        pacer.measured(0, 100, 50_000_000); // 0.5 ms a token

        assertEquals(100, pacer.chunkTokens(8));
    }

    @Test
    void startsCarefullyBesideRunningStreams() {
        var pacer = new StepPacer(32, 512, TARGET_NANOS);

        assertTrue(pacer.chunkTokens(1) <= StepPacer.CHUNK_TOKENS_UNKNOWN);
        assertEquals(4, new StepPacer(32, 4, TARGET_NANOS).chunkTokens(1));
    }
}
