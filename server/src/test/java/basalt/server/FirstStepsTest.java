package basalt.server;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import basalt.engine.backend.fake.FakeBackend;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

final class FirstStepsTest {
    private static final int STEPS = 40;

    /** The backend refuses steps that are empty or too large. */
    @ParameterizedTest
    @CsvSource({"1, 1", "1, 3", "2, 3", "4, 8", "32, 512"})
    void stepsFitTheBackend(int rowCountMax, int tokenCountMax) {
        var options = new FakeBackend.Options(100, rowCountMax, rowCountMax, tokenCountMax, 1, 0, 0);
        var asked = new AtomicInteger();
        try (var backend = new FakeBackend(options)) {
            FirstSteps.run(backend, 100, () -> asked.incrementAndGet() > STEPS);
        }
        assertTrue(asked.get() > STEPS);
    }

    @Test
    void nothingIsRunWhenItIsOver() {
        try (var backend = new FakeBackend(FakeBackend.Options.DEFAULT)) {
            FirstSteps.run(backend, 100, () -> true);

            assertEquals(0, backend.tokenCount(0));
        }
    }
}
