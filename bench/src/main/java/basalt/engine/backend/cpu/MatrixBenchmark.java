package basalt.engine.backend.cpu;

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

/**
 * One matrix product on one thread, bf16 weights: 2 · rows · out · in operations. The shapes are MLP inputs of the
 * bundled model and of based-360m.
 */
@State(Scope.Thread)
@BenchmarkMode(Mode.AverageTime)
@OutputTimeUnit(TimeUnit.MICROSECONDS)
@Fork(1)
@Warmup(iterations = 3, time = 1)
@Measurement(iterations = 5, time = 1)
public class MatrixBenchmark {
    /** Rows of x. */
    @Param({"1", "4", "16", "128"})
    int rowCount;

    /** Out and in. */
    @Param({"1024x256", "4096x1024"})
    String shape = "";

    private final Packing packing = new Packing(new WorkerPool(1));
    private PackedMatrix matrix = packing.of(new RandomWeights().linear(1, 1));
    private PackedMatrix.Operands operands = new PackedMatrix.Operands(new float[0], 0, new float[0], 0);

    /** Packs the weights. */
    @Setup
    public void pack() {
        int cross = shape.indexOf('x');
        int out = Integer.parseInt(shape.substring(0, cross));
        int in = Integer.parseInt(shape.substring(cross + 1));
        matrix = packing.of(new RandomWeights().linear(out, in));
        var random = new Random(2);
        var x = new float[rowCount * in];
        for (int i = 0; i < x.length; i++) {
            x[i] = random.nextFloat() - 0.5f;
        }
        int width = matrix.panelCount * PackedMatrix.PANEL;
        operands = new PackedMatrix.Operands(x, in, new float[rowCount * width], width);
        operands.rowCount = rowCount;
    }

    /** y = x Wᵀ. */
    @Benchmark
    public Object multiply() {
        matrix.multiply(operands, 0, matrix.panelCount);
        return operands.y;
    }
}
