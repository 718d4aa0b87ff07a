package basalt.engine.schedule;

import basalt.engine.EngineException;
import basalt.engine.FinishReason;
import basalt.engine.backend.Backend;
import basalt.engine.state.SavedState;
import basalt.engine.state.Slot;
import basalt.engine.state.StateLayout;
import basalt.engine.state.StatePool;
import java.util.ArrayDeque;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;
import java.util.function.Function;
import org.jspecify.annotations.Nullable;

/**
 * Copies states into slots and out of them where requests begin, fork and end. Confined to the engine thread, but for
 * {@link #rests}.
 */
final class TurnStates {
    private static final System.Logger LOG = System.getLogger(TurnStates.class.getName());

    private final Backend backend;
    private final StatePool statePool;
    private final ResidentSlots residents;
    private final ArrayDeque<Sequence> ended; // that wait for the backend with the state that they leave behind
    private boolean isWaiting; // some state, for the backend to save it

    TurnStates(StatePool statePool, ResidentSlots residents) {
        this.statePool = statePool;
        this.residents = residents;
        backend = statePool.backend();
        ended = new ArrayDeque<>(statePool.slotCount());
    }

    /** Whether a slot holds this state. May be asked by any thread. */
    boolean rests(SavedState state) {
        return residents.holds(state);
    }

    /** Slots that a request can have now. */
    int freeSlotCount() {
        return residents.freeCount();
    }

    /** The slot of a choice: the first one's has what the request goes on from, and the spare slot comes with it. */
    Slot acquire(SequenceGroup group, int choice) {
        if (choice > 0) {
            return residents.acquire();
        }
        var saved = group.origin().saved();
        var slot = saved.map(residents::take).orElse(null);
        if (slot == null) {
            slot = residents.acquire();
            int index = slot.index();
            saved.ifPresent(state -> backend.load(index, state));
        }
        var turn = group.turn();
        if (turn != null && group.hasSpare()) {
            turn.spare(residents.acquire());
        }
        return slot;
    }

    /** Gives a slot back that a request held; one with the state that a turn left behind may go on holding it. */
    void giveBack(SequenceGroup group, Slot slot) {
        var turn = group.turn();
        var left = turn == null ? null : turn.left();
        if (left != null && left.slot() == slot) {
            residents.rest(left);
        } else {
            statePool.release(slot);
        }
    }

    /** Keeps the state of a prompt where that is planned, once no step in flight has a row of it. */
    void snapshot(SequenceGroup group) {
        var prefix = group.prefix();
        boolean isDue = prefix != null && group.isSnapshotDue() && group.first().isIdle() && !group.isFinished();
        if (prefix != null && isDue && canSave()) {
            prefix.keep(group.prefillCount(), backend.beginSave(group.first().slotIndex()));
        }
    }

    /** Called before a row that decodes is planned: keeps a copy of a state that is about to fold. */
    void beforeDecode(Sequence sequence) {
        var turn = sequence.group().turn();
        if (turn == null || turn.spare() == null) {
            return;
        }
        long position = backend.tokenCount(sequence.slotIndex());
        if (position > 0 && position % StateLayout.FOLD_INTERVAL == 0) {
            backend.copy(sequence.slotIndex(), turn.spare().index());
            turn.spareSet();
        }
    }

    /** Copies a running turn for whoever waits for it, once no step in flight has a row of it. */
    void fork(Sequence sequence) {
        var turn = sequence.group().turn();
        boolean isDue = turn != null && turn.isForkDue() && sequence.isIdle() && !sequence.isFinished();
        if (turn != null && isDue && canSave()) {
            var waiting = turn.takeFork();
            int[] sampled = turn.tokens(turn.tokenCount());
            complete(
                    waiting,
                    Optional.of(backend.beginSave(sequence.slotIndex())),
                    saved -> new TurnRecord.Copy(saved, sampled, new byte[0]));
        }
    }

    /** Whether nothing need be waited for to save a state; notes that something is where it must. */
    private boolean canSave() {
        boolean canSave = backend.canBeginSave();
        isWaiting |= !canSave;
        return canSave;
    }

    /** Whether a state is to be saved and the backend has no room for it, since the last time that this was asked. */
    boolean hasWaited() {
        boolean hasWaited = isWaiting;
        isWaiting = false;
        return hasWaited;
    }

    /** Whether {@link #end} would wait for nothing now; if it would, {@link #nextEnded} has the choice later. */
    boolean canEnd(Sequence sequence) {
        var turn = sequence.group().turn();
        boolean leaves = turn != null && turn.end() != null && !turn.isOver();
        boolean canEnd = (!leaves && !keepsAtEnd(sequence)) || canSave();
        if (!canEnd) {
            ended.add(sequence);
        }
        return canEnd;
    }

