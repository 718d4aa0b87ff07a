package basalt.server.http;

import basalt.engine.EngineException;
import basalt.engine.FinishReason;
import basalt.engine.Generation;
import basalt.engine.Usage;
import basalt.server.api.AnswerWriter;
import basalt.server.api.ChoiceOutput;
import basalt.server.api.Problem;
import basalt.server.api.ProblemCode;
import basalt.server.api.ProblemException;
import basalt.server.observe.Metrics;
import basalt.server.observe.RequestSpan;
import io.helidon.webserver.CloseConnectionException;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.atomic.AtomicReference;
import java.util.function.Supplier;
import org.jspecify.annotations.Nullable;

/**
 * Reads the generations of one request, each on a thread of its own, so that none is paused while another is read. One
 * alone is read by the caller.
 */
final class GenerationReaders implements AutoCloseable {
    private static final Problem UNEXPECTED =
            Problem.of(ProblemCode.SERVER_ERROR, "The server failed while it read the answer; the log says why.");

    private final List<Generation> generations;
    private final List<List<ChoiceOutput>> outputs = new ArrayList<>(); // of each generation
    private final boolean[] isRead; // of each generation
    private final boolean areScored;
    private final Metrics metrics;
    private final RequestSpan span;
    private final Supplier<RuntimeException> cancellation;
    private final AtomicReference<@Nullable RuntimeException> failure = new AtomicReference<>();

    /**
     * Reads nothing yet.
     *
     * @param cancellation why a generation was cancelled that was not cancelled here
     */
    GenerationReaders(
            List<Generation> generations,
            AnswerWriter writer,
            Metrics metrics,
            RequestSpan span,
            Supplier<RuntimeException> cancellation) {
        this.generations = generations;
        this.isRead = new boolean[generations.size()];
        this.areScored = writer.showsScores();
        this.metrics = metrics;
        this.span = span;
        this.cancellation = cancellation;
        for (int i = 0; i < generations.size(); i++) {
            outputs.add(writer.outputs(i));
        }
    }

    /**
     * Reads all to their ends.
     *
     * @param show called by any of the threads, with the outputs of one generation
     * @throws ProblemException if the engine failed one or cancelled it
     * @throws CloseConnectionException if the client has gone or this thread is interrupted
     */
    void read(GenerationReader.Show show) {
        var threads = new ArrayList<Thread>();
        for (int i = 1; i < generations.size(); i++) {
            int index = i;
            threads.add(Thread.ofVirtual().name("generation-", index).start(() -> read(index, show)));
        }
        try {
            read(0, show);
        } finally {
            threads.forEach(this::join);
        }
        RuntimeException first = failure.get();
        if (first != null) {
            throw first;
        }
    }

    private void join(Thread thread) {
        try {
            thread.join();
        } catch (InterruptedException e) {
            fail(new CloseConnectionException("the server closes", e));
            // The others end too now that all generations are closed.
            join(thread);
        }
    }

    private void read(int index, GenerationReader.Show show) {
        isRead[index] = true;
        boolean isEnded = false;
        try {
            var reader = new GenerationReader(generations.get(index), outputs.get(index), areScored, metrics);
            if (!reader.read(show)) {
                fail(cancellation.get());
            }
            isEnded = true;
        } catch (EngineException e) {
            fail(new ProblemException(ProblemResponses.problem(e)));
        } catch (ProblemException | CloseConnectionException e) {
            fail(e);
        } catch (InterruptedException e) {
            fail(new CloseConnectionException("the server closes", e));
        } finally {
            // Whatever else is thrown ends the thread alone, and what it has read is no answer.
            if (!isEnded) {
                fail(new ProblemException(UNEXPECTED));
            }
        }
    }

    /** The first failure is the answer's; it ends all generations. */
    private void fail(RuntimeException e) {
        if (failure.compareAndSet(null, e)) {
            span.failed(
                    e instanceof ProblemException problem
                            ? problem.problem().code().code()
                            : "client_gone");
            generations.forEach(Generation::close);
        }
    }

    /** Ends what still runs, and counts what was never read, as when the client has gone before the headers. */
    @Override
    public void close() {
        generations.forEach(Generation::close);
        for (int i = 0; i < isRead.length; i++) {
            if (!isRead[i]) {
                outputs.get(i).forEach(output -> metrics.choiceFinished(FinishReason.CANCELLED));
                Generation generation = generations.get(i);
                metrics.requestFinished(generation.timing(), generation.usage(), System.nanoTime());
            }
        }
        List<String> reasons = outputs().stream()
                .map(ChoiceOutput::finishReason)
                .flatMap(Optional::stream)
                .toList();
        span.generated(usage(), generations.getFirst().timing(), reasons);
    }

    /** Outputs of all choices, in the order of the answer. */
    List<ChoiceOutput> outputs() {
        return outputs.stream().flatMap(List::stream).toList();
    }

    /** Tokens of all generations. */
    Usage usage() {
        long prompt = 0;
        long completion = 0;
        long cached = 0;
        long written = 0;
        for (Generation generation : generations) {
            Usage usage = generation.usage();
            prompt += usage.promptTokenCount();
            completion += usage.completionTokenCount();
            cached += usage.cachedTokenCount();
            written += usage.cacheWriteTokenCount();
        }
        return new Usage(prompt, completion, cached, written);
    }
}
