package basalt.engine.schedule;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import basalt.engine.EngineConfig;
import basalt.engine.EngineException;
import basalt.engine.Generation;
import basalt.engine.Turn;
import basalt.engine.backend.fake.FakeBackend;
import basalt.engine.state.SessionState;
import basalt.engine.state.StatePool;
import java.time.Duration;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Optional;
import java.util.Random;
import java.util.function.LongSupplier;
import org.junit.jupiter.api.Test;

class FrontTest {
    private static final FakeBackend.Options OPTIONS = SteppedEngine.OPTIONS;
    private static final Duration STEP = Duration.ofMillis(20);

    private record Refusal(long atNanos, long retryAfterMillis) {}

    /** Nobody looks at the device: what needs no slot is bounded all the same, and an end can still be asked for. */
    @Test
    void requestsWithoutASlotAreBounded() {
        var config = new EngineConfig(8, 128, 50, 30, 1_000_000, Duration.ofHours(1));
        var engine = new SteppedEngine(new FakeBackend(OPTIONS.withSlots(8, 8)), config);
        var running = engine.submit(Requests.endless(1, 3, 1_000));
        engine.turn(3);
        var nothing = Requests.endless(1, 1, 0);
        var accepted = new ArrayList<Generation>();

        assertThrows(EngineException.QueueFull.class, () -> {
            for (int i = 0; i < 100_000; i++) {
                accepted.add(engine.submit(nothing));
            }
        });
        assertThrows(EngineException.QueueFull.class, () -> engine.front().submit(Collections.nCopies(1_000, nothing)));
        accepted.forEach(Generation::close);
        running.close();
        engine.turn();

        assertEquals(8 + 30, accepted.size());
        assertEquals(0, engine.stats().waitingRequestCount());
        assertEquals(0, engine.stats().runningRequestCount());
    }

    @Test
    void retryAfterIsRightWithinAFactorOfTwoUnderOverload() {
        var config = new EngineConfig(8, 128, 50, 30, 1_000_000, Duration.ofHours(1));
        var engine = new SteppedEngine(new FakeBackend(OPTIONS.withSlots(8, 8)), config);
        var random = new Random(1);
        var open = new ArrayList<Answer>();
        var waits = new ArrayDeque<Generation>();
        var refusals = new ArrayList<Refusal>();

        for (int turn = 0; turn < 6_000; turn++) {
            var request = Requests.endless(1, 1 + random.nextInt(50), 30 + random.nextInt(150));
            try {
                open.add(new Answer(request, engine.submit(request)));
                waits.add(open.getLast().generation());
            } catch (EngineException.QueueFull e) {
                refusals.add(new Refusal(engine.nanos(), e.retryAfterMillis()));
            }
            engine.turn();
            engine.advance(STEP);
            open.forEach(Answer::read);
            open.removeIf(answer -> answer.generation().isFinished());
        }

        var admitted = waits.stream()
                .map(Generation::timing)
                .filter(timing -> timing.admittedNanos() > 0)
                .toList();
        assertTrue(refusals.size() > 4_000, "refused " + refusals.size());
        long compared = 0;
        for (var refusal : refusals.subList(0, refusals.size() / 2)) {
            // The request that was taken in last before the refusal stands at the end of the same queue.
            var last = admitted.stream()
                    .filter(timing -> timing.arrivedNanos() <= refusal.atNanos())
                    .reduce((a, b) -> b)
                    .orElseThrow();
            double trueMillis = (last.admittedNanos() - refusal.atNanos()) / 1e6;
            if (trueMillis >= 2_000) {
                double ratio = refusal.retryAfterMillis() / trueMillis;
                assertTrue(ratio > 0.5 && ratio < 2, refusal + " of " + trueMillis + " ms");
                compared++;
            }
        }
        assertTrue(compared > 1_000, "compared " + compared);
    }

    @Test
    void refusedSubmissionLeavesNothingBehind() {
        var config = new EngineConfig(2, 128, 50, 2, 1_000, Duration.ofHours(1));
        var engine = new SteppedEngine(new FakeBackend(OPTIONS.withSlots(2, 2)), config);
        var request = Requests.endless(1, 10, 10);

        assertThrows(
                EngineException.QueueFull.class,
                () -> engine.front().submit(List.of(request, request, request, request, request)));

        assertEquals(0, engine.stats().waitingRequestCount());
        assertEquals(
                4,
                engine.front()
                        .submit(List.of(request, request, request, request))
                        .size());
    }

    @Test
    void queueTakesMoreAsSoonAsItsHeadHasASlot() {
        var config = new EngineConfig(1, 128, 50, 1, 1_000, Duration.ofHours(1));
        var engine = new SteppedEngine(new FakeBackend(OPTIONS.withSlots(1, 1)), config);
        var request = Requests.endless(1, 10, 3);
        var first = new Answer(request, engine.submit(request));
        var second = new Answer(request, engine.submit(request));
        assertThrows(EngineException.QueueFull.class, () -> engine.submit(request));

        while (second.generation().timing().admittedNanos() == 0) {
            engine.turn();
        }

        var third = new Answer(request, engine.submit(request));
        engine.run(first, second, third);
        assertEquals(3, third.tokens(0).length);
    }

    @Test
    void waitIsEstimatedFromTheAllowedLengthWhileNoneHasFinished() {
        var config = new EngineConfig(1, 128, 50, 1, 1_000, Duration.ofHours(1));
        var engine = new SteppedEngine(new FakeBackend(OPTIONS.withSlots(1, 1)), config);
        var running = new Answer(Requests.endless(1, 1, 500), engine.submit(Requests.endless(1, 1, 500)));
        engine.submit(Requests.endless(1, 1, 500));
        for (int turn = 0; turn < 50; turn++) {
            engine.turn();
            engine.advance(STEP);
        }
        running.read();

        var e = assertThrows(EngineException.QueueFull.class, () -> engine.submit(Requests.endless(1, 1, 500)));

        assertTrue(
                Math.abs(e.retryAfterMillis() - 15_000) < 2_000,
                "" + e.retryAfterMillis()); // 10 s a slot: half of one, and a whole one
    }

    @Test
    void forkOfATurnWhoseDeviceHasJustFailedSaysSo() {
        var failing = new FakeBackend(OPTIONS.withSlots(4, 4));
        var sound = new FakeBackend(OPTIONS.withSlots(2, 2));
        var fronts = new ArrayList<Front>();
        var turns = new ArrayList<Turn>();
        var failures = new ArrayList<EngineException>();
        LongSupplier clock = () -> {
            // The failing loop looks at it after it is out of service and before it fails its requests.
            if (failures.isEmpty() && !turns.isEmpty() && fronts.getFirst().slotCountMax() == 2) {
                failures.add(assertThrows(EngineException.class, turns.getFirst()::fork));
            }
            return 1;
        };
        var pools = List.of(StatePool.poisoning(failing), StatePool.poisoning(sound));
        var model = FakeBackend.modelConfig(SteppedEngine.VOCAB_SIZE, 0, SteppedEngine.END_OF_SEQUENCE);
        var front = new Front(model, Optional.empty(), SteppedEngine.CONFIG, pools, clock);
        fronts.add(front);
        var request = Requests.endless(1, 3, 100);
        var start = SessionState.EMPTY.append(request.prompt());
        turns.add(front.resume(start, request, false, Optional.empty(), Optional.empty()));
        front.loop(0).turn();
        failing.failAtStep(failing.enqueuedCount());

        front.loop(0).run();

        var failure = assertThrows(EngineException.DeviceFailure.class, turns.getFirst()::outcome);
        assertEquals(List.of(failure), failures);
    }
}
