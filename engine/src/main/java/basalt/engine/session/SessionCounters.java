package basalt.engine.session;

import java.util.concurrent.atomic.LongAdder;

/** What a session store counts. Safe for use by any number of threads. */
final class SessionCounters {
    /** Turns whose state was in memory. */
    final LongAdder memoryTurns = new LongAdder();
    /** Turns whose state came from the archive. */
    final LongAdder archiveTurns = new LongAdder();
    /** Turns that read their tokens again. */
    final LongAdder tokenTurns = new LongAdder();
    /** States dropped from memory. */
    final LongAdder demotions = new LongAdder();
    /** Turns kept. */
    final LongAdder commits = new LongAdder();
    /** Turns refused because another one ran. */
    final LongAdder conflicts = new LongAdder();
    /** Journals and images set aside. */
    final LongAdder restoreFailures = new LongAdder();
}
