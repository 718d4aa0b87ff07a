package basalt.engine.session;

import basalt.engine.EngineException;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Optional;

/**
 * Writes a journal without the tokens that were taken back, so that one cannot grow without end by turns that are taken
 * back again. It adds up to the same.
 */
final class CompactJournal {
    private static final System.Logger LOG = System.getLogger(CompactJournal.class.getName());
    /** A journal this small is left as it is, as is one that would not become half as large. */
    private static final int BYTES_MIN = 64 * 1024;

    private CompactJournal() {}

    /**
     * A turn of which something is left.
     *
     * @param keptCount of its tokens
     * @param cutMillis when the others were taken back
     */
    private record Piece(Journal.Entry.Turned turn, int keptCount, long cutMillis) {
        boolean isCut() {
            return keptCount < turn.tokens().length;
        }
    }

    /**
     * Adds to a session's journal, or writes it anew. Call only when holding the session's lock.
     *
     * @param entries that it has
     * @return the new version
     * @throws EngineException.SessionConflict if another process has changed the session since
     */
    static JournalVersion append(
            SessionArchive archive, Session session, List<Journal.Entry> entries, Journal.Entry entry) {
        var all = new ArrayList<>(entries);
        all.add(entry);
        Optional<byte[]> compact = of(all);
        if (compact.isPresent()) {
            var label = new SessionArchive.Label(session.id, session.owner, session.lifeMillis);
            try {
                return archive.create(label, session.version(), compact.get());
            } catch (EngineException.ArchiveFailure e) { // where there is no room for both at once
                LOG.log(System.Logger.Level.WARNING, "event=journal_not_compacted session=" + session.id, e);
            }
        }
        return archive.append(session.id, session.version(), Journal.bytes(entry));
    }

    /** The bytes of a journal with fewer entries, if that is worth while. */
    private static Optional<byte[]> of(List<Journal.Entry> entries) {
        long before = entries.stream().mapToLong(Journal::byteCount).sum();
        if (before < BYTES_MIN) {
            return Optional.empty();
        }
        byte[] bytes = Journal.bytes(compact(entries));
        return bytes.length < before / 2 ? Optional.of(bytes) : Optional.empty();
    }

    /** Fewer entries that add up to the same. */
    static List<Journal.Entry> compact(List<Journal.Entry> entries) {
        var log = new SessionLog(entries);
        var compact = new ArrayList<Journal.Entry>();
        compact.add(entries.getFirst());
        if (log.hasBase()) {
            compact.add(new Journal.Entry.Base(log.firstCount()));
        }
        long end = log.firstCount();
        for (Piece piece : pieces(entries, log.firstCount())) {
            end += piece.keptCount();
            var turn = piece.turn();
            // With one token more, which is taken back: a turn's end is something to go back to, and this is none.
            int[] tokens = Arrays.copyOf(turn.tokens(), Math.min(piece.keptCount() + 1, turn.tokens().length));
            int promptCount = Math.min(turn.promptCount(), tokens.length);
            compact.add(new Journal.Entry.Turned(turn.millis(), promptCount, tokens));
            if (piece.isCut()) {
                compact.add(new Journal.Entry.Rewound(piece.cutMillis(), end));
            }
        }
        compact.add(new Journal.Entry.Rewound(log.usedMillis(), log.tokenCount()));
        log.lastNote().ifPresent(compact::add);
        var now = new SessionLog(compact);
        compact.add(
                1,
                new Journal.Entry.Dropped(
                        log.turnCount() - now.turnCount(),
                        log.promptTokens() - now.promptTokens(),
                        log.answerTokens() - now.answerTokens()));
        return compact;
    }

    private static List<Piece> pieces(List<Journal.Entry> entries, long firstCount) {
        var pieces = new ArrayDeque<Piece>();
        long count = firstCount;
        for (var entry : entries) {
            switch (entry) {
                case Journal.Entry.Turned turn -> {
                    pieces.add(new Piece(turn, turn.tokens().length, 0));
                    count += turn.tokens().length;
                }
                case Journal.Entry.Rewound(var millis, var end) -> {
                    while (count > end) {
                        Piece last = pieces.removeLast();
                        int kept = (int) Math.max(0, last.keptCount() - (count - end));
                        count -= last.keptCount() - kept;
                        if (kept > 0) {
                            pieces.add(new Piece(last.turn(), kept, millis));
                        }
                    }
                }
                case Journal.Entry.Head _, Journal.Entry.Base _, Journal.Entry.Dropped _, Journal.Entry.Noted _ -> {}
            }
        }
        return List.copyOf(pieces);
    }
}
