package basalt.server.http;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import basalt.server.api.Problem;
import basalt.server.api.ProblemCode;
import basalt.server.api.ProblemException;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;

class KeyLimitsTest {
    private long nowNanos;

    private KeyLimits limits(int openMax, int ratePerMinute) {
        var access = new HttpConfig.Access(List.of("a", "b"), openMax, ratePerMinute, List.of(), Optional.empty());
        return new KeyLimits(2, access, () -> nowNanos);
    }

    private static Problem refusal(KeyLimits limits, int key) {
        return assertThrows(ProblemException.class, () -> limits.enter(key)).problem();
    }

    @Test
    void openRequestsAreLimitedForEachKeyAlone() {
        KeyLimits limits = limits(2, 0);
        limits.enter(0);
        limits.enter(0);

        assertEquals(ProblemCode.KEY_CONCURRENCY_EXCEEDED, refusal(limits, 0).code());
        limits.enter(1);
        limits.leave(0);
        limits.enter(0);
    }

    @Test
    void rateIsAMinutesWorthAtOnceAndThenEven() {
        KeyLimits limits = limits(0, 30);
        for (int i = 0; i < 30; i++) {
            limits.enter(0);
        }

        Problem refusal = refusal(limits, 0);
        assertEquals(ProblemCode.KEY_RATE_EXCEEDED, refusal.code());
        assertEquals(2, refusal.retryAfterSeconds().orElseThrow());
        assertTrue(refusal.message().contains("30 requests a minute"), refusal.message());
        nowNanos += TimeUnit.MILLISECONDS.toNanos(1_999);
        refusal(limits, 0);
        nowNanos += TimeUnit.MILLISECONDS.toNanos(2);
        limits.enter(0);
        refusal(limits, 0);
        limits.enter(1);
    }

    @Test
    void refusedRequestTakesNothing() {
        KeyLimits limits = limits(1, 2);
        limits.enter(0);
        refusal(limits, 0);
        limits.leave(0);
        limits.enter(0);
        limits.leave(0);

        assertEquals(ProblemCode.KEY_RATE_EXCEEDED, refusal(limits, 0).code());
    }

    @Test
    void zeroIsNoLimit() {
        KeyLimits limits = limits(0, 0);
        for (int i = 0; i < 10_000; i++) {
            limits.enter(0);
        }
    }
}
