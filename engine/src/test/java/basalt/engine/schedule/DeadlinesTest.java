package basalt.engine.schedule;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import basalt.engine.FinishReason;
import basalt.engine.GenerationRequest;
import basalt.engine.backend.fake.FakeBackend;
import java.time.Duration;
import org.junit.jupiter.api.Test;

class DeadlinesTest {
    private static final Duration SECOND = Duration.ofSeconds(1);

    private static Answer start(SteppedEngine engine, GenerationRequest request) {
        return new Answer(request, engine.submit(request));
    }

    private static SteppedEngine withSlots(int slots) {
        return new SteppedEngine(new FakeBackend(SteppedEngine.OPTIONS.withSlots(slots, slots)), SteppedEngine.CONFIG);
    }

    @Test
    void runningRequestEndsWithWhatItHas() {
        var engine = withSlots(4);
        var late = start(engine, Requests.endless(1, 10, 200).withDeadline(SECOND));
        var other = start(engine, Requests.endless(2, 10, 200));
        engine.turn(20);

        engine.advance(SECOND);
        engine.run(late, other);

        assertEquals(FinishReason.DEADLINE, late.finished(0).reason());
        assertTrue(late.tokens(0).length > 0 && late.tokens(0).length < 200);
        assertEquals(FinishReason.LENGTH, other.finished(0).reason());
        assertEquals(4, engine.freeSlotCount());
    }

    @Test
    void waitingRequestEndsAndTheNextOneGoesOn() {
        var engine = withSlots(1);
        var running = start(engine, Requests.endless(1, 10, 50));
        var late = start(engine, Requests.endless(2, 10, 50).withDeadline(SECOND));
        var patient = start(engine, Requests.endless(3, 10, 50).withDeadline(SECOND.multipliedBy(10)));
        engine.turn(2);

        engine.advance(SECOND);
        engine.turn();
        late.read();
        assertEquals(FinishReason.DEADLINE, late.finished(0).reason());
        engine.run(running, patient);

        assertEquals(0, late.tokens(0).length);
        assertEquals(FinishReason.LENGTH, running.finished(0).reason());
        assertEquals(FinishReason.LENGTH, patient.finished(0).reason());
        assertEquals(0, engine.stats().waitingRequestCount());
    }

    @Test
    void prefillEndsToo() {
        var engine = withSlots(4);
        var late =
                start(engine, Requests.with(Requests.prompt(1, 10_000), 5, 3, 0).withDeadline(SECOND));
        engine.turn(2);

        engine.advance(SECOND);
        engine.run(late);

        for (int choice = 0; choice < 3; choice++) {
            assertEquals(FinishReason.DEADLINE, late.finished(choice).reason());
        }
        assertEquals(4, engine.freeSlotCount());
    }

    @Test
    void eachEndsAtItsOwn() {
        var engine = withSlots(4);
        var second = start(engine, Requests.endless(1, 10, 100_000).withDeadline(SECOND.multipliedBy(2)));
        var first = start(engine, Requests.endless(2, 10, 100_000).withDeadline(SECOND));
        engine.turn(2);

        engine.advance(SECOND);
        engine.turn(2);
        first.read();
        second.read();
        assertTrue(first.isFinished(0));
        assertFalse(second.isFinished(0));
        engine.advance(SECOND);
        engine.turn(2);
        second.read();

        assertTrue(second.isFinished(0));
    }

    @Test
    void everyTokenOfAPromptCountsHoweverManyChoicesShareIt() {
        for (int choices = 1; choices <= 3; choices++) {
            var engine = withSlots(4);
            var answer = start(engine, Requests.with(Requests.prompt(1, 17), 5, choices, 0));

            engine.run(answer);

            assertEquals(17, engine.stats().promptTokenCount(), choices + " choices");
        }
    }

    @Test
    void nothingEndsBeforeItArrives() {
        var engine = withSlots(4);
        var answer = start(engine, Requests.endless(1, 10, 0));

        engine.run(answer);

        var timing = answer.generation().timing();
        assertTrue(timing.finishedNanos() >= timing.arrivedNanos(), timing.toString());
    }
}
