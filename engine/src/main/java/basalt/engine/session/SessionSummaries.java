package basalt.engine.session;

import basalt.engine.EngineException;
import basalt.engine.state.SavedState;
import java.util.ArrayList;
import java.util.List;
import java.util.OptionalLong;

/** Puts together what there is to know of sessions. */
final class SessionSummaries {
    private static final System.Logger LOG = System.getLogger(SessionSummaries.class.getName());

    private final SessionArchive archive;
    private final StateLoader loader;
    private final SessionTable table;

    SessionSummaries(SessionArchive archive, StateLoader loader, SessionTable table) {
        this.archive = archive;
        this.loader = loader;
        this.table = table;
    }

    /** As {@link SessionStore#list}. */
    List<SessionSummary> list(String owner, String afterId, int max) {
        var ids = table.ids(owner);
        int after = ids.indexOf(afterId);
        if (after < 0 && !afterId.isEmpty()) {
            throw new EngineException.SessionNotFound(
                    "There is no session " + afterId + " any more; list them from the first one.");
        }
        int from = after + 1;
        var summaries = new ArrayList<SessionSummary>();
        for (String id : ids.subList(from, Math.min(ids.size(), from + max))) {
            try {
                summaries.add(of(owner, id));
            } catch (EngineException.SessionNotFound e) {
                LOG.log(System.Logger.Level.DEBUG, "event=session_gone session={0}", id);
            } catch (EngineException.InvalidState e) {
                LOG.log(
                        System.Logger.Level.ERROR,
                        "event=session_unreadable session={0} reason=\"{1}\"",
                        id,
                        e.getMessage());
            }
        }
        return summaries;
    }

    /** As {@link SessionStore#summary}. */
    SessionSummary of(String owner, String id) {
        var session = table.lock(owner, id);
        try {
            return of(session);
        } finally {
            session.lock.unlock();
        }
    }

    /** Call only when holding the session's lock. */
    private SessionSummary of(Session session) {
        var log = loader.log(session.id);
        var state = session.state();
        long archived = archive.imageBytes(session.id);
        boolean isInMemory = state != null && state.saved().isPresent();
        long inMemory = isInMemory && state != null
                ? state.saved().map(SavedState::bytes).orElse(0L)
                : 0;
        var tier = isInMemory
                ? SessionSummary.Tier.MEMORY
                : archived > 0 ? SessionSummary.Tier.ARCHIVE : SessionSummary.Tier.TOKENS;
        if (session.digest().isEmpty()) {
            session.digest(loader.history(session.id, log).digestText());
        }
        return new SessionSummary(
                session.id,
                session.createdMillis,
                session.usedMillis(),
                session.lifeMillis > 0
                        ? OptionalLong.of(session.usedMillis() + session.lifeMillis)
                        : OptionalLong.empty(),
                log.tokenCount(),
                log.turnCount(),
                log.promptTokens(),
                log.answerTokens(),
                session.digest(),
                tier,
                Math.max(inMemory, archived),
                log.ends(),
                session.isBusy());
    }
}
