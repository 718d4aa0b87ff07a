package basalt.engine.schedule;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import basalt.engine.EngineException;
import basalt.engine.GenerationRequest;
import basalt.engine.Turn;
import basalt.engine.backend.fake.FakeBackend;
import basalt.engine.state.PrefixCache;
import basalt.engine.state.PrefixUse;
import basalt.engine.state.SessionState;
import java.util.ArrayDeque;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;

/** A backend that has no room for saves for a while: who needs one waits, and nobody else. */
class LateSavesTest {
    private final FakeBackend backend = new FakeBackend(SteppedEngine.OPTIONS.withSlots(4, 4));
    private final SteppedEngine engine = new SteppedEngine(backend, SteppedEngine.CONFIG.withSessionSlots(4));

    private static GenerationRequest request(int... prompt) {
        return GenerationRequest.of(prompt, 5);
    }

    private void finish(Turn turn) throws Exception {
        while (!turn.isFinished()) {
            engine.turn();
            turn.poll();
        }
    }

    private Turn.Copy expected() throws Exception {
        var plain = new SteppedEngine();
        var turn = plain.resume(SessionState.EMPTY, request(1, 2, 3));
        while (!turn.isFinished()) {
            plain.turn();
            turn.poll();
        }
        return turn.outcome().orElseThrow();
    }

    @Test
    void endedTurnKeepsItsSlotUntilItIsSaved() throws Exception {
        backend.holdSaves(true);
        var turn = engine.resume(SessionState.EMPTY, request(1, 2, 3));
        finish(turn);
        engine.turn(3);
        assertEquals(1, engine.stats().busySlotCount());
        var other = new Answer(request(9), engine.submit(request(9)));
        engine.run(other); // is not held up
        assertTrue(other.generation().isFinished());

        backend.holdSaves(false);
        engine.turn();

        assertEquals(0, engine.stats().busySlotCount());
        assertArrayEquals(expected().tokens(), turn.outcome().orElseThrow().tokens());
        assertEquals(
                expected().state().history(),
                turn.outcome().orElseThrow().state().history());
    }

    @Test
    void turnWithoutAnAnswerLeavesItsStateHoweverLateItIsSaved() throws Exception {
        var saves = new ArrayDeque<Runnable>();
        backend.saveLate(saves::add);
        var turn = engine.resume(SessionState.EMPTY, GenerationRequest.of(new int[] {1, 2, 3}, 0));
        finish(turn);
        engine.turn(3);
        assertEquals(1, saves.size());

        saves.remove().run();

        var left = turn.outcome().orElseThrow().state();
        assertEquals(3, left.tokenCount());
        assertTrue(left.consumedCount() > 0, "the state is lost: the next turn would read all of it again");
    }

    @Test
    void cancelledTurnWaitsForNothing() {
        backend.holdSaves(true);
        var turn = engine.resume(SessionState.EMPTY, GenerationRequest.of(new int[] {1, 2}, 1_000));
        engine.turn(10);

        turn.close();
        engine.turn(2);

        assertEquals(0, engine.stats().busySlotCount());
    }

    @Test
    void promptPausesAtASnapshotUntilItIsSaved() {
        var cache = new PrefixCache(1 << 20);
        int[] prompt = IntStream.range(0, 600).map(i -> 8 + i % 50).toArray();
        backend.holdSaves(true);
        var turn = engine.begin(request(prompt), PrefixUse.of(cache, new PrefixCache.Scope("tenant", "scope")));
        engine.turn(20);
        assertEquals(0, cache.stats().entries());
        assertFalse(turn.isFinished());

        backend.holdSaves(false);
        engine.turn(20);
        turn.poll();

        assertTrue(cache.stats().entries() > 0);
    }

    @Test
    void turnThatWaitsForItsSaveFailsWithItsDevice() throws Exception {
        backend.holdSaves(true);
        var turn = engine.resume(SessionState.EMPTY, request(1, 2, 3));
        finish(turn);

        backend.failAtStep(backend.enqueuedCount());
        engine.submit(request(9));
        engine.front().loop(0).run();

        assertThrows(EngineException.DeviceFailure.class, turn::outcome);
    }
}
