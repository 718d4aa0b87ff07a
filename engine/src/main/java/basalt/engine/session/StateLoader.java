package basalt.engine.session;

import basalt.engine.EngineException;
import basalt.engine.EngineException.InvalidState;
import basalt.engine.state.SessionState;
import basalt.engine.state.StateLayout;
import basalt.engine.state.TokenHistory;
import java.util.Arrays;
import java.util.List;
import java.util.Optional;

/** Finds the state of a session from its journal and its images. Calls about one session come one at a time. */
final class StateLoader {
    private final SessionArchive archive;
    private final String fingerprint;
    private final StateLayout layout;
    private final int vocabSize;
    private final SessionCounters counters;

    StateLoader(
            SessionArchive archive, String fingerprint, StateLayout layout, int vocabSize, SessionCounters counters) {
        this.archive = archive;
        this.fingerprint = fingerprint;
        this.layout = layout;
        this.vocabSize = vocabSize;
        this.counters = counters;
    }

    /**
     * The entries of a session's journal. One that lacks its end is cut off.
     *
     * @throws InvalidState if the journal is damaged
     */
    List<Journal.Entry> entries(String id) {
        byte[] bytes = archive.journal(id)
                .orElseThrow(() -> new EngineException.SessionNotFound("There is no session " + id + "."));
        var read = Journal.read(bytes);
        if (read.validBytes() < bytes.length) {
            archive.truncate(id, read.validBytes());
        }
        return read.entries();
    }

    SessionLog log(String id) {
        return new SessionLog(entries(id));
    }

    /**
     * The state after all that the journal has: the newest image that fits, and the tokens after it.
     *
     * @param digest of the history; empty if it is not known, and then it is computed from the first token on
     */
    SessionState load(String id, String digest) {
        var log = log(id);
        var images = archive.images(id);
        for (int i = images.size() - 1; i >= 0; i--) {
            long at = images.get(i);
            if (at > log.firstCount() && at <= log.tokenCount()) {
                var state = image(id, at).map(found -> found.append(log.tokens(at, log.tokenCount())));
                if (state.isPresent() && isOf(state.get(), id, log, digest)) {
                    return state.get();
                }
                if (state.isPresent()) {
                    setAside(id, at, "it is not of the tokens in the journal");
                }
            }
        }
        return first(id, log).append(log.tokens(log.firstCount(), log.tokenCount()));
    }

    /** Digests are chains: if the last one is right, so are all before. */
    private boolean isOf(SessionState state, String id, SessionLog log, String digest) {
        return digest.isEmpty()
                ? state.history().equals(history(id, log))
                : state.history().digestText().equals(digest);
    }

    /** The state before the first known token. */
    private SessionState first(String id, SessionLog log) {
        if (!log.hasBase()) {
            return SessionState.EMPTY;
        }
        return image(id, log.firstCount())
                .orElseThrow(() -> new InvalidState("The state that session " + id + " was imported from is lost."));
    }

    private Optional<SessionState> image(String id, long tokenCount) {
        var bytes = archive.image(id, tokenCount);
        if (bytes.isEmpty()) {
            return Optional.empty();
        }
        try {
            var state = StateFile.read(bytes.get(), fingerprint, layout, vocabSize);
            if (state.tokenCount() != tokenCount) {
                throw new InvalidState("it has " + state.tokenCount() + " tokens");
            }
            return Optional.of(state);
        } catch (InvalidState e) {
            setAside(id, tokenCount, String.valueOf(e.getMessage()));
            return Optional.empty();
        }
    }

    private void setAside(String id, long tokenCount, String reason) {
        counters.restoreFailures.increment();
        archive.setAsideImage(id, tokenCount, reason);
    }

    TokenHistory history(String id, SessionLog log) {
        return log.history(first(id, log).history(), log.tokenCount());
    }

    /** The same state with its last token pending, as an answer follows a token that is read; as it is without one. */
    SessionState unread(SessionState state, String id) {
        var log = log(id);
        long end = log.tokenCount() - 1;
        if (end < log.firstCount()) {
            return state;
        }
        int[] last = log.tokens(end, end + 1);
        return state.saved()
                .flatMap(saved -> saved.before(end))
                .map(saved -> SessionState.of(Optional.of(saved), last, state.history()))
                .orElseGet(() -> rewound(state, id, log, end).append(last));
    }

    /** All tokens of a session and others after them; none if the first ones are in an image only. */
    Optional<int[]> tokens(String id, int... more) {
        var log = log(id);
        if (log.hasBase() || log.tokenCount() > Integer.MAX_VALUE - more.length) {
            return Optional.empty();
        }
        int[] all = Arrays.copyOf(log.tokens(0, log.tokenCount()), (int) log.tokenCount() + more.length);
        System.arraycopy(more, 0, all, (int) log.tokenCount(), more.length);
        return Optional.of(all);
    }

    /** The state when the session had fewer tokens. */
    SessionState rewound(SessionState now, String id, SessionLog log, long tokenCount) {
        var first = first(id, log);
        var history = log.history(first.history(), tokenCount);
        var best = first;
        for (long at : archive.images(id)) {
            if (at > log.firstCount() && at <= tokenCount) {
                var state = image(id, at);
                if (state.isPresent() && state.get().history().equals(log.history(first.history(), at))) {
                    best = state.get();
                }
            }
        }
        if (now.consumedCount() <= tokenCount
                && now.consumedCount() >= Math.max(best.consumedCount(), log.firstCount())) {
            return SessionState.of(now.saved(), log.tokens(now.consumedCount(), tokenCount), history);
        }
        return best.append(log.tokens(best.tokenCount(), tokenCount));
    }
}
