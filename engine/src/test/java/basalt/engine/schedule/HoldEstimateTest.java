package basalt.engine.schedule;

import static org.junit.jupiter.api.Assertions.assertEquals;

import org.junit.jupiter.api.Test;

class HoldEstimateTest {
    private static final long MILLI = 1_000_000;

    private final HoldEstimate estimate = new HoldEstimate(4);
    private long nowNanos = 1;

    @Test
    void startsFromTheAllowedLengthAtTheMeasuredSpeed() {
        admit(100);

        run(10); // of 20 ms and a token for each slot

        assertEquals(2_200, (double) estimate.nanos() / MILLI, 10);
    }

    @Test
    void learnsThatAnswersEndEarly() {
        admit(1_000);

        for (int i = 0; i < 40; i++) {
            run(10);
            release(10, 1_000);
        }

        assertEquals(200, (double) estimate.nanos() / MILLI, 30);
    }

    @Test
    void followsAChangeOfSpeed() {
        admit(10);
        for (int i = 0; i < 60; i++) {
            run(10);
            release(10, 10);
        }

        for (int i = 0; i < 60; i++) {
            run(100);
            release(10, 10);
        }

        assertEquals(2_000, (double) estimate.nanos() / MILLI, 400);
    }

    @Test
    void timeWithoutBusySlotsCountsForNothing() {
        admit(10);
        run(10);
        long before = estimate.nanos();

        nowNanos += 1_000_000 * MILLI;
        estimate.passed(nowNanos, 0, 0);

        assertEquals(before, estimate.nanos());
    }

    private void admit(int maxTokens) {
        estimate.passed(nowNanos, 0, 0);
        for (int i = 0; i < 4; i++) {
            estimate.admitted(maxTokens);
        }
    }

    private void run(int steps) {
        for (int i = 0; i < steps; i++) {
            nowNanos += 20 * MILLI;
            estimate.passed(nowNanos, 4, 4);
        }
    }

    private void release(int tokens, int maxTokens) {
        for (int i = 0; i < 4; i++) {
            estimate.released(tokens, maxTokens);
            estimate.admitted(maxTokens);
        }
    }
}