    /** A choice that had to wait for its end and need not any longer, or null; {@link #passEnded} goes on. */
    @Nullable Sequence nextEnded() {
        return ended.isEmpty() || !canSave() ? null : ended.element();
    }

    /** Notes that the choice which was next has its end. */
    void passEnded() {
        ended.remove();
    }

    /** Tells the turns that still wait for their end that there will be none. */
    void failEnded(EngineException cause) {
        ended.forEach(sequence -> sequence.group().fail(cause));
    }

    /**
     * Leaves the state of an ended turn behind, before its slot is given back, and gives its spare slot back. Does
     * nothing a second time.
     *
     * @return slots given back
     */
    int end(Sequence sequence) {
        keepAtEnd(sequence);
        var turn = sequence.group().turn();
        if (turn == null) {
            return 0;
        }
        if (!turn.isOver()) {
            turn.over();
            turn.endFork();
            end(sequence, turn);
        }
        var spare = turn.spare();
        if (spare == null) {
            return 0;
        }
        turn.spare(null);
        giveBack(sequence.group(), spare);
        return 1;
    }

    /** An answer of one token is over before its prompt's state could be kept. */
    private void keepAtEnd(Sequence sequence) {
        var group = sequence.group();
        var prefix = group.prefix();
        if (prefix != null && keepsAtEnd(sequence)) {
            prefix.keep(group.prefillCount(), backend.beginSave(sequence.slotIndex()));
        }
    }

    private boolean keepsAtEnd(Sequence sequence) {
        var group = sequence.group();
        var slot = sequence.slot();
        var reason = sequence.channel().finishReason();
        boolean isWhole = reason == FinishReason.LENGTH || reason == FinishReason.STOP;
        return slot != null
                && isWhole
                && group.isSnapshotDue()
                && backend.tokenCount(slot.index()) == group.prefillCount();
    }

    private void end(Sequence sequence, TurnRecord turn) {
        var end = turn.end();
        if (end == null) {
            turn.outcome().complete(Optional.empty());
            return;
        }
        var group = sequence.group();
        long position = group.origin().promptStart() + group.promptCount() + end.keptCount();
        int[] sampled = turn.tokens(end.keptCount());
        var left = leave(sequence.slot(), turn, position).map(ResidentSlots.Resident::new);
        left.ifPresent(turn::left);
        complete(
                turn.outcome(),
                left.map(resident -> backend.beginSave(resident.slot().index())),
                saved -> {
                    saved.ifPresent(state -> left.orElseThrow().saved(state));
                    return new TurnRecord.Copy(saved, sampled, end.rest());
                });
    }

    /** Answers whoever waits once the state is there; without one at once. What has no memory is read again. */
    private static void complete(
            CompletableFuture<Optional<TurnRecord.Copy>> waiting,
            Optional<CompletableFuture<SavedState>> saved,
            Function<Optional<SavedState>, TurnRecord.Copy> copy) {
        if (saved.isEmpty()) {
            waiting.complete(Optional.of(copy.apply(Optional.empty())));
            return;
        }
        var _ = saved.get().whenComplete((state, failure) -> {
            if (state != null) {
                waiting.complete(Optional.of(copy.apply(Optional.of(state))));
            } else if (failure instanceof EngineException) {
                waiting.completeExceptionally(failure);
            } else {
                LOG.log(System.Logger.Level.WARNING, "event=state_not_saved", failure);
                waiting.complete(Optional.of(copy.apply(Optional.empty())));
            }
        });
    }

    /** The slot with the state when it had consumed at most so many tokens; none if it is gone, or there is none. */
    private Optional<Slot> leave(@Nullable Slot slot, TurnRecord turn, long position) {
        if (slot == null) {
            return Optional.empty();
        }
        long wanted = Math.min(position, backend.tokenCount(slot.index()));
        var spare = turn.spare();
        Slot source = null;
        if (isWithinReach(slot, wanted)) {
            source = slot;
        } else if (spare != null && turn.isSpareSet() && isWithinReach(spare, wanted)) {
            source = spare;
        }
        if (source == null || wanted == 0) {
            return Optional.empty();
        }
        if (wanted < backend.tokenCount(source.index())) {
            backend.rollback(source.index(), wanted);
        }
        return Optional.of(source);
    }

    /** Spares one token of what the rings allow: whoever gets the state may take back its last one. */
    private boolean isWithinReach(Slot slot, long position) {
        long count = backend.tokenCount(slot.index());
        return position <= count
                && count - position < StateLayout.ROLLBACK_TOKENS
                && !StateLayout.foldsBetween(position, count);
    }
}
