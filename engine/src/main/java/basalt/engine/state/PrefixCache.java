package basalt.engine.state;

import basalt.engine.Checks;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.TreeMap;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.LongAdder;
import java.util.concurrent.locks.ReentrantLock;
import java.util.function.LongSupplier;

/**
 * States that have read the beginnings of prompts, so that another prompt that begins so need not read them
 * again. Bounded by bytes. Safe for use by any number of threads.
 *
 * <p>Entries belong to a scope, and no other scope sees them: neither what is found nor how long it takes tells one
 * tenant of another's prompts. A prefix is found by a hash of its tokens and then compared token by token.
 *
 * <p>Where there is no room, the least recently used entry goes of the tenant that holds most. So nobody can take from
 * others what they use, beyond an equal share; an entry that was not used for {@value #REST_MINUTES} minutes goes
 * before all that were.
 */
public final class PrefixCache {
    private static final int REST_MINUTES = 10;
    private static final long REST_NANOS = TimeUnit.MINUTES.toNanos(REST_MINUTES);

    /** Tokens between two states of a prompt at least, where nothing else is asked for. */
    public static final int INTERVAL = 256;

    private final long bytesMax;
    private final int interval;
    private final LongSupplier nanoTime;
    private final ReentrantLock lock = new ReentrantLock();
    /** By use, the oldest first. */
    private final LinkedHashMap<Key, Entry> entries = new LinkedHashMap<>(16, 0.75f, true);
    /** Of each scope: how many entries there are of each length. */
    private final Map<Scope, TreeMap<Integer, Integer>> lengths = new HashMap<>();
    /** Of each tenant that has entries. */
    private final Map<String, Long> tenantBytes = new HashMap<>();

    private long bytes;
    private volatile long stateBytes; // of the last state that was put; 0 before
    private final LongAdder hits = new LongAdder();
    private final LongAdder misses = new LongAdder();
    private final LongAdder queriedTokens = new LongAdder();
    private final LongAdder cachedTokens = new LongAdder();

    /**
     * Readings, for metrics. What is counted is counted since the start.
     *
     * @param hits prompts of which a beginning was known
     * @param misses the others
     * @param queriedTokens of all those prompts
     * @param cachedTokens that need not be read again
     * @param entries kept now
     * @param bytes of those
     */
    public record Stats(long hits, long misses, long queriedTokens, long cachedTokens, long entries, long bytes) {}

    /**
     * Whose prompts see each other.
     *
     * @param tenant who shares the room with other tenants
     * @param salt tells apart what the tenant wants apart
     */
    public record Scope(String tenant, String salt) {}

    private record Key(Scope scope, int length, long hash) {}

    private static final class Entry {
        final int[] tokens;
        final SavedState state;
        final long bytes;
        long usedNanos;
        boolean isLent; // somebody may hold the state besides

        Entry(int[] tokens, SavedState state, long bytes, long usedNanos) {
            this.tokens = tokens;
            this.state = state;
            this.bytes = bytes;
            this.usedNanos = usedNanos;
        }
    }

    /** An empty cache of states that take so many bytes at most. */
    public PrefixCache(long bytesMax) {
        this(bytesMax, INTERVAL);
    }

    /**
     * An empty cache.
     *
     * @param bytesMax that its states take at most
     * @param interval tokens between two states of a prompt at least, but where it is asked for one
     */
    public PrefixCache(long bytesMax, int interval) {
        this(bytesMax, interval, System::nanoTime);
    }

    /** The same with a clock. */
    PrefixCache(long bytesMax, int interval, LongSupplier nanoTime) {
        Checks.argument(bytesMax >= 0, "bytesMax", bytesMax);
        Checks.argument(interval > 0, "interval", interval);
        this.bytesMax = bytesMax;
        this.interval = interval;
        this.nanoTime = nanoTime;
    }

    /** What a state takes that has read so many tokens. */
    public static long bytes(StateLayout layout, int tokenCount) {
        return (long) Integer.BYTES * tokenCount
                + layout.tensors().stream()
                        .mapToLong(tensor -> (long) Float.BYTES * tensor.elementCount())
                        .sum();
    }

    /** Tokens between two states of a prompt at least. */
    public int interval() {
        return interval;
    }

    /** Whether it can hold anything. */
    public boolean isEnabled() {
        return bytesMax > 0;
    }

    /** States that it has room for, by the size of the last one; as many as there are numbers before the first. */
    public int roomCount() {
        long size = stateBytes;
        return size == 0 ? Integer.MAX_VALUE : (int) Math.min(Integer.MAX_VALUE, bytesMax / size);
    }

    /**
     * The state that has read the longest known beginning of a prompt.
     *
     * @param countMax tokens that it may have read at most
     */
    public Optional<SavedState> longest(Scope scope, int[] prompt, int countMax) {
        var found = find(scope, prompt, countMax);
        (found.isPresent() ? hits : misses).increment();
        queriedTokens.add(prompt.length);
        found.ifPresent(state -> cachedTokens.add(state.tokenCount()));
        return found;
    }

