package basalt.engine.schedule;

import basalt.engine.EngineConfig;
import basalt.engine.EngineStats;
import basalt.engine.Generation;
import basalt.engine.GenerationRequest;
import basalt.engine.Turn;
import basalt.engine.backend.Backend;
import basalt.engine.backend.fake.FakeBackend;
import basalt.engine.model.ModelConfig;
import basalt.engine.state.PrefixUse;
import basalt.engine.state.SessionState;
import basalt.engine.state.StatePool;
import basalt.engine.text.ByteSpelling;
import basalt.engine.text.TokenBytes;
import java.time.Duration;
import java.util.List;
import java.util.Optional;

/** The engine of one device without threads: a test turns its loop and moves its clock. Released slots are poisoned. */
final class SteppedEngine {
    static final int VOCAB_SIZE = 60;
    static final int END_OF_SEQUENCE = 7;
    static final EngineConfig CONFIG = new EngineConfig(32, 128, 50, 1_000, 1_000_000, Duration.ofSeconds(30));
    static final FakeBackend.Options OPTIONS = FakeBackend.Options.DEFAULT.withVocabSize(VOCAB_SIZE);

    private final StatePool statePool;
    private final Front front;
    private final ByteSpelling spelling;
    private long nanos = 1;

    SteppedEngine() {
        this(new FakeBackend(OPTIONS), CONFIG);
    }

    SteppedEngine(Backend backend, EngineConfig config) {
        this(FakeBackend.modelConfig(VOCAB_SIZE, 0, END_OF_SEQUENCE), backend, config);
    }

    SteppedEngine(ModelConfig model, Backend backend, EngineConfig config) {
        statePool = StatePool.poisoning(backend);
        var bytes = new TokenBytes(new LetterTokenizer(VOCAB_SIZE), VOCAB_SIZE);
        spelling = new ByteSpelling(new LetterTokenizer(VOCAB_SIZE), bytes, VOCAB_SIZE);
        front = new Front(model, Optional.of(bytes), config, List.of(statePool), () -> nanos);
    }

    Front front() {
        return front;
    }

    Generation submit(GenerationRequest request) {
        return front.submit(List.of(request)).getFirst();
    }

    /** A turn of a session; the request's prompt goes after the state. */
    Turn resume(SessionState state, GenerationRequest request) {
        var start = state.append(request.prompt());
        return front.resume(start, request.withPrompt(start.pending()), false, Optional.of(spelling), Optional.empty());
    }

    /** The first turn of a session, whose prompt may begin like others. */
    Turn begin(GenerationRequest request, PrefixUse prefixes) {
        var start = SessionState.EMPTY.append(request.prompt());
        return front.resume(start, request, false, Optional.of(spelling), Optional.of(prefixes));
    }

    /** One turn of the loop; returns whether it had a step. */
    boolean turn() {
        return front.loop(0).turn();
    }

    void turn(int times) {
        for (int i = 0; i < times; i++) {
            turn();
        }
    }

    /** Turns until nothing more can be computed; each answer reads as it goes. */
    void run(Answer... answers) {
        boolean isBusy = true;
        while (isBusy) {
            isBusy = turn();
            for (var answer : answers) {
                isBusy |= answer.read();
            }
        }
    }

    void advance(Duration time) {
        nanos += time.toNanos();
    }

    long nanos() {
        return nanos;
    }

    EngineStats stats() {
        return front.stats();
    }

    int slotCount() {
        return statePool.slotCount();
    }

    int freeSlotCount() {
        return statePool.freeCount();
    }
}
