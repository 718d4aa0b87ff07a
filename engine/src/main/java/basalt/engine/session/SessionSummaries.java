package basalt.engine.session;

import java.util.OptionalLong;

/** Puts together what there is to know of sessions. */
final class SessionSummaries {
    private final SessionArchive archive;
    private final StateLoader loader;

    SessionSummaries(SessionArchive archive, StateLoader loader) {
        this.archive = archive;
        this.loader = loader;
    }

    /** Call only when holding the session's lock. */
    SessionSummary of(Session session) {
        var log = loader.log(session.id);
        var state = session.state();
        long archived = archive.imageBytes(session.id);
        boolean isInMemory = state != null && state.image().isPresent();
        long inMemory = isInMemory && state != null
                ? state.image().map(ImageMemory::bytes).orElse(0L)
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
