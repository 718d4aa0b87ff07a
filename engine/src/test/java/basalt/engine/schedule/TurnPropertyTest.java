package basalt.engine.schedule;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import basalt.engine.EngineConfig;
import basalt.engine.FinishReason;
import basalt.engine.GenerationRequest;
import basalt.engine.Turn;
import basalt.engine.backend.fake.FakeBackend;
import basalt.engine.state.PrefixCache;
import basalt.engine.state.PrefixUse;
import basalt.engine.state.SessionState;
import basalt.engine.state.StateLayout;
import basalt.engine.state.TokenHistory;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Optional;
import java.util.Random;
import java.util.concurrent.Callable;
import java.util.concurrent.FutureTask;
import java.util.stream.LongStream;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/**
 * Turns of many sessions at once, some forked and some cancelled, on a device several steps deep. Seeded;
 * {@code -Dseed=N} replays one.
 */
class TurnPropertyTest {
    private static final LetterTokenizer TOKENIZER = new LetterTokenizer(SteppedEngine.VOCAB_SIZE);
    private static final int SEEDS = 40;
    private static final int TURNS = 250; // of each seed, so 10,000 in all

    static LongStream seeds() {
        String seed = System.getProperty("seed");
        return seed == null ? LongStream.range(0, SEEDS) : LongStream.of(Long.parseLong(seed));
    }

    /** A session, and what its history must be. */
    private static final class Conversation {
        SessionState state = SessionState.EMPTY;
        int[] history = {};

        Conversation copy() {
            var copy = new Conversation();
            copy.state = state;
            copy.history = history;
            return copy;
        }
    }

    private record Running(
            Conversation conversation,
            GenerationRequest whole,
            Turn turn,
            Answer answer,
            int cancelTurn,
            int forkTurn) {}

    @ParameterizedTest(name = "seed {0}")
    @MethodSource("seeds")
    void everyTurnAnswersAsARequestWithTheWholeHistoryWould(long seed) throws Exception {
        var random = new Random(seed);
        int slots = 1 + random.nextInt(8);
        int rows = 1 + random.nextInt(6);
        var options = new FakeBackend.Options(
                SteppedEngine.VOCAB_SIZE, slots, rows, rows + random.nextInt(100), 1 + random.nextInt(4), 0, 0);
        var config = new EngineConfig(
                        1 + random.nextInt(8), 1 + random.nextInt(150), 50, TURNS, 10_000_000, Duration.ofSeconds(1))
                .withSessionSlots(seed % 4 == 0 ? 0 : (int) (seed % 7));
        var backend = new FakeBackend(options);
        if (seed % 2 == 1) {
            backend.saveLate(Thread::startVirtualThread);
        }
        var engine = new SteppedEngine(backend, config);
        var cache = new PrefixCache(1 << 20);
        List<Conversation> resting = new ArrayList<>();
        List<Running> running = new ArrayList<>();
        for (int i = 0; i < 12; i++) {
            resting.add(new Conversation());
        }

        for (int sent = 0, now = 0; sent < TURNS || !running.isEmpty(); now++) {
            if (sent < TURNS && !resting.isEmpty() && random.nextInt(3) == 0) {
                running.add(start(engine, resting.remove(random.nextInt(resting.size())), cache, random, now));
                sent++;
            }
            engine.turn();
            for (var it = running.iterator(); it.hasNext(); ) {
                var one = it.next();
                if (now == one.forkTurn() && resting.size() < 20) {
                    fork(engine, one).ifPresent(resting::add);
                }
                if (isDone(engine, one, now)) {
                    it.remove();
                    resting.add(one.conversation());
                }
            }
        }
        engine.run();

        assertEquals(slots, engine.freeSlotCount() + engine.stats().residentSlotCount());
        assertEquals(0, engine.stats().busySlotCount());
        assertEquals(0, engine.stats().waitingRequestCount());
    }

    private static Running start(
            SteppedEngine engine, Conversation conversation, PrefixCache cache, Random random, int now) {
        boolean isFirst = conversation.history.length == 0;
        var request = request(random, isFirst);
        Turn turn;
        if (isFirst && random.nextInt(2) == 0) {
            int[] head = Requests.prompt(random.nextInt(2), 300 + 100 * random.nextInt(3));
            request = request.withPrompt(concat(head, request.prompt()));
            turn = engine.begin(
                    request,
                    new PrefixUse(
                            cache,
                            new PrefixCache.Scope("tenant", "scope"),
                            new int[] {1 + random.nextInt(300)},
                            false));
        } else {
            turn = engine.resume(conversation.state, request);
        }
        var whole = request.withPrompt(concat(conversation.history, request.prompt()));
        return new Running(
                conversation,
                whole,
                turn,
                new Answer(whole, turn),
                random.nextInt(6) == 0 ? now + random.nextInt(30) : Integer.MAX_VALUE,
                random.nextInt(6) == 0 ? now + random.nextInt(30) : -1);
    }

