package basalt.engine.backend.cuda;

import basalt.engine.SamplingParams;
import basalt.engine.backend.Batch;
import basalt.engine.backend.RowSampling;
import basalt.engine.backend.StepResult;
import basalt.engine.model.ElementType;
import basalt.engine.model.ModelConfig;
import basalt.engine.model.Weights;
import java.lang.foreign.Arena;
import java.util.ArrayList;
import java.util.List;
import java.util.Set;
import java.util.SplittableRandom;
import java.util.TreeSet;
import java.util.function.BiConsumer;
import java.util.stream.Collectors;

/**
 * The logits of rows that decode, as the fast mode makes them, against the deterministic mode's, which goes token by
 * token through kernels of its own: for shapes of kernels that no golden has.
 */
final class GpuModes {
    private static final int STEPS = 40; // a fold among them
    private static final double ERROR_MEAN_MAX = 2.5e-2; // as of the goldens
    private static final double ERROR_MAX = 8e-2;

    private final ModelConfig config;
    private final BiConsumer<String, Object> report;
    private Set<String> kernels = Set.of(); // that the last backend has launched

    GpuModes(ModelConfig config, BiConsumer<String, Object> report) {
        this.config = config;
        this.report = report;
    }

    /** Compares for each number of rows. */
    void run(String rowCounts) {
        try (var arena = Arena.ofShared()) {
            Weights weights = new BenchmarkModels(arena, 1).weights(config);
            for (String rows : rowCounts.split(",", -1)) {
                compare(weights, Integer.parseInt(rows));
            }
        }
    }

    private void compare(Weights weights, int rowCount) {
        List<float[]> expected = logits(weights, rowCount, true);
        List<float[]> actual = logits(weights, rowCount, false);
        double sum = 0;
        double most = 0;
        for (int i = 0; i < expected.size(); i++) {
            double error = error(expected.get(i), actual.get(i));
            sum += error;
            most = Double.isNaN(error) ? error : Math.max(most, error);
        }
        double mean = sum / expected.size();
        boolean isPair = kernels.contains(Kernel.PROJECT_PAIR.symbol());
        boolean isGood = mean <= ERROR_MEAN_MAX && most <= ERROR_MAX;
        report.accept(
                rowCount + " rows, fast" + (isPair ? " by pairs" : "") + " and deterministic",
                String.format("%s mean %.1e, largest %.1e", isGood ? "ok" : "FAILED", mean, most));
    }

    /** 2-norm of the difference over the 2-norm. */
    private double error(float[] expected, float[] actual) {
        double difference = 0;
        double norm = 0;
        for (int i = 0; i < config.vocabSize(); i++) {
            difference += Math.pow((double) actual[i] - expected[i], 2);
            norm += (double) expected[i] * expected[i];
        }
        return Math.sqrt(difference / norm);
    }

    private List<float[]> logits(Weights weights, int rowCount, boolean isDeterministic) {
        var options = new CudaBackend.Options(rowCount, rowCount, rowCount, isDeterministic, ElementType.BF16);
        var greedy = new RowSampling(SamplingParams.GREEDY, 1, 0, new int[0], 0, 1 << 30, -1, new int[0]);
        int[] tokens = new SplittableRandom(3)
                .ints(rowCount + STEPS, 0, config.vocabSize())
                .toArray();
        var result = new ArrayList<float[]>();
        var device = new SelectingDevice(new JcudaDevice(0, ElementType.BF16));
        try (var backend = CudaBackend.open(device, config, weights, options)) {
            kernels = device.launchCounts().keySet().stream()
                    .map(launch -> launch.substring(0, launch.indexOf(' ')))
                    .collect(Collectors.toCollection(TreeSet::new));
            var batch = new Batch(rowCount, rowCount);
            var stepResult = new StepResult(rowCount, rowCount);
            for (int slot = 0; slot < rowCount; slot++) {
                backend.zero(slot);
                backend.configure(slot, greedy);
            }
            for (int step = 0; step < STEPS; step++) {
                batch.clear();
                for (int slot = 0; slot < rowCount; slot++) {
                    batch.add(slot, tokens, slot + step, slot + step + 1, true);
                }
                backend.enqueue(batch);
                backend.await(stepResult);
                for (int row = 0; row < rowCount; row++) {
                    float[] logits = new float[config.paddedVocabSize()];
                    backend.readLogits(row, logits);
                    result.add(logits);
                }
            }
        }
        return result;
    }
}
