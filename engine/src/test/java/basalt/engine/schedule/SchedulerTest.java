package basalt.engine.schedule;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import basalt.engine.EngineConfig;
import basalt.engine.EngineException;
import basalt.engine.FinishReason;
import basalt.engine.GenerationRequest;
import basalt.engine.SamplingParams;
import basalt.engine.backend.fake.FakeBackend;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import org.junit.jupiter.api.Test;

class SchedulerTest {
    private static final FakeBackend.Options OPTIONS = SteppedEngine.OPTIONS;

    @Test
    void rowsJoinWhileOthersRun() {
        var engine = new SteppedEngine();
        var first = start(engine, Requests.endless(1, 10, 50));
        engine.turn(7);
        var second = start(engine, Requests.endless(2, 300, 50));
        engine.turn(3);
        var third = start(engine, Requests.endless(3, 1, 50));

        engine.run(first, second, third);

        assertWhole(first, second, third);
    }

    @Test
    void cancelFreesTheSlotWithinOneStep() {
        var engine = new SteppedEngine();
        var answer = start(engine, Requests.endless(1, 10, 200));
        engine.turn(5);
        assertEquals(1, engine.stats().busySlotCount());

        answer.generation().close();
        engine.turn();

        assertEquals(0, engine.stats().busySlotCount());
        answer.read();
        assertEquals(FinishReason.CANCELLED, answer.finished(0).reason());
    }

    @Test
    void slotIsHeldUntilNoStepInFlightUsesIt() {
        var engine = new SteppedEngine(new FakeBackend(OPTIONS.withStepsInFlight(4)), SteppedEngine.CONFIG);
        var answer = start(engine, Requests.endless(1, 10, 200));
        engine.turn(5); // leaves three steps in flight

        answer.generation().close();
        engine.turn(2);
        assertEquals(1, engine.stats().busySlotCount());
        engine.turn();

        assertEquals(0, engine.stats().busySlotCount());
    }

    @Test
    void cancelDuringPrefillFreesAllSlotsWithinOneStep() {
        var engine = new SteppedEngine();
        var answer = start(engine, Requests.with(Requests.prompt(1, 10_000), 5, 4, 0));
        engine.turn(3);
        assertEquals(4, engine.stats().busySlotCount());

        answer.generation().close();
        engine.turn();

        assertEquals(0, engine.stats().busySlotCount());
        assertEquals(32, engine.freeSlotCount());
    }

    @Test
    void cancelOfWaitingRequestLeavesTheOthersInOrder() {
        var engine = new SteppedEngine(new FakeBackend(OPTIONS.withSlots(1, 1)), SteppedEngine.CONFIG);
        var running = start(engine, Requests.endless(1, 5, 10));
        var cancelled = start(engine, Requests.endless(2, 5, 10));
        var waiting = start(engine, Requests.endless(3, 5, 10));
        engine.turn();

        cancelled.generation().close();
        engine.run(running, cancelled, waiting);

        assertWhole(running, waiting);
        assertEquals(FinishReason.CANCELLED, cancelled.finished(0).reason());
        assertEquals(0, cancelled.tokens(0).length);
    }

    @Test
    void rowStoppedByTheHostIsReleasedAfterItsStepsInFlight() {
        // The text of the answer, some of whose middle is the stop string.
        var whole = Expected.of(Requests.endless(1, 5, 100), 0);
        String text = new LetterTokenizer(SteppedEngine.VOCAB_SIZE).decode(whole.tokens());
        var request = stopping(Requests.prompt(1, 5), 100, text.substring(20, 29));
        var engine = new SteppedEngine();
        var answer = start(engine, request);

        engine.run(answer);

        assertTrue(answer.finished(0).stopString().isPresent());
        Expected.of(request, 0).assertEqualTo(answer);
        assertEquals(32, engine.freeSlotCount());
        // What ran beyond the stop is dropped: one step more than tokens read, with two in flight.
        assertTrue(engine.stats().rowCount() > answer.tokens(0).length);
    }

    @Test
    void choicesShareOnePrefill() {
        var engine = new SteppedEngine();
        var request = Requests.sampled(Requests.prompt(3, 1_000), 20, 5, 42);
        var answer = start(engine, request);

        engine.run(answer);

        for (int choice = 0; choice < 5; choice++) {
            Expected.of(request, choice).assertEqualTo(answer);
        }
        assertNotEquals(List.of(answer.tokens(0)), List.of(answer.tokens(1)));
        assertEquals(1_000, engine.stats().promptTokenCount());
        assertEquals(1_000, answer.generation().usage().promptTokenCount());
    }

