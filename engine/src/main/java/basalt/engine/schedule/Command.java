package basalt.engine.schedule;

import java.util.Optional;
import java.util.concurrent.CompletableFuture;

/** What other threads ask of the engine thread; it looks between steps. */
sealed interface Command {
    /** A request has been accepted. */
    record Arrive(SequenceGroup group) implements Command {}

    /** A request's client has gone. Sent at most once per request. */
    record Cancel(SequenceGroup group) implements Command {}

    /** Someone waits for a copy of a running turn's state. At most one per request at a time. */
    record Fork(SequenceGroup group, CompletableFuture<Optional<TurnRecord.Copy>> copy) implements Command {}

    /** Every request is to end now. */
    record CancelAll() implements Command {}

    /** The engine thread is to end. */
    record Stop() implements Command {}
}
