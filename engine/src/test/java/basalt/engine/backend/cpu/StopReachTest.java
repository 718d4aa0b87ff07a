package basalt.engine.backend.cpu;

import static org.junit.jupiter.api.Assertions.assertEquals;

import basalt.engine.Engine;
import basalt.engine.EngineConfig;
import basalt.engine.GenerationRequest;
import basalt.engine.SamplingParams;
import basalt.engine.TokenEvent;
import basalt.engine.Turn;
import basalt.engine.model.ElementType;
import basalt.engine.model.ModelConfig;
import basalt.engine.state.SessionState;
import basalt.engine.text.Tokenizer;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Optional;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;

/** Stop strings as long as the rings reach back: the state that is left may still take back its last token. */
class StopReachTest {
    private static final int PROMPT_COUNT = 20;
    private static final int KEPT_COUNT = 14; // up to the second token of a block, so that no fold is in the way
    private static final int LENGTH_MAX = 17;
    private static final ModelConfig MODEL = TestConfigs.plain();

    /** One letter a token. */
    private static final class Letters implements Tokenizer {
        private static final int FIRST = 0xa1;

        @Override
        public int[] encode(String text) {
            return text.chars().map(letter -> letter - FIRST).toArray();
        }

        @Override
        public byte[] bytes(int token) {
            return Character.toString(FIRST + token).getBytes(StandardCharsets.UTF_8);
        }

        @Override
        public String decode(int[] tokens) {
            var text = new StringBuilder();
            for (int token : tokens) {
                text.appendCodePoint(FIRST + token);
            }
            return text.toString();
        }

        @Override
        public int vocabSize() {
            return MODEL.vocabSize();
        }
    }

    private static Turn turn(Engine engine, SessionState start, int maxTokens, List<String> stopStrings) {
        var request = new GenerationRequest(
                start.pending(),
                maxTokens,
                SamplingParams.DEFAULT,
                5,
                1,
                stopStrings,
                new int[0],
                true,
                0,
                0,
                false,
                0,
                Optional.empty());
        return engine.resume(start, request, false);
    }

    private static List<TokenEvent.Sampled> sampled(Turn turn) throws InterruptedException {
        var events = new ArrayList<TokenEvent.Sampled>();
        for (var event = turn.next(); event.isPresent(); event = turn.next()) {
            if (event.get() instanceof TokenEvent.Sampled one) {
                events.add(one);
            }
        }
        return events;
    }

    /** What comes after a state and one token more, to the last bit. */
    private static List<String> answer(Engine engine, SessionState state) throws InterruptedException {
        try (var turn = turn(engine, state.append(1), 5, List.of())) {
            return sampled(turn).stream()
                    .map(one -> one.token() + " " + one.logprobs().orElseThrow().chosen())
                    .toList();
        }
    }

    @Test
    void lastTokenOfAStateThatWentBackMayBeTakenBack() throws Exception {
        var backend = CpuBackend.open(MODEL, RandomWeights.of(MODEL, ElementType.F32, 5), 1, 1, 32, 1);
        var tokenizer = new Letters();
        var keptLengths = new ArrayList<Integer>();
        try (var engine = Engine.start(MODEL, Optional.of(tokenizer), List.of(backend), EngineConfig.DEFAULT)) {
            var prompt = SessionState.EMPTY.append(
                    IntStream.rangeClosed(1, PROMPT_COUNT).toArray());
            int[] tokens = sampled(turn(engine, prompt, KEPT_COUNT + LENGTH_MAX, List.of())).stream()
                    .mapToInt(TokenEvent.Sampled::token)
                    .toArray();
            var history = prompt.append(Arrays.copyOf(tokens, KEPT_COUNT));
            var expected = answer(engine, history);

            for (int length = LENGTH_MAX - 2; length <= LENGTH_MAX; length++) {
                String stop = tokenizer.decode(tokens).substring(KEPT_COUNT, KEPT_COUNT + length);
                var turn = turn(engine, prompt, tokens.length + 1, List.of(stop));
                assertEquals(KEPT_COUNT + length, sampled(turn).size());
                var state = turn.outcome().orElseThrow().state();
                assertEquals(history.history(), state.history());
                assertEquals(expected, answer(engine, state));

                if (state.saved().isPresent()) {
                    keptLengths.add(length);
                    var before = state.saved().get().before(state.tokenCount() - 1);
                    int[] last = {tokens[KEPT_COUNT - 1]};
                    var back = SessionState.of(Optional.of(before.orElseThrow()), last, state.history());
                    assertEquals(expected, answer(engine, back), "stop string of " + length);
                }
            }
        }
        assertEquals(List.of(LENGTH_MAX - 2, LENGTH_MAX - 1), keptLengths);
    }
}