    private static GenerationRequest request(Random random, boolean isFirst) {
        var any = Requests.random(random, 1);
        int[] prompt = any.prompt();
        if (!isFirst && random.nextInt(3) == 0) {
            prompt = Arrays.copyOf(prompt, 1);
        }
        return new GenerationRequest(
                prompt,
                any.maxTokens(),
                any.sampling(),
                any.seed(),
                1,
                any.stopStrings(),
                any.stopTokenIds(),
                any.ignoresEndOfSequence(),
                any.minTokens(),
                any.logprobCount(),
                false,
                any.priority(),
                Optional.empty());
    }

    /** Reads what there is; returns whether the turn has ended, after checking it. */
    private static boolean isDone(SteppedEngine engine, Running one, int now) throws Exception {
        if (now == one.cancelTurn()) {
            one.turn().close();
        }
        one.answer().read();
        if (!one.turn().isFinished()) {
            return false;
        }
        var outcome = turnUntilDone(engine, one, one.turn()::outcome);
        var expected = Expected.of(one.whole(), 0);
        var conversation = one.conversation();
        boolean isCancelled = one.answer().finished(0).reason() == FinishReason.CANCELLED;
        if (isCancelled) {
            assertTrue(one.cancelTurn() <= now, "cancelled without being asked to");
            expected.assertStartsWith(one.answer());
        } else {
            expected.assertEqualTo(one.answer());
        }
        if (!isCancelled) {
            conversation.history = concat(one.whole().prompt(), kept(one));
            conversation.state = outcome.orElseThrow().state();
        } else {
            assertTrue(outcome.isEmpty());
        }
        assertEquals(TokenHistory.EMPTY.append(conversation.history), conversation.state.history());
        int pending = conversation.state.pendingCount();
        assertArrayEquals(tail(conversation.history, pending), conversation.state.pending());
        boolean isNear = one.answer().tokens(0).length - kept(one).length < StateLayout.ROLLBACK_TOKENS / 2;
        if (!isCancelled && engine.slotCount() > 1 && one.whole().maxTokens() > 0 && isNear) {
            assertEquals(pendingWithSpare(one), pending);
        }
        return true;
    }

    /** What another thread waits for while the engine runs. */
    private static <T> T turnUntilDone(SteppedEngine engine, Running one, Callable<T> waiting) throws Exception {
        var task = new FutureTask<>(waiting);
        Thread.ofVirtual().start(task);
        while (!task.isDone()) {
            engine.turn();
            one.answer().read();
        }
        return task.get();
    }

    private static int[] kept(Running one) {
        int[] tokens = one.answer().tokens(0);
        var finished = one.answer().finished(0);
        if (finished.stopToken().isPresent()) {
            return Arrays.copyOf(tokens, tokens.length - 1);
        }
        if (finished.stopString().isEmpty()) {
            return tokens;
        }
        String text = TOKENIZER.decode(tokens).substring(0, (int) finished.visibleBytes());
        int count = tokens.length;
        while (TOKENIZER.decode(Arrays.copyOf(tokens, count)).length() > text.length()) {
            count--;
        }
        int[] whole = Arrays.copyOf(tokens, count);
        return concat(
                whole, TOKENIZER.encode(text.substring(TOKENIZER.decode(whole).length())));
    }

    /** What is left to read by the next turn where a rollback or the spare slot reaches back far enough. */
    private static int pendingWithSpare(Running one) {
        int[] tokens = one.answer().tokens(0);
        int[] kept = kept(one);
        int whole = 0;
        while (whole < Math.min(kept.length, tokens.length) && kept[whole] == tokens[whole]) {
            whole++;
        }
        return kept.length - Math.min(whole, tokens.length - 1);
    }

    private static Optional<Conversation> fork(SteppedEngine engine, Running one) throws Exception {
        var state = turnUntilDone(engine, one, one.turn()::fork);
        if (state.isEmpty()) {
            return Optional.empty();
        }
        var branch = one.conversation().copy();
        branch.state = state.get().state();
        int count = (int) branch.state.tokenCount() - one.whole().prompt().length;
        int[] expected = Expected.of(one.whole(), 0).tokens();
        branch.history = concat(one.whole().prompt(), Arrays.copyOf(expected, count));
        assertTrue(count > 0, "forked before the first token");
        assertEquals(1, branch.state.pendingCount());
        assertEquals(TokenHistory.EMPTY.append(branch.history), branch.state.history());
        return Optional.of(branch);
    }

    private static int[] tail(int[] tokens, int count) {
        return Arrays.copyOfRange(tokens, tokens.length - count, tokens.length);
    }

    private static int[] concat(int[] first, int[] second) {
        int[] all = Arrays.copyOf(first, first.length + second.length);
        System.arraycopy(second, 0, all, first.length, second.length);
        return all;
    }
}
