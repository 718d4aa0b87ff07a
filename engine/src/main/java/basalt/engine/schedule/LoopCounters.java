package basalt.engine.schedule;

import java.util.concurrent.atomic.AtomicLong;

/** What one engine thread counts. Only that thread writes; any thread reads. */
final class LoopCounters {
    /** Requests that have left the queue: for slots, or cancelled in it. */
    final AtomicLong dequeuedRequests = new AtomicLong();
    /** Prompt tokens of those. */
    final AtomicLong dequeuedTokens = new AtomicLong();
    /** Those of them that had found no free slot on arrival. */
    final AtomicLong unqueuedRequests = new AtomicLong();
    /** Prompt tokens of those. */
    final AtomicLong unqueuedTokens = new AtomicLong();
    /** Requests whose every choice has ended. */
    final AtomicLong finishedRequests = new AtomicLong();
    /** Slots given back, or no longer asked for. */
    final AtomicLong releasedSlots = new AtomicLong();
    /** Slots held. */
    final AtomicLong busySlots = new AtomicLong();
    /** Slots that hold a session at rest. */
    final AtomicLong residentSlots = new AtomicLong();
    /** Turns that began in such a slot. */
    final AtomicLong residentHits = new AtomicLong();
    /** Tokens prefilled. */
    final AtomicLong promptTokens = new AtomicLong();
    /** Tokens sampled. */
    final AtomicLong sampledTokens = new AtomicLong();
    /** Steps done. */
    final AtomicLong steps = new AtomicLong();
    /** Rows of those. */
    final AtomicLong rows = new AtomicLong();
    /** How long a slot is held on average; see {@link HoldEstimate}. */
    final AtomicLong holdNanosMean = new AtomicLong(1);
    /** Moment of the last step or idle turn. */
    final AtomicLong lastTurnNanos = new AtomicLong();

    /** Adds where only one thread writes: no locked instruction. */
    static void add(AtomicLong counter, long value) {
        counter.setRelease(counter.getPlain() + value);
    }
}
