package basalt.bench;

import static org.junit.jupiter.api.Assertions.assertEquals;

import org.junit.jupiter.api.Test;

/** Quantiles against their definition. */
class SamplesTest {
    @Test
    void quantilesAreValuesOfTheSamples() {
        var samples = new Samples();
        for (int i = 100; i > 0; i--) {
            samples.add(i * 1_000_000L);
        }

        assertEquals(50, samples.millisAt(0.5));
        assertEquals(99, samples.millisAt(0.99));
        assertEquals(100, samples.millisAt(1));
    }

    @Test
    void addAllKeepsEverything() {
        var samples = new Samples();
        var other = new Samples();
        for (int i = 1; i <= 1_000; i++) {
            (i % 3 == 0 ? samples : other).add(i);
        }

        samples.addAll(other);

        assertEquals(1_000, samples.count());
        assertEquals(0.001, samples.millisAt(1));
    }

    @Test
    void noSamplesGiveZero() {
        assertEquals(0, new Samples().millisAt(0.5));
    }
}
