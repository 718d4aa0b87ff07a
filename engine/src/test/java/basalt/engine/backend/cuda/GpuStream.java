package basalt.engine.backend.cuda;

import static basalt.engine.backend.cuda.GpuTexts.resume;

import basalt.engine.EngineException;
import basalt.engine.GenerationRequest;
import basalt.engine.TokenEvent;
import basalt.engine.Turn;
import basalt.engine.backend.cuda.GpuTexts.Seen;
import basalt.engine.schedule.Front;
import basalt.engine.state.SessionState;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.Callable;
import org.jspecify.annotations.Nullable;

/** What one client of a front sees. Read by one thread. */
final class GpuStream implements Callable<Boolean> {
    private final GpuTexts texts;
    private final GenerationRequest request;
    private final List<Seen> expected;
    private final Turn turn;
    private final List<Seen> seen = new ArrayList<>();
    private @Nullable EngineException failure;
    private boolean hasOutcome;

    /**
     * Begins.
     *
     * @param expected what its whole answer is
     */
    GpuStream(GpuTexts texts, Front front, GenerationRequest request, List<Seen> expected) {
        this.texts = texts;
        this.request = request;
        this.expected = expected;
        turn = resume(front, SessionState.EMPTY.append(request.prompt()), request);
    }

    void awaitFirstToken() throws InterruptedException {
        seen.add(texts.seen((TokenEvent.Sampled) turn.next().orElseThrow()));
    }

    /** Reads to the end, or to the failure. */
    @Override
    public Boolean call() throws InterruptedException {
        try {
            texts.readInto(seen, turn);
        } catch (EngineException e) {
            failure = e;
        }
        try {
            hasOutcome = turn.outcome().isPresent();
        } catch (EngineException e) {
            hasOutcome = false;
        }
        return hasOutcome;
    }

    /** Whether all was right until the end, or the failure. */
    boolean isRight() {
        return failure == null
                ? hasOutcome && seen.equals(expected)
                : !hasOutcome && seen.equals(expected.subList(0, seen.size()));
    }

    String message() {
        return failure == null ? "" : failure.getClass().getSimpleName() + " " + failure.getMessage();
    }

    GenerationRequest request() {
        return request;
    }

    /** What it ended with instead of an outcome. */
    @Nullable EngineException failure() {
        return failure;
    }

    /** Tokens so far. */
    int seenCount() {
        return seen.size();
    }
}
