package basalt.engine.schedule;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import basalt.engine.EngineConfig;
import basalt.engine.FinishReason;
import basalt.engine.backend.fake.FakeBackend;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import java.util.stream.LongStream;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** Seeded; {@code -Dseed=N} replays one. */
class SchedulerPropertyTest {
    private static final int SEEDS = 25;
    private static final int REQUESTS = 400; // of each seed, so 10,000 in all

    static LongStream seeds() {
        String seed = System.getProperty("seed");
        return seed == null ? LongStream.range(0, SEEDS) : LongStream.of(Long.parseLong(seed));
    }

    /** What a client does beside reading all it can. */
    private enum Habit {
        READS_ALL,
        READS_SLOWLY,
        CANCELS
    }

    private record Client(Answer answer, Habit habit, int cancelTurn) {}

    @ParameterizedTest(name = "seed {0}")
    @MethodSource("seeds")
    void everyRequestIsAnsweredAsIfAloneAndNoSlotIsLost(long seed) {
        var random = new Random(seed);
        int slots = 1 + random.nextInt(12);
        int rows = 1 + random.nextInt(8);
        var options = new FakeBackend.Options(
                SteppedEngine.VOCAB_SIZE, slots, rows, rows + random.nextInt(100), 1 + random.nextInt(4), 0, 0);
        var config = new EngineConfig(
                1 + random.nextInt(8), 1 + random.nextInt(150), 50, REQUESTS, 10_000_000, Duration.ofSeconds(1));
        var engine = new SteppedEngine(new FakeBackend(options), config);
        List<Client> open = new ArrayList<>();

        for (int sent = 0, turn = 0; sent < REQUESTS || !open.isEmpty(); turn++) {
            while (sent < REQUESTS && random.nextInt(3) == 0) {
                open.add(client(engine, random, slots, turn));
                sent++;
            }
            engine.turn();
            int now = turn;
            open.removeIf(client -> isDone(client, random, now));
        }
        engine.run();

        var stats = engine.stats();
        assertEquals(slots, engine.freeSlotCount());
        assertEquals(0, stats.busySlotCount());
        assertEquals(0, stats.runningRequestCount());
        assertEquals(0, stats.waitingRequestCount());
        assertEquals(0, stats.waitingTokenCount());
    }

    private static Client client(SteppedEngine engine, Random random, int slots, int turn) {
        var request = Requests.random(random, slots);
        var answer = new Answer(request, engine.submit(request));
        var habit = Habit.values()[Math.max(0, random.nextInt(12) - 9)];
        return new Client(answer, habit, turn + random.nextInt(60));
    }

    /** Lets a client act; returns whether it has seen the end, after checking it. */
    private static boolean isDone(Client client, Random random, int turn) {
        var answer = client.answer();
        if (client.habit() == Habit.CANCELS && turn >= client.cancelTurn()) {
            answer.generation().close();
        }
        answer.read(client.habit() == Habit.READS_SLOWLY ? random.nextInt(3) : Integer.MAX_VALUE);
        if (!answer.generation().isFinished()) {
            return false;
        }
        long sampled = 0;
        for (int choice = 0; choice < answer.request().choiceCount(); choice++) {
            var finished = answer.finished(choice);
            if (finished.reason() == FinishReason.CANCELLED) {
                assertTrue(client.habit() == Habit.CANCELS, "cancelled without being asked to");
                Expected.of(answer.request(), choice).assertStartsWith(answer);
            } else {
                Expected.of(answer.request(), choice).assertEqualTo(answer);
            }
            sampled += answer.sampled(choice).size();
        }
        assertEquals(sampled, answer.generation().usage().completionTokenCount());
        return true;
    }
}