    @Test
    void seedGivesTheSameTokensWhateverElseRuns() {
        var alone = new SteppedEngine();
        var request = Requests.sampled(Requests.prompt(3, 100), 50, 2, 42);
        var expected = start(alone, request);
        alone.run(expected);
        var engine = new SteppedEngine(new FakeBackend(OPTIONS.withSlots(6, 2)), SteppedEngine.CONFIG);
        var others = new ArrayList<Answer>();
        for (int i = 0; i < 4; i++) {
            others.add(start(engine, Requests.sampled(Requests.prompt(i, 90 * i + 1), 70, 1, i)));
        }
        engine.turn(3);

        var answer = start(engine, request);
        others.add(answer);
        engine.run(others.toArray(Answer[]::new));

        assertArrayEquals(expected.tokens(0), answer.tokens(0));
        assertArrayEquals(expected.tokens(1), answer.tokens(1));
    }

    @Test
    void shortPromptIsNotStuckBehindAnotherOneOf200000Tokens() {
        var engine = new SteppedEngine();
        var longOne = start(engine, Requests.endless(1, 200_000, 1));
        engine.turn(2);
        var shortOne = start(engine, Requests.endless(2, 50, 1));

        engine.turn(4);
        shortOne.read();

        assertTrue(shortOne.isFinished(0));
        assertTrue(engine.stats().promptTokenCount() < 1_000);
        longOne.generation().close();
    }

    @Test
    void shortPromptsBeginTogetherAndLongOnesShareAStepByFour() {
        var shortOnes = new SteppedEngine();
        var longOnes = new SteppedEngine();
        for (int i = 0; i < 10; i++) {
            start(shortOnes, Requests.endless(i, 8, 1));
            start(longOnes, Requests.endless(i, 1_000, 1));
        }

        shortOnes.turn();
        longOnes.turn();

        assertEquals(80, shortOnes.stats().promptTokenCount());
        assertEquals(10, shortOnes.stats().rowCount());
        assertEquals(SteppedEngine.CONFIG.chunkTokensMax(), longOnes.stats().promptTokenCount());
        assertEquals(PromptChunks.SHARERS_MAX, longOnes.stats().rowCount());
    }

    @Test
    void decodingChoicesTakeTurnsWhenThereAreMoreThanRows() {
        var engine = new SteppedEngine(new FakeBackend(OPTIONS.withSlots(9, 4)), SteppedEngine.CONFIG);
        var answers = new ArrayList<Answer>();
        for (int i = 0; i < 9; i++) {
            answers.add(start(engine, Requests.endless(i, 1, 10_000)));
        }
        engine.turn(90);

        answers.forEach(Answer::read);

        int least = answers.stream().mapToInt(a -> a.tokens(0).length).min().orElseThrow();
        int most = answers.stream().mapToInt(a -> a.tokens(0).length).max().orElseThrow();
        assertTrue(most - least <= 10, least + " to " + most); // nine start one after the other
        assertTrue(least > 30, "least " + least);
    }

    @Test
    void fullChannelPausesItsRowAndTheOthersGoOn() {
        var engine = new SteppedEngine();
        var unread = start(engine, Requests.endless(1, 5, 1_000));
        var read = start(engine, Requests.endless(2, 5, 1_000));

        engine.run(read);

        assertWhole(read);
        assertEquals(TokenChannel.CAPACITY, unread.generation().usage().completionTokenCount());
        assertEquals(1, engine.stats().busySlotCount());
        engine.run(unread);
        assertWhole(unread);
    }

    @Test
    void readerWhoDoesNotReadLosesTheSlotAfterTheTimeout() {
        var engine = new SteppedEngine();
        var unread = start(engine, Requests.endless(1, 5, 1_000));
        engine.run();

        engine.advance(SteppedEngine.CONFIG.slowReaderTimeout());
        engine.turn();
        assertEquals(1, engine.stats().busySlotCount());
        engine.advance(Duration.ofMillis(1));
        engine.turn();

        assertEquals(0, engine.stats().busySlotCount());
        unread.read();
        assertEquals(FinishReason.CANCELLED, unread.finished(0).reason());
        assertEquals(TokenChannel.CAPACITY, unread.tokens(0).length);
    }

    @Test
    void slowReaderWhoReadsKeepsTheSlot() {
        var engine = new SteppedEngine();
        var slow = start(engine, Requests.endless(1, 5, 300));
        engine.run();

        for (int i = 0; i < 60; i++) {
            engine.advance(SteppedEngine.CONFIG.slowReaderTimeout());
            slow.read(1);
            engine.turn(2);
        }
        engine.run(slow);

        assertWhole(slow);
    }

    @Test
    void scoresFlowThroughTheChannelAsTheReaderReads() {
        var engine = new SteppedEngine();
        var request = Requests.scoring(Requests.prompt(1, 2_000), 0, 2, 3);
        var answer = start(engine, request);
        engine.run();
        assertTrue(engine.stats().promptTokenCount() <= TokenChannel.CAPACITY);

        engine.run(answer);

        Expected.of(request, 0).assertEqualTo(answer);
        assertEquals(FinishReason.LENGTH, answer.finished(1).reason());
        assertEquals(0, answer.generation().usage().completionTokenCount());
    }

