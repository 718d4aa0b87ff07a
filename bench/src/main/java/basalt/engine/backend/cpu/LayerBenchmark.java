package basalt.engine.backend.cpu;

import basalt.engine.SamplingParams;
import basalt.engine.backend.Backend;
import basalt.engine.backend.Batch;
import basalt.engine.backend.RowSampling;
import basalt.engine.backend.StepResult;
import basalt.engine.model.Mixer;
import basalt.engine.model.ModelConfig;
import java.util.List;
import java.util.Random;
import java.util.concurrent.TimeUnit;
import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.BenchmarkMode;
import org.openjdk.jmh.annotations.Fork;
import org.openjdk.jmh.annotations.Measurement;
import org.openjdk.jmh.annotations.Mode;
import org.openjdk.jmh.annotations.OutputTimeUnit;
import org.openjdk.jmh.annotations.Param;
import org.openjdk.jmh.annotations.Scope;
import org.openjdk.jmh.annotations.Setup;
import org.openjdk.jmh.annotations.State;
import org.openjdk.jmh.annotations.TearDown;
import org.openjdk.jmh.annotations.Warmup;

/**
 * One decode step of a model with a single layer on one thread, by the kind of its mixer, in the shapes of based-360m
 * but with a vocabulary of 16: what is left is projections, MLP and mixer. Folds are in it, one step in 32.
 */
@State(Scope.Thread)
@BenchmarkMode(Mode.AverageTime)
@OutputTimeUnit(TimeUnit.MICROSECONDS)
@Fork(1)
@Warmup(iterations = 3, time = 1)
@Measurement(iterations = 5, time = 1)
public class LayerBenchmark {
    private static final int WIDTH = 1_024;
    private static final int VOCAB = 16;
    private static final int PROMPT_TOKENS = 300;

    /** Kinds of mixer. */
    public enum Kind {
        /** Gated convolution. */
        CONVOLUTION,
        /** Taylor attention. */
        TAYLOR,
        /** Window attention over 129 tokens. */
        WINDOW
    }

    /** The layer's mixer. */
    @Param
    Kind kind = Kind.TAYLOR;

    /** Rows of a step. */
    @Param({"1", "16"})
    int rowCount;

    private Backend backend = open(Kind.TAYLOR, 1);
    private Batch batch = new Batch(1, 1);
    private StepResult result = new StepResult(1, 1);

    private static Mixer mixer(Kind kind) {
        return switch (kind) {
            case CONVOLUTION -> new Mixer.Convolution(2 * WIDTH, 3, 4 * WIDTH, false, false);
            case TAYLOR -> new Mixer.TaylorAttention(16, 16, 64, 16, 1e-6f);
            case WINDOW -> new Mixer.WindowAttention(16, 16, 64, 128, 0.125f, 64, 10_000, false, false, false);
        };
    }

    private static Backend open(Kind kind, int rowCount) {
        var mlp = new ModelConfig.Mlp(2 * WIDTH, ModelConfig.Activation.SILU, true, false, false);
        var config = new ModelConfig(VOCAB, VOCAB, WIDTH, List.of(mixer(kind)), mlp, true, 1e-5f, true, false, 0, -1);
        return CpuBackend.open(config, new RandomWeights().of(config), rowCount, rowCount, PROMPT_TOKENS, 1);
    }

    /** Prefills every slot, so that windows are full. */
    @Setup
    public void prefill() {
        backend.close();
        backend = open(kind, rowCount);
        batch = new Batch(rowCount, PROMPT_TOKENS);
        result = new StepResult(rowCount, PROMPT_TOKENS);
        var prompt = new Random(1).ints(PROMPT_TOKENS, 0, VOCAB).toArray();
        for (int slot = 0; slot < rowCount; slot++) {
            backend.zero(slot);
            backend.configure(
                    slot,
                    new RowSampling(SamplingParams.GREEDY, 0, 0, new int[0], 0, Integer.MAX_VALUE, -1, new int[0]));
            batch.clear();
            batch.add(slot, prompt, 0, prompt.length, true);
            backend.enqueue(batch);
            backend.await(result);
        }
        batch.clear();
        for (int slot = 0; slot < rowCount; slot++) {
            batch.addContinuing(slot);
        }
    }

    /** One step of all rows. */
    @Benchmark
    public StepResult step() {
        backend.enqueue(batch);
        backend.await(result);
        return result;
    }

    /** Ends the workers. */
    @TearDown
    public void close() {
        backend.close();
    }
}
