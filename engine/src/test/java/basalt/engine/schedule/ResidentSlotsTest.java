package basalt.engine.schedule;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNull;

import basalt.engine.GenerationRequest;
import basalt.engine.Turn;
import basalt.engine.backend.fake.FakeBackend;
import basalt.engine.state.SessionState;
import java.lang.ref.WeakReference;
import java.util.ArrayList;
import org.junit.jupiter.api.Test;

/** Sessions at rest keep their slots until a request needs them. */
class ResidentSlotsTest {
    private static final int SLOTS = 4;

    private static SteppedEngine engine(int sessionSlots) {
        var backend = new FakeBackend(SteppedEngine.OPTIONS.withSlots(SLOTS, SLOTS));
        return new SteppedEngine(backend, SteppedEngine.CONFIG.withSessionSlots(sessionSlots));
    }

    private static Turn.Copy turn(SteppedEngine engine, SessionState state, int... prompt) throws Exception {
        var turn = engine.resume(state, GenerationRequest.of(prompt, 5));
        while (!turn.isFinished()) {
            engine.turn();
            turn.poll();
        }
        return turn.outcome().orElseThrow();
    }

    @Test
    void nextTurnBeginsInTheSlotThatHoldsItsState() throws Exception {
        var engine = engine(SLOTS);
        var plain = engine(0);
        var first = turn(engine, SessionState.EMPTY, 1, 2, 3);
        assertEquals(1, engine.stats().residentSlotCount());
        assertEquals(0, engine.stats().busySlotCount());

        var second = turn(engine, first.state(), 4);

        assertEquals(1, engine.stats().residentHitCount());
        assertEquals(1, engine.stats().residentSlotCount());
        var expected = turn(plain, turn(plain, SessionState.EMPTY, 1, 2, 3).state(), 4);
        assertArrayEquals(expected.tokens(), second.tokens());
        assertEquals(expected.state().history(), second.state().history());
        assertEquals(0, plain.stats().residentSlotCount());
    }

    @Test
    void turnsFromOneStateAnswerAlikeWhoeverHasTheSlot() throws Exception {
        var engine = engine(SLOTS);
        var first = turn(engine, SessionState.EMPTY, 1, 2, 3).state();

        var one = turn(engine, first, 4);
        var two = turn(engine, first, 4);

        assertEquals(1, engine.stats().residentHitCount());
        assertArrayEquals(one.tokens(), two.tokens());
        assertEquals(2, engine.stats().residentSlotCount());
    }

    @Test
    void slotKeepsNoSavedStateInHostMemory() throws Exception {
        var engine = engine(SLOTS);
        var saved = new WeakReference<>(
                turn(engine, SessionState.EMPTY, 1, 2, 3).state().saved().orElseThrow());

        for (int i = 0; i < 100 && saved.get() != null; i++) {
            System.gc();
            Thread.sleep(10);
        }

        assertNull(saved.get());
        assertEquals(1, engine.stats().residentSlotCount());
    }

    @Test
    void requestsTakeSlotsThatRestAtOnceTheEldestFirst() throws Exception {
        var engine = engine(SLOTS);
        var states = new ArrayList<SessionState>();
        for (int i = 0; i < SLOTS; i++) {
            states.add(turn(engine, SessionState.EMPTY, i, 2, 3).state());
        }
        assertEquals(SLOTS, engine.stats().residentSlotCount());

        var request = engine.submit(Requests.with(new int[] {9}, 3, SLOTS - 1, 0));
        engine.turn();

        assertEquals(0, engine.stats().waitingRequestCount());
        assertEquals(1, engine.stats().residentSlotCount());
        while (!request.isFinished()) {
            engine.turn();
            request.poll();
        }
        engine.run();
        turn(engine, states.getFirst(), 1);
        assertEquals(0, engine.stats().residentHitCount());
        turn(engine, states.getLast(), 1);
        assertEquals(1, engine.stats().residentHitCount());
    }

    @Test
    void theirNumberIsBounded() throws Exception {
        var engine = engine(2);
        for (int i = 0; i < SLOTS; i++) {
            turn(engine, SessionState.EMPTY, i, 2, 3);
        }

        assertEquals(2, engine.stats().residentSlotCount());
        assertEquals(SLOTS - 2, engine.freeSlotCount());
    }

    @Test
    void cancelledTurnLeavesNoneBehind() throws Exception {
        var engine = engine(SLOTS);
        var turn = engine.resume(SessionState.EMPTY, GenerationRequest.of(new int[] {1, 2}, 1_000));
        engine.turn(10);

        turn.close();
        engine.run();

        assertEquals(0, engine.stats().residentSlotCount());
        assertEquals(SLOTS, engine.freeSlotCount());
    }
}
