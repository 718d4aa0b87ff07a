package basalt.server.http;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import basalt.engine.Generation;
import basalt.engine.TokenEvent;
import basalt.engine.Usage;
import basalt.server.api.AnswerWriter;
import basalt.server.api.ChoiceOutput;
import basalt.server.api.JsonBuffer;
import basalt.server.api.Problem;
import basalt.server.api.ProblemCode;
import basalt.server.api.ProblemException;
import basalt.server.observe.Metrics;
import basalt.server.observe.RequestSpan;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.CountDownLatch;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** Failures that none expects, while several generations are read. */
class GenerationReadersTest {
    static List<Runnable> failures() {
        return List.of(
                () -> {
                    throw new IllegalStateException("a test");
                },
                () -> {
                    throw new OutOfMemoryError("a test");
                });
    }

    /** Ends when it is closed, or fails at once. */
    private static final class EndlessGeneration implements Generation {
        private final Optional<Runnable> failure;
        private final CountDownLatch closed = new CountDownLatch(1);
        private volatile boolean isRead;

        EndlessGeneration(Optional<Runnable> failure) {
            this.failure = failure;
        }

        @Override
        public Optional<TokenEvent> next() throws InterruptedException {
            failure.ifPresent(Runnable::run);
            closed.await();
            isRead = true;
            return Optional.empty();
        }

        @Override
        public Optional<TokenEvent> poll() {
            return Optional.empty();
        }

        @Override
        public boolean isFinished() {
            return closed.getCount() == 0;
        }

        @Override
        public Usage usage() {
            return new Usage(1, 1, 0, 0);
        }

        @Override
        public Timing timing() {
            return new Timing(1, 1, 1, 1);
        }

        @Override
        public void close() {
            closed.countDown();
        }
    }

    /** Of answers without choices. */
    private static final class EmptyWriter implements AnswerWriter {
        @Override
        public boolean showsScores() {
            return false;
        }

        @Override
        public List<ChoiceOutput> outputs(int promptIndex) {
            return List.of();
        }

        @Override
        public void writeBegin(JsonBuffer out) {}

        @Override
        public void writeChunks(JsonBuffer out, ChoiceOutput output) {}

        @Override
        public void writeEnd(JsonBuffer out, Usage usage) {}

        @Override
        public void writeFailure(JsonBuffer out, Problem problem) {}

        @Override
        public byte[] whole(List<ChoiceOutput> outputs, Usage usage) {
            return new byte[0];
        }
    }

    private static GenerationReaders readers(Generation... generations) {
        return new GenerationReaders(
                List.of(generations),
                new EmptyWriter(),
                new Metrics("model"),
                RequestSpan.none(),
                () -> new IllegalStateException("cancelled"));
    }

    @ParameterizedTest
    @MethodSource("failures")
    void failureOfALaterGenerationFailsTheRequest(Runnable failure) {
        var sound = new EndlessGeneration(Optional.empty());
        try (var readers = readers(sound, new EndlessGeneration(Optional.of(failure)))) {
            var thrown = assertThrows(ProblemException.class, () -> readers.read(outputs -> {}));

            assertEquals(ProblemCode.SERVER_ERROR, thrown.problem().code());
        }
    }

    @ParameterizedTest
    @MethodSource("failures")
    void failureOfTheFirstGenerationEndsTheOthersBeforeItIsThrown(Runnable failure) {
        var sound = new EndlessGeneration(Optional.empty());
        var expected = assertThrows(Throwable.class, failure::run);
        try (var readers = readers(new EndlessGeneration(Optional.of(failure)), sound)) {
            var thrown = assertThrows(Throwable.class, () -> readers.read(outputs -> {}));

            assertSame(expected.getClass(), thrown.getClass());
            assertTrue(sound.isRead);
        }
    }
}
