package basalt.engine.backend.cuda;

import basalt.engine.EngineException.InsufficientMemory;
import java.util.LinkedHashMap;
import java.util.function.IntConsumer;
import java.util.function.IntSupplier;

/** Graphs by the shape of what they do, and how often shapes without one were asked for. Confined to one thread. */
final class GraphCache<S> {
    /** No graph. */
    static final int NONE = -1;

    /** A shape is recorded when it comes this many times: a recording takes as long as some replays gain. */
    static final int OCCURRENCES = 4;

    private static final System.Logger LOG = System.getLogger(GraphCache.class.getName());

    private final int shapesMax;
    private final IntConsumer release;
    private final LinkedHashMap<S, Entry> entries = new LinkedHashMap<>(16, 0.75f, true);
    private boolean hasRoom = true;

    private static final class Entry {
        private int graph = NONE;
        private int count;
    }

    /**
     * Knows no shape.
     *
     * @param shapesMax shapes that are kept; the one asked for longest ago goes first
     * @param release what lets a graph go
     */
    GraphCache(int shapesMax, IntConsumer release) {
        this.shapesMax = shapesMax;
        this.release = release;
    }

    /** The graph of a shape, which it may record, or {@link #NONE}. */
    int get(S shape, IntSupplier recorder) {
        var entry = entries.get(shape);
        if (entry == null) {
            entry = new Entry();
            entries.put(shape, entry);
            if (entries.size() > shapesMax) {
                release(entries.pollFirstEntry().getValue());
            }
        }
        entry.count++;
        if (entry.graph == NONE && entry.count >= OCCURRENCES && hasRoom) {
            try {
                entry.graph = recorder.getAsInt();
            } catch (InsufficientMemory e) {
                hasRoom = false;
                LOG.log(System.Logger.Level.WARNING, "event=graphs_limited reason=\"{0}\"", e.getMessage());
            }
        }
        return entry.graph;
    }

    private void release(Entry entry) {
        if (entry.graph != NONE) {
            release.accept(entry.graph);
            hasRoom = true;
        }
    }

    /** Releases all graphs and forgets all shapes. */
    void clear() {
        entries.values().forEach(this::release);
        entries.clear();
    }
}
