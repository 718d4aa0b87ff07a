package basalt.engine.schedule;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import basalt.engine.FinishReason;
import basalt.engine.GenerationRequest;
import basalt.engine.TokenEvent;
import basalt.engine.backend.RowSampling;
import basalt.engine.backend.fake.FakeLanguage;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Optional;

/** What a request must answer, computed one token after the other with nothing else running. */
final class Expected {
    private static final LetterTokenizer TOKENIZER = new LetterTokenizer(SteppedEngine.VOCAB_SIZE);

    private final GenerationRequest request;
    private final int choice;
    private final List<Integer> tokens = new ArrayList<>();
    private final List<Float> logprobs = new ArrayList<>();
    private FinishReason reason = FinishReason.LENGTH;
    private long visibleBytes;
    private Optional<String> stopString = Optional.empty();
    private Optional<Integer> stopToken = Optional.empty();

    private Expected(GenerationRequest request, int choice) {
        this.request = request;
        this.choice = choice;
        generate();
    }

    static Expected of(GenerationRequest request, int choice) {
        return new Expected(request, choice);
    }

    int[] tokens() {
        return tokens.stream().mapToInt(Integer::intValue).toArray();
    }

    FinishReason reason() {
        return reason;
    }

    private RowSampling sampling() {
        int[] stops = request.stopTokenIds();
        if (!request.ignoresEndOfSequence()) {
            stops = Arrays.copyOf(stops, stops.length + 1);
            stops[stops.length - 1] = SteppedEngine.END_OF_SEQUENCE;
        }
        return new RowSampling(
                request.sampling(), request.seed(), choice, stops, request.minTokens(), 0, -1, new int[0]);
    }

    private void generate() {
        var sampling = sampling();
        var text = new StringBuilder();
        long history = FakeLanguage.consume(FakeLanguage.EMPTY, request.prompt());
        for (int i = 0; i < request.maxTokens(); i++) {
            long position = (long) request.prompt().length + i;
            int token = FakeLanguage.next(history, position, sampling, i, SteppedEngine.VOCAB_SIZE);
            tokens.add(token);
            logprobs.add(FakeLanguage.logprob(history, token));
            if (FakeLanguage.isStop(token, sampling)) {
                reason = FinishReason.STOP;
                stopToken = Optional.of(token);
                break;
            }
            int before = text.length();
            text.append(TOKENIZER.decode(new int[] {token}));
            if (i + 1 >= request.minTokens() && stopsIn(text, before)) {
                return;
            }
            history = FakeLanguage.consume(history, token);
        }
        visibleBytes = text.length();
    }

    /** The stop string that ends first, the longest of those that end together, if it ends after {@code from}. */
    private boolean stopsIn(StringBuilder text, int from) {
        for (int end = from + 1; end <= text.length(); end++) {
            String head = text.substring(0, end);
            var longest = request.stopStrings().stream()
                    .filter(head::endsWith)
                    .max((a, b) -> Integer.compare(a.length(), b.length()));
            if (longest.isPresent()) {
                reason = FinishReason.STOP;
                stopString = longest;
                visibleBytes = (long) end - longest.get().length();
                return true;
            }
        }
        return false;
    }

    /** Checks all that was read of this choice. */
    void assertEqualTo(Answer answer) {
        assertArrayEquals(tokens(), answer.tokens(choice));
        var finished = answer.finished(choice);
        assertEquals(new TokenEvent.Finished(choice, reason, visibleBytes, stopString, stopToken), finished);
        for (int i = 0; i < tokens.size(); i++) {
            var sampled = answer.sampled(choice).get(i);
            assertTrue(sampled.visibleBytes() <= visibleBytes, "a part of a stop string was shown");
            assertEquals(request.logprobCount() >= 0, sampled.logprobs().isPresent());
            if (sampled.logprobs().isPresent()) {
                assertEquals(logprobs.get(i), sampled.logprobs().get().chosen());
                assertEquals(request.logprobCount(), sampled.logprobs().get().topIds().length);
            }
        }
        if (choice == 0) {
            assertScoresEqualTo(answer.scored());
        }
    }

    /** Checks that what was read of a choice that was cut short is a beginning of the whole. */
    void assertStartsWith(Answer answer) {
        int[] read = answer.tokens(choice);
        assertArrayEquals(Arrays.copyOf(tokens(), read.length), read);
    }

    private void assertScoresEqualTo(List<TokenEvent.Scored> scored) {
        assertEquals(request.scoresPrompt() ? request.prompt().length : 0, scored.size());
        long history = FakeLanguage.EMPTY;
        for (var score : scored) {
            assertEquals(request.prompt()[score.index()], score.token());
            assertEquals(score.index() > 0, score.logprobs().isPresent());
            if (score.logprobs().isPresent()) {
                var logprobs = score.logprobs().get();
                assertEquals(FakeLanguage.logprob(history, score.token()), logprobs.chosen());
                assertEquals(Math.max(0, request.logprobCount()), logprobs.topIds().length);
            }
            history = FakeLanguage.consume(history, score.token());
        }
    }
}