    private Optional<SavedState> find(Scope scope, int[] prompt, int countMax) {
        lock.lock();
        try {
            var known = lengths.get(scope);
            if (known == null) {
                return Optional.empty();
            }
            // One that has read a little too much may go back, as where a prompt is sent again.
            int most = Math.min(prompt.length, countMax + StateLayout.ROLLBACK_TOKENS);
            var candidates = new ArrayList<Integer>(known.headMap(most, true).keySet());
            long[] hashes = hashes(prompt, candidates);
            for (int i = candidates.size() - 1; i >= 0; i--) {
                int length = candidates.get(i);
                var entry = entries.get(new Key(scope, length, hashes[i]));
                if (entry != null && Arrays.equals(entry.tokens, 0, length, prompt, 0, length)) {
                    entry.usedNanos = nanoTime.getAsLong();
                    var state = length <= countMax ? Optional.of(entry.state) : entry.state.before(countMax);
                    if (state.isPresent()) {
                        entry.isLent = true;
                        return state;
                    }
                }
            }
            return Optional.empty();
        } finally {
            lock.unlock();
        }
    }

    /** Tokens that a prompt has in common with another of the scope, at most: others may part there, too. */
    public int sharedCount(Scope scope, int[] prompt) {
        lock.lock();
        try {
            int most = 0;
            for (var entry : entries.entrySet()) {
                if (entry.getKey().scope().equals(scope)) {
                    int[] tokens = entry.getValue().tokens;
                    int limit = Math.min(tokens.length, prompt.length);
                    int at = Arrays.mismatch(tokens, 0, limit, prompt, 0, limit);
                    most = Math.max(most, at < 0 ? limit : at);
                }
            }
            return most;
        } finally {
            lock.unlock();
        }
    }

    /** Hashes of the beginnings of these lengths, which ascend. */
    private static long[] hashes(int[] prompt, List<Integer> lengths) {
        var hashes = new long[lengths.size()];
        long hash = 0;
        int at = 0;
        for (int i = 0; i < hashes.length; i++) {
            for (; at < lengths.get(i); at++) {
                hash = step(hash, prompt[at]);
            }
            hashes[i] = hash;
        }
        return hashes;
    }

    private static long step(long hash, int token) {
        return (hash ^ token) * 0x9E3779B97F4A7C15L + Long.rotateLeft(hash, 23);
    }

    /**
     * Adds a state.
     *
     * @param state that has read the first tokens of the prompt; nobody else holds it
     */
    public void put(Scope scope, int[] prompt, SavedState state) {
        int length = Math.toIntExact(state.tokenCount());
        int[] tokens = Arrays.copyOf(prompt, length);
        long size = (long) Integer.BYTES * length + state.bytes();
        stateBytes = state.bytes();
        if (size > bytesMax) {
            state.release();
            return;
        }
        lock.lock();
        try {
            var key = new Key(scope, length, hashes(tokens, List.of(length))[0]);
            var same = entries.get(key);
            if (same != null && same.state.equals(state)) {
                return;
            }
            remove(key);
            entries.put(key, new Entry(tokens, state, size, nanoTime.getAsLong()));
            lengths.computeIfAbsent(scope, absent -> new TreeMap<>()).merge(length, 1, Integer::sum);
            tenantBytes.merge(scope.tenant(), size, Long::sum);
            bytes += size;
            evict();
        } finally {
            lock.unlock();
        }
    }

    private void evict() {
        while (bytes > bytesMax) {
            remove(nextToGo());
        }
    }

    private Key nextToGo() {
        var eldest = entries.firstEntry();
        if (nanoTime.getAsLong() - eldest.getValue().usedNanos > REST_NANOS) {
            return eldest.getKey();
        }
        String most = Collections.max(tenantBytes.entrySet(), Map.Entry.comparingByValue())
                .getKey();
        return entries.keySet().stream()
                .filter(key -> key.scope().tenant().equals(most))
                .findFirst()
                .orElseThrow();
    }

    private void remove(Key key) {
        var entry = entries.remove(key);
        if (entry != null) {
            if (!entry.isLent) {
                entry.state.release();
            }
            forget(key, entry);
        }
    }

    private void forget(Key key, Entry entry) {
        bytes -= entry.bytes;
        String tenant = key.scope().tenant();
        if (tenantBytes.merge(tenant, -entry.bytes, Long::sum) == 0) {
            tenantBytes.remove(tenant);
        }
        var known = lengths.get(key.scope());
        if (known != null) {
            int left = known.merge(key.length(), -1, Integer::sum);
            if (left == 0) {
                known.remove(key.length());
            }
            if (known.isEmpty()) {
                lengths.remove(key.scope());
            }
        }
    }

    /** Readings. */
    public Stats stats() {
        lock.lock();
        try {
            return new Stats(hits.sum(), misses.sum(), queriedTokens.sum(), cachedTokens.sum(), entries.size(), bytes);
        } finally {
            lock.unlock();
        }
    }
}
