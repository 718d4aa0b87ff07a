package basalt.engine.backend.cuda;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import basalt.engine.model.ElementType;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.LongStream;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** The kernels that draw and score, emulated, against the CPU backend; {@code -Dseed=N} replays one seed. */
final class SampleKernelTest {
    private static final int ROWS = 24;
    private static final int TINY = 5; // random draws come to every filter of so few ids

    @BeforeEach
    void requireEmulation() {
        assumeTrue(EmulatedDevice.library(ElementType.F32).isPresent(), "the kernels were not compiled for emulation");
    }

    @ParameterizedTest(name = "{0} ids, rows {1} apart, {2} seeds")
    @CsvSource({
        "1, 1, 1",
        "2, 8, 2",
        "3, 3, 2",
        "5, 8, 2",
        "19, 19, 3",
        "1036, 1036, 4",
        "2999, 2999, 4",
        "4097, 4104, 4"
    })
    void drawsAndScoresAreTheCpus(int vocabSize, int stride, int seedCount) {
        var failures = new ArrayList<String>();
        String seed = System.getProperty("seed");

        try (var device = new EmulatedDevice(ElementType.F32)) {
            var draws = new GpuDraws(device, vocabSize, stride, ROWS, (name, value) -> {
                if (!value.toString().startsWith("ok")) {
                    failures.add(name + ": " + value);
                }
            });
            if (seed == null) {
                if (vocabSize > TINY) {
                    draws.everyFilter();
                    draws.ties();
                    draws.poisoned();
                }
                draws.random(LongStream.range(0, seedCount).toArray(), ROWS);
            } else {
                draws.random(new long[] {Long.parseLong(seed)}, ROWS);
            }
        }

        assertEquals(List.of(), failures);
    }
}
