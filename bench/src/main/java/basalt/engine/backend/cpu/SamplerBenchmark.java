package basalt.engine.backend.cpu;

import basalt.engine.SamplingParams;
import basalt.engine.backend.RowSampling;
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
import org.openjdk.jmh.annotations.Warmup;

/** Drawing one token from the logits of one row. */
@State(Scope.Thread)
@BenchmarkMode(Mode.AverageTime)
@OutputTimeUnit(TimeUnit.MICROSECONDS)
@Fork(1)
@Warmup(iterations = 3, time = 1)
@Measurement(iterations = 5, time = 1)
public class SamplerBenchmark {
    /** Ways to draw. */
    public enum Draw {
        /** The largest logit. */
        GREEDY,
        /** From the whole distribution. */
        FULL,
        /** From the 40 likeliest. */
        TOP_K,
        /** From the likeliest that make up nine tenths. */
        TOP_P
    }

    /** The way to draw. */
    @Param
    Draw draw = Draw.GREEDY;

    /** Vocabulary of the bundled model and of GPT-2. */
    @Param({"8192", "50257"})
    int vocabSize;

    private Sampler sampler = new Sampler(1);
    private CpuSlot slot = slot(1, Draw.GREEDY);
    private float[] logits = new float[0];
    private long position;

    private static SamplingParams params(Draw draw) {
        return switch (draw) {
            case GREEDY -> SamplingParams.GREEDY;
            case FULL -> SamplingParams.DEFAULT;
            case TOP_K -> SamplingParams.DEFAULT.withFilters(40, 1, 0);
            case TOP_P -> SamplingParams.DEFAULT.withFilters(0, 0.9f, 0);
        };
    }

    private static CpuSlot slot(int vocabSize, Draw draw) {
        var mlp = new ModelConfig.Mlp(1, ModelConfig.Activation.SILU, true, false, false);
        var config = new ModelConfig(vocabSize, vocabSize, 1, List.of(), mlp, true, 1e-5f, true, false, 0, -1);
        var slot = new CpuSlot(config);
        slot.configure(new RowSampling(params(draw), 1, 0, new int[0], 0, Integer.MAX_VALUE, -1, new int[0]));
        return slot;
    }

    /** Logits of about the spread that language models have. */
    @Setup
    public void fill() {
        sampler = new Sampler(vocabSize);
        slot = slot(vocabSize, draw);
        logits = new float[VectorOps.padded(vocabSize)];
        var random = new Random(1);
        for (int i = 0; i < vocabSize; i++) {
            logits[i] = (float) random.nextGaussian() * 3;
        }
    }

    /** One token, at a new position each time. */
    @Benchmark
    public int sample() {
        return sampler.sample(slot, logits, 0, position++);
    }
}
