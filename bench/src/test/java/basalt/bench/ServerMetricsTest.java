package basalt.bench;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import org.junit.jupiter.api.Test;

/** Reading Prometheus' text format. */
class ServerMetricsTest {
    private static final String TEXT = """
            # HELP basalt_steps_total Steps.
            # TYPE basalt_steps_total counter
            basalt_steps_total{device="0"} 3.0
            basalt_steps_total{device="1"} 4.0
            basalt_steps_total_other 100
            basalt_slots_busy 1.25E1
            """;

    @Test
    void valuesAreSummedOverLabels() {
        assertEquals(7, ServerMetrics.value(TEXT, "basalt_steps_total").orElseThrow());
        assertEquals(12.5, ServerMetrics.value(TEXT, "basalt_slots_busy").orElseThrow());
    }

    @Test
    void missingMetricIsEmpty() {
        assertTrue(ServerMetrics.value(TEXT, "basalt_steps").isEmpty());
    }
}
