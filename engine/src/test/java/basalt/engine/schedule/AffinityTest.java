package basalt.engine.schedule;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;

import basalt.engine.Generation;
import basalt.engine.GenerationRequest;
import basalt.engine.Turn;
import basalt.engine.backend.fake.FakeBackend;
import basalt.engine.state.SessionState;
import basalt.engine.state.StatePool;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import org.junit.jupiter.api.Test;

/** Turns of sessions on several devices. */
class AffinityTest {
    private static final int DEVICES = 3;
    private static final int SLOTS = 4;

    private final List<FakeBackend> backends = new ArrayList<>();
    private final Front front;

    AffinityTest() {
        for (int i = 0; i < DEVICES; i++) {
            backends.add(new FakeBackend(SteppedEngine.OPTIONS.withSlots(SLOTS, SLOTS)));
        }
        front = new Front(
                FakeBackend.modelConfig(SteppedEngine.VOCAB_SIZE, 0, SteppedEngine.END_OF_SEQUENCE),
                Optional.empty(),
                SteppedEngine.CONFIG.withSessionSlots(SLOTS),
                backends.stream().map(StatePool::poisoning).toList(),
                () -> 1);
    }

    private void turnAll() {
        for (int i = 0; i < DEVICES; i++) {
            front.loop(i).turn();
        }
    }

    private Turn resume(SessionState state, int maxTokens, int... prompt) {
        var start = state.append(prompt);
        return front.resume(
                start, GenerationRequest.of(start.pending(), maxTokens), false, Optional.empty(), Optional.empty());
    }

    private Turn.Copy turn(SessionState state, int... prompt) throws InterruptedException {
        var turn = resume(state, 5, prompt);
        while (!turn.isFinished()) {
            turnAll();
            turn.poll();
        }
        return turn.outcome().orElseThrow();
    }

    /** Requests that keep slots, which begin on the device with the most room. */
    private List<Generation> hold(int count) {
        var held = new ArrayList<Generation>();
        for (int i = 0; i < count; i++) {
            held.add(front.submit(List.of(Requests.endless(1, 1, 10_000))).getFirst());
        }
        return held;
    }

    private long residents(int device) {
        return front.loop(device).counters().residentSlots.get();
    }

    @Test
    void turnGoesToTheDeviceWhereItsStateRests() throws InterruptedException {
        var states = new ArrayList<SessionState>();
        for (int device = 0; device < DEVICES; device++) {
            states.add(turn(SessionState.EMPTY, device, 2, 3).state());
            assertEquals(1, residents(device), "device " + device);
            hold(1); // there, so that the next one begins elsewhere
        }

        for (int round = 0; round < 3; round++) {
            for (int device = DEVICES - 1; device >= 0; device--) {
                states.set(device, turn(states.get(device), 4).state());
                assertEquals(1, residents(device), "device " + device);
            }
        }

        assertEquals(3 * DEVICES, front.stats().residentHitCount());
    }

    @Test
    void turnGoesElsewhereBeforeItWaits() throws InterruptedException {
        var first = turn(SessionState.EMPTY, 1, 2, 3);
        assertEquals(1, residents(0));
        hold(DEVICES * SLOTS - 1); // all but one of another device, where it need not wait
        assertEquals(1, residents(0));

        var second = turn(first.state(), 4);

        assertEquals(0, front.stats().residentHitCount());
        assertEquals(first.state().tokenCount() + 6, second.state().tokenCount());
    }

    @Test
    void stateGoesOnWithTheSameTokensOnAnyDevice() throws InterruptedException {
        var first = turn(SessionState.EMPTY, 1, 2, 3);
        var there = turn(first.state(), 4); // takes the slot away
        hold(1);
        var elsewhere = turn(first.state(), 4);

        assertEquals(1, front.stats().residentHitCount());
        assertArrayEquals(there.tokens(), elsewhere.tokens());
        assertEquals(there.state().history(), elsewhere.state().history());
    }
}
