package basalt.engine.backend.cuda;

import static org.junit.jupiter.api.Assertions.assertEquals;

import basalt.engine.EngineException.InsufficientMemory;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Test;

final class GraphCacheTest {
    private final List<Integer> released = new ArrayList<>();
    private final GraphCache<String> cache = new GraphCache<>(2, released::add);
    private int recorded;

    private int get(String shape) {
        return cache.get(shape, () -> recorded++);
    }

    private void record(String shape) {
        for (int i = 0; i < GraphCache.OCCURRENCES; i++) {
            get(shape);
        }
    }

    @Test
    void shapesAreRecordedOnceWhenTheyCameOftenEnough() {
        for (int i = 1; i < GraphCache.OCCURRENCES; i++) {
            assertEquals(GraphCache.NONE, get("a"));
        }
        assertEquals(0, get("a"));
        assertEquals(0, get("a"));
        assertEquals(1, recorded);
    }

    @Test
    void theShapeAskedForLongestAgoGoesFirst() {
        record("a");
        record("b");
        get("a");

        get("c");

        assertEquals(List.of(1), released);
        assertEquals(0, get("a"));
        assertEquals(GraphCache.NONE, get("b"));
        assertEquals(2, recorded);
    }

    @Test
    void withoutMemoryNothingIsRecordedUntilAGraphWasReleased() {
        record("a");
        for (int i = 1; i < GraphCache.OCCURRENCES; i++) {
            get("b");
        }

        assertEquals(GraphCache.NONE, cache.get("b", () -> {
            throw new InsufficientMemory("none left");
        }));

        assertEquals(GraphCache.NONE, get("b"));
        assertEquals(0, get("a"));
        get("c");
        get("d"); // lets a go
        assertEquals(List.of(0), released);
        record("d");
        assertEquals(1, get("d"));
    }

    @Test
    void aCacheThatIsClearedRecordsAnew() {
        record("a");

        cache.clear();

        assertEquals(List.of(0), released);
        assertEquals(GraphCache.NONE, get("a"));
    }
}