    @Test
    void requestThatNeedsNoComputationEndsAtOnce() {
        var engine = new SteppedEngine();
        var nothing = start(engine, Requests.endless(1, 5, 0));
        var unscored = start(engine, Requests.scoring(Requests.prompt(1, 1), 0, 1, 0));

        assertFalse(engine.turn());
        nothing.read();
        unscored.read();

        assertEquals(FinishReason.LENGTH, nothing.finished(0).reason());
        assertEquals(1, unscored.scored().size());
        assertTrue(unscored.isFinished(0));
    }

    @Test
    void learnedPositionsBoundTheAnswer() {
        var engine = new SteppedEngine(
                FakeBackend.modelConfig(SteppedEngine.VOCAB_SIZE, 20, -1),
                new FakeBackend(OPTIONS),
                SteppedEngine.CONFIG);
        var answer = start(engine, Requests.endless(1, 15, 100));

        engine.run(answer);

        assertEquals(FinishReason.LENGTH, answer.finished(0).reason());
        assertEquals(6, answer.tokens(0).length); // five are consumed
    }

    @Test
    void requestWaitsUntilAllItsSlotsAreFreeAndNobodyOvertakesIt() {
        var engine = new SteppedEngine(new FakeBackend(OPTIONS.withSlots(4, 4)), SteppedEngine.CONFIG);
        var running = start(engine, Requests.endless(1, 1, 20));
        var large = start(engine, Requests.with(new int[] {2}, 20, 4, 0));
        var small = start(engine, Requests.endless(3, 1, 20));

        engine.turn(10);
        small.read();
        assertEquals(1, engine.stats().busySlotCount());
        assertEquals(0, small.tokens(0).length);
        engine.run(running, large, small);

        assertWhole(running, large, small);
    }

    @Test
    void requestWithFreeSlotsDoesNotCountInTheQueue() {
        var config = new EngineConfig(32, 128, 50, 1, 1_000, Duration.ofSeconds(30));
        var engine = new SteppedEngine(new FakeBackend(OPTIONS.withSlots(3, 3)), config);
        var request = Requests.endless(1, 100, 1_000);
        engine.front().submit(List.of(request, request, request));
        var waiting = engine.submit(request);

        assertThrows(EngineException.QueueFull.class, () -> engine.submit(request));
        waiting.close();
        engine.turn();

        engine.submit(request);
        assertEquals(1, engine.stats().waitingRequestCount());
        assertEquals(100, engine.stats().waitingTokenCount());
    }

    @Test
    void urgentRequestOvertakesThoseThatWait() {
        var engine = new SteppedEngine(new FakeBackend(OPTIONS.withSlots(1, 1)), SteppedEngine.CONFIG);
        var running = start(engine, Requests.endless(1, 1, 5));
        engine.turn();
        var usual = start(engine, Requests.endless(2, 1, 5));
        var urgent = start(engine, Requests.with(new int[] {3}, 5, 1, -1));

        while (!urgent.generation().isFinished()) {
            engine.turn();
            running.read();
            urgent.read();
        }
        usual.read();

        assertEquals(0, usual.tokens(0).length);
        engine.run(usual);
        assertWhole(running, usual, urgent);
    }

    @Test
    void queueIsBoundedInPromptTokens() {
        var config = new EngineConfig(32, 128, 50, 100, 1_000, Duration.ofSeconds(30));
        var engine = new SteppedEngine(new FakeBackend(OPTIONS.withSlots(1, 1)), config);
        engine.submit(Requests.endless(1, 5_000, 1));
        engine.submit(Requests.endless(1, 600, 1));

        assertThrows(EngineException.QueueFull.class, () -> engine.submit(Requests.endless(1, 401, 1)));
        engine.submit(Requests.endless(1, 400, 1));
    }

    @Test
    void minTokensKeepsStopIdsAndStopStringsFromEnding() {
        var engine = new SteppedEngine();
        var request = new GenerationRequest(
                Requests.prompt(1, 5),
                400,
                SamplingParams.DEFAULT,
                1,
                1,
                List.of("a", "b", "c"),
                new int[] {1, 2, 3, 5, 6, 9, 10, 11},
                false,
                100,
                -1,
                false,
                0,
                Optional.empty());
        var answer = start(engine, request);

        engine.run(answer);

        Expected.of(request, 0).assertEqualTo(answer);
        assertTrue(answer.tokens(0).length >= 99);
        assertEquals(FinishReason.STOP, answer.finished(0).reason());
    }

    private static GenerationRequest stopping(int[] prompt, int maxTokens, String stop) {
        return new GenerationRequest(
                prompt,
                maxTokens,
                SamplingParams.GREEDY,
                0,
                1,
                List.of(stop),
                new int[0],
                true,
                0,
                -1,
                false,
                0,
                Optional.empty());
    }

    private static Answer start(SteppedEngine engine, GenerationRequest request) {
        return new Answer(request, engine.submit(request));
    }

    private static void assertWhole(Answer... answers) {
        for (var answer : answers) {
            for (int choice = 0; choice < answer.request().choiceCount(); choice++) {
                Expected.of(answer.request(), choice).assertEqualTo(answer);
            }
        }
    }
}
