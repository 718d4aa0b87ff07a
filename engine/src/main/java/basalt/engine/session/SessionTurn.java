package basalt.engine.session;

import basalt.engine.EngineException;
import basalt.engine.FinishReason;
import basalt.engine.Generation;
import basalt.engine.TokenEvent;
import basalt.engine.Turn;
import basalt.engine.Usage;
import java.util.Arrays;
import java.util.Optional;
import java.util.concurrent.atomic.AtomicReference;
import org.jspecify.annotations.Nullable;

/**
 * A turn of a session as its reader sees it. The last event of one that ends well comes once the turn is committed; one
 * that is closed before, or fails, leaves the session as it was. A turn whose session is deleted is cancelled. Read by
 * one thread; any may close it.
 */
public final class SessionTurn implements Generation {
    private final SessionStore store;
    private final Session session;
    private final Turn turn;
    private final int[] prompt; // the turn's own
    private final JournalVersion version; // of the journal that the turn continues
    private final AtomicReference<Phase> phase = new AtomicReference<>(Phase.OPEN);
    private TokenEvent.@Nullable Finished held; // read, and not committed yet
    private volatile boolean isRefused; // as there is no such session any more

    private enum Phase {
        OPEN,
        COMMITTING,
        ENDED
    }

    SessionTurn(SessionStore store, Session session, Turn turn, int[] prompt, JournalVersion version) {
        this.store = store;
        this.session = session;
        this.turn = turn;
        this.prompt = prompt;
        this.version = version;
    }

    /** The session's id. */
    public String sessionId() {
        return session.id;
    }

    /** Whether its session was deleted while it ran, here or by another process, which is then why it is cancelled. */
    public boolean isSessionDeleted() {
        return isRefused || session.isDeleted();
    }

    JournalVersion version() {
        return version;
    }

    /** What the journal says of a turn that comes to this. */
    Journal.Entry entry(long millis, Turn.Copy copy) {
        var tokens = Arrays.copyOf(prompt, prompt.length + copy.tokens().length);
        System.arraycopy(copy.tokens(), 0, tokens, prompt.length, copy.tokens().length);
        return new Journal.Entry.Turned(millis, prompt.length, tokens);
    }

    /** The state now, or at the end if the turn has ended well and is yet to be committed. */
    Optional<Turn.Copy> copy() throws InterruptedException {
        var now = turn.fork();
        return now.isPresent() ? now : turn.outcome();
    }

    @Override
    public Optional<TokenEvent> next() throws InterruptedException {
        boolean isOver = true; // also if anything fails
        try {
            if (held == null) {
                var event = turn.next();
                if (!(event.orElse(null) instanceof TokenEvent.Finished finished)) {
                    isOver = false;
                    return event;
                }
                held = finished;
            }
            var finished = held;
            if (finished.reason() == FinishReason.STOP || finished.reason() == FinishReason.LENGTH) {
                finished = commit(finished);
            }
            held = null;
            return Optional.of(finished);
        } finally {
            if (isOver) {
                end();
            }
        }
    }

    private TokenEvent.Finished commit(TokenEvent.Finished finished) throws InterruptedException {
        var outcome = turn.outcome();
        boolean isCommitted = false;
        if (outcome.isPresent() && phase.compareAndSet(Phase.OPEN, Phase.COMMITTING)) {
            try {
                store.commit(session, this, outcome.get());
                isCommitted = true;
            } catch (EngineException.SessionNotFound e) {
                isRefused = true;
            }
        }
        return isCommitted
                ? finished
                : new TokenEvent.Finished(
                        finished.choice(), FinishReason.CANCELLED, 0, Optional.empty(), Optional.empty());
    }

    /** The last event needs more than looking: {@link #next} has it. */
    @Override
    public Optional<TokenEvent> poll() {
        if (held != null) {
            return Optional.empty();
        }
        Optional<TokenEvent> event;
        try {
            event = turn.poll();
        } catch (EngineException e) {
            end();
            throw e;
        }
        if (event.orElse(null) instanceof TokenEvent.Finished finished) {
            held = finished;
            return Optional.empty();
        }
        return event;
    }

    @Override
    public boolean isFinished() {
        return held == null && turn.isFinished();
    }

    @Override
    public Usage usage() {
        return turn.usage();
    }

    @Override
    public Timing timing() {
        return turn.timing();
    }

    private void end() {
        if (phase.getAndSet(Phase.ENDED) != Phase.ENDED) {
            session.release();
        }
    }

    /** Drops the turn unless it is being committed or has ended. */
    @Override
    public void close() {
        turn.close();
        if (phase.compareAndSet(Phase.OPEN, Phase.ENDED)) {
            session.release();
        }
    }
}
