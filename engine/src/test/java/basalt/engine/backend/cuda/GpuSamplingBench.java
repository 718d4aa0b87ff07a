package basalt.engine.backend.cuda;

import basalt.engine.SamplingParams;
import basalt.engine.backend.Batch;
import basalt.engine.backend.RowSampling;
import basalt.engine.backend.StepResult;
import basalt.engine.model.ElementType;
import basalt.engine.model.ModelConfig;
import java.lang.foreign.Arena;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.SplittableRandom;
import java.util.function.BiConsumer;

/** What each way of drawing tokens takes, by itself and with a step of random weights in which all rows draw so. */
final class GpuSamplingBench {
    private static final int STEPS = 64;
    private static final int WARM = 16;

    private final ModelConfig config;
    private final BiConsumer<String, Object> report;

    GpuSamplingBench(ModelConfig config, BiConsumer<String, Object> report) {
        this.config = config;
        this.report = report;
    }

    /** The ways, by name: parameters and how many log-probabilities. */
    private static Map<String, RowSampling> ways() {
        var drawn = SamplingParams.DEFAULT;
        var penalized = new SamplingParams(0.8f, 40, 0.95f, 0.02f, 0.2f, 0.1f, 1.1f, Map.of(11, 2f, 12, -100f));
        var ways = new LinkedHashMap<String, RowSampling>();
        ways.put("greedy", sampling(SamplingParams.GREEDY, -1));
        ways.put("temperature 1", sampling(drawn, -1));
        ways.put("top-k 40", sampling(drawn.withFilters(40, 1, 0), -1));
        ways.put("top-p 0.95", sampling(drawn.withFilters(0, 0.95f, 0), -1));
        ways.put(
                "temperature 0.4, top-p 0.95",
                sampling(drawn.withTemperature(0.4f).withFilters(0, 0.95f, 0), -1));
        ways.put("min-p 0.05", sampling(drawn.withFilters(0, 1, 0.05f), -1));
        ways.put("all filters, penalties, bias", sampling(penalized, -1));
        ways.put("greedy, 5 logprobs", sampling(SamplingParams.GREEDY, 5));
        ways.put("temperature 1, 20 logprobs", sampling(drawn, 20));
        return ways;
    }

    private static RowSampling sampling(SamplingParams params, int logprobCount) {
        return new RowSampling(params, 1, 0, new int[0], 0, 1 << 30, logprobCount, new int[0]);
    }

    /** Batches like {@code 1,128}. */
    void run(String batches) {
        try (var arena = Arena.ofShared()) {
            var weights = new BenchmarkModels(arena, 1).weights(config);
            for (String batch : batches.split(",", -1)) {
                int rowCount = Integer.parseInt(batch);
                var options = new CudaBackend.Options(
                        rowCount + 1, rowCount, Math.max(rowCount, 512), false, ElementType.BF16);
                var device = new SelectingDevice(new JcudaDevice(0, ElementType.BF16));
                try (var backend = CudaBackend.open(device, config, weights, options)) {
                    ways().forEach((name, way) -> {
                        double step = stepMicros(backend, rowCount, way);
                        double drawing = GpuBench.replayMicros(
                                backend, device, rowCount, key -> key.startsWith(Kernel.SAMPLE.symbol()));
                        device.select(key -> true);
                        report.accept(
                                "B=" + rowCount + " " + name,
                                String.format("%.1f us by itself, step %,.1f us", drawing, step));
                    });
                }
            }
        }
    }

    private double stepMicros(CudaBackend backend, int rowCount, RowSampling way) {
        var batch = new Batch(rowCount, backend.tokenCountMax());
        var result = new StepResult(rowCount, backend.tokenCountMax());
        var random = new SplittableRandom(5);
        batch.clear();
        for (int slot = 0; slot < rowCount; slot++) {
            backend.zero(slot);
            backend.configure(slot, way);
            batch.add(slot, new int[] {random.nextInt(config.vocabSize())}, 0, 1, true);
        }
        backend.enqueue(batch);
        backend.await(result);
        batch.clear();
        for (int slot = 0; slot < rowCount; slot++) {
            batch.addContinuing(slot);
        }
        backend.enqueue(batch);
        long start = 0;
        for (int step = -WARM; step < STEPS; step++) {
            if (step == 0) {
                start = System.nanoTime();
            }
            backend.enqueue(batch);
            backend.await(result);
        }
        double micros = (System.nanoTime() - start) / 1e3 / STEPS;
        backend.await(result);
        return micros;
    }
}
