package basalt.server.http;

import basalt.engine.FinishReason;
import basalt.engine.Generation;
import basalt.engine.TokenEvent;
import basalt.server.api.ChoiceOutput;
import basalt.server.observe.Metrics;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;

/** Reads one generation to its end into the outputs of its choices. Confined to one thread. */
final class GenerationReader {
    /** Events taken before what they brought is shown, so that a reader that never catches up still shows something. */
    private static final int EVENTS_MAX = 1_024;

    private final Generation generation;
    private final List<ChoiceOutput> outputs;
    private final Metrics metrics;
    private final long[] lastNanos; // of each choice's last token, 0 before the first
    private final int[] newTokens; // of each choice, since the last look at the clock
    private final boolean[] isFinished; // of each choice
    /** What other choices brought while choice 0 still tells the scores of the prompt, which all of them show first. */
    private final List<TokenEvent> early = new ArrayList<>();

    private boolean isScoring;
    private boolean isCancelled;

    /**
     * Reads nothing yet.
     *
     * @param isScored whether the generation tells scores of its prompt
     */
    GenerationReader(Generation generation, List<ChoiceOutput> outputs, boolean isScored, Metrics metrics) {
        this.generation = generation;
        this.outputs = outputs;
        this.metrics = metrics;
        isScoring = isScored;
        lastNanos = new long[outputs.size()];
        newTokens = new int[outputs.size()];
        isFinished = new boolean[outputs.size()];
    }

    /** Shows what the outputs have. */
    interface Show {
        /** Called after events were taken, with all that waited. */
        void show(List<ChoiceOutput> outputs);
    }

    /**
     * Reads to the end. All waiting events are taken before they are shown, so that under load fewer, larger events go
     * out and none is late.
     *
     * @return whether the generation ran to its end; false if it was cancelled
     * @throws basalt.engine.EngineException if the engine failed it
     */
    boolean read(Show show) throws InterruptedException {
        FinishReason unfinished = FinishReason.ERROR;
        try {
            for (Optional<TokenEvent> event = generation.next(); event.isPresent(); event = generation.next()) {
                for (int i = 1; event.isPresent() && i <= EVENTS_MAX; i++) {
                    take(event.get());
                    event = i < EVENTS_MAX ? generation.poll() : Optional.empty();
                }
                unfinished = FinishReason.CANCELLED; // what fails from here on is the client or the connection
                recordTokens(System.nanoTime());
                show.show(outputs);
                unfinished = FinishReason.ERROR;
            }
            return !isCancelled;
        } finally {
            generation.close();
            for (boolean isDone : isFinished) {
                if (!isDone) {
                    metrics.choiceFinished(unfinished);
                }
            }
            metrics.requestFinished(generation.timing(), generation.usage(), System.nanoTime());
        }
    }

    private void take(TokenEvent event) {
        if (!isScoring) {
            show(event);
        } else if (event instanceof TokenEvent.Scored scored) {
            outputs.forEach(output -> output.scored(scored));
        } else if (event.choice() > 0) {
            early.add(event);
        } else {
            isScoring = false;
            early.forEach(this::show);
            early.clear();
            show(event);
        }
    }

    private void show(TokenEvent event) {
        switch (event) {
            case TokenEvent.Scored scored ->
                throw new IllegalStateException("a score after a token: " + scored.index());
            case TokenEvent.Sampled sampled -> {
                newTokens[sampled.choice()]++;
                outputs.get(sampled.choice()).sampled(sampled);
            }
            case TokenEvent.Finished finished -> {
                isFinished[finished.choice()] = true;
                metrics.choiceFinished(finished.reason());
                if (finished.reason() == FinishReason.CANCELLED) {
                    isCancelled = true;
                } else {
                    outputs.get(finished.choice()).finished(finished);
                }
            }
        }
    }

    private void recordTokens(long nowNanos) {
        for (int choice = 0; choice < newTokens.length; choice++) {
            if (newTokens[choice] > 0) {
                if (lastNanos[choice] != 0) {
                    metrics.tokensArrived(newTokens[choice], nowNanos - lastNanos[choice]);
                }
                lastNanos[choice] = nowNanos;
                newTokens[choice] = 0;
            }
        }
    }
}
