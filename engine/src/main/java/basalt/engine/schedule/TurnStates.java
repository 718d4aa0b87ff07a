package basalt.engine.schedule;

import basalt.engine.FinishReason;
import basalt.engine.backend.Backend;
import basalt.engine.state.Slot;
import basalt.engine.state.StateImage;
import basalt.engine.state.StateLayout;
import basalt.engine.state.StatePool;
import java.util.Optional;
import org.jspecify.annotations.Nullable;

/** Copies states into slots and out of them where requests begin, fork and end. Confined to the engine thread. */
final class TurnStates {
    private final Backend backend;
    private final StatePool statePool;

    TurnStates(StatePool statePool) {
        this.statePool = statePool;
        backend = statePool.backend();
    }

    /** Loads what a request goes on from into the slot of its first choice, and takes its spare slot. */
    void begin(SequenceGroup group) {
        int slot = group.first().slotIndex();
        group.origin().image().ifPresent(image -> backend.load(slot, image));
        var turn = group.turn();
        if (turn != null && group.hasSpare()) {
            turn.spare(statePool.acquire());
        }
    }

    /** Keeps the state of a prompt where that is planned, once no step in flight has a row of it. */
    void snapshot(SequenceGroup group) {
        var prefix = group.prefix();
        if (prefix != null && group.isSnapshotDue() && group.first().isIdle() && !group.isFinished()) {
            prefix.keep(save(group.first().slotIndex()));
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
        if (turn != null && turn.isForkDue() && sequence.isIdle() && !sequence.isFinished()) {
            var image = save(sequence.slotIndex());
            turn.forked(
                    Optional.of(new TurnRecord.Copy(Optional.of(image), turn.tokens(turn.tokenCount()), new byte[0])));
        }
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
        if (!turn.outcome().isDone()) {
            turn.forked(Optional.empty());
            turn.outcome().complete(copy(sequence, turn));
        }
        var spare = turn.spare();
        if (spare == null) {
            return 0;
        }
        turn.spare(null);
        statePool.release(spare);
        return 1;
    }

    /** An answer of one token is over before its prompt's state could be kept. */
    private void keepAtEnd(Sequence sequence) {
        var group = sequence.group();
        var prefix = group.prefix();
        var slot = sequence.slot();
        var reason = sequence.channel().finishReason();
        boolean isWhole = reason == FinishReason.LENGTH || reason == FinishReason.STOP;
        if (prefix != null && slot != null && isWhole && group.isSnapshotDue()) {
            if (backend.tokenCount(slot.index()) == group.prefillCount()) {
                prefix.keep(save(slot.index()));
            }
        }
    }

    private Optional<TurnRecord.Copy> copy(Sequence sequence, TurnRecord turn) {
        var end = turn.end();
        if (end == null) {
            return Optional.empty();
        }
        var group = sequence.group();
        long position = group.origin().promptStart() + group.promptCount() + end.keptCount();
        var image = imageAt(sequence.slot(), turn, position);
        return Optional.of(new TurnRecord.Copy(image, turn.tokens(end.keptCount()), end.rest()));
    }

    /** The state when it had consumed at most so many tokens; none if it is gone, or there is none. */
    private Optional<StateImage> imageAt(@Nullable Slot slot, TurnRecord turn, long position) {
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
        return Optional.of(save(source.index()));
    }

    private boolean isWithinReach(Slot slot, long position) {
        long count = backend.tokenCount(slot.index());
        return position <= count
                && count - position <= StateLayout.ROLLBACK_TOKENS
                && !StateLayout.foldsBetween(position, count);
    }

    private StateImage save(int slot) {
        var image = new StateImage(backend.layout());
        backend.save(slot, image);
        return image;
    }
}
