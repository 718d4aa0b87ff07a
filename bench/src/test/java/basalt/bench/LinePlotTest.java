package basalt.bench;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.List;
import org.junit.jupiter.api.Test;

class LinePlotTest {
    @Test
    void ticksAreRoundNumbers() {
        assertEquals(100_000, LinePlot.step(400_000));
        assertEquals(10_000, LinePlot.step(31_750));
        assertEquals(5_000, LinePlot.step(16_619));
        assertEquals(50, LinePlot.step(190));
        assertEquals(1, LinePlot.step(4.6));
        assertEquals(0.2, LinePlot.step(1), 1e-12);
        assertEquals(0.5, LinePlot.step(1.1), 1e-12);
    }

    @Test
    void ticksEndAtTheHighestPoint() {
        var plot = new LinePlot("title", "tokens");
        plot.add(0, 31_750, 4.6);

        String svg = LinePlot.svg(List.of(plot));

        assertTrue(svg.contains(">30,000</text>"), svg);
        assertFalse(svg.contains(">40,000</text>"), svg);
        assertTrue(svg.contains(">5</text>"), svg);
        assertFalse(svg.contains(">6</text>"), svg);
    }
}
