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
import java.util.SplittableRandom;
import java.util.function.Predicate;

/** Times of steps with random weights, by kind of step and by kernel. */
final class GpuBench {
    private static final int CONTEXT = 1024;
    private static final int MIXED_STEPS = 40;
    private static final int MIXED_WARM = 5 + GraphCache.OCCURRENCES;

    private final String model;
    private final ModelConfig config;
    private final boolean isDeterministic;
    private final Report report;

    /** Takes a line of the table. */
    interface Report {
        void add(String section, String name, Object value);
    }

    GpuBench(String model, ModelConfig config, boolean isDeterministic, Report report) {
        this.model = model;
        this.config = config;
        this.isDeterministic = isDeterministic;
        this.report = report;
    }

    /**
     * Decode at batches like {@code 1,8,32}, a {@code p} in front profiles the kernels too; {@code t2048} prefills;
     * {@code 128+512} decodes so many beside a prompt of which each step reads so many tokens.
     */
    void run(String what) {
        try (var arena = Arena.ofShared()) {
            Weights weights = new BenchmarkModels(arena, 1).weights(config);
            for (String item : what.split(",", -1)) {
                if (item.contains("+")) {
                    mixed(weights, item);
                    continue;
                }
                boolean isPrefill = item.contains("t");
                boolean isProfiled = item.startsWith("p");
                int count = Integer.parseInt(item.replaceAll("[a-z]", ""));
                int rowsMax = isPrefill ? 8 : count;
                int tokensMax = isPrefill ? count : Math.max(count, 512);
                var options =
                        new CudaBackend.Options(rowsMax + 1, rowsMax, tokensMax, isDeterministic, ElementType.BF16);
                var device = new SelectingDevice(new JcudaDevice(0, ElementType.BF16));
                try (var backend = CudaBackend.open(device, config, weights, options)) {
                    String name = model + (isDeterministic ? " deterministic" : "");
                    if (isPrefill) {
                        prefill(backend, name, count);
                        if (isProfiled) {
                            profilePrefill(backend, device, name, count);
                            continue;
                        }
                    } else {
                        decode(backend, name, count);
                    }
                    if (isProfiled) {
                        profile(backend, device, name, count);
                    }
                }
            }
        }
    }

    private void mixed(Weights weights, String item) {
        String[] counts = item.split("\\+", -1);
        int rowCount = Integer.parseInt(counts[0]);
        int chunk = Integer.parseInt(counts[1]);
        int tokensMax = Math.max(512, rowCount + chunk);
        var options = new CudaBackend.Options(rowCount + 1, rowCount + 1, tokensMax, false, ElementType.BF16);
        try (var backend = CudaBackend.open(new JcudaDevice(0, ElementType.BF16), config, weights, options)) {
            var batch = new Batch(rowCount + 1, tokensMax);
            var result = new StepResult(rowCount + 1, tokensMax);
            fillSlots(backend, rowCount, batch, result);
            int[] prompt = new SplittableRandom(8).ints(chunk, 0, 50_000).toArray();
            backend.zero(rowCount);
            batch.clear();
            for (int row = 0; row < rowCount; row++) {
                batch.addContinuing(row);
            }
            batch.add(rowCount, prompt, 0, chunk, false);
            backend.enqueue(batch);
            long start = 0;
            long calls = 0;
            for (int step = -MIXED_WARM; step < MIXED_STEPS; step++) {
                if (step == 0) {
                    start = System.nanoTime();
                    calls = 0;
                }
                long called = System.nanoTime();
                backend.enqueue(batch);
                calls += System.nanoTime() - called;
                backend.await(result);
            }
            double micros = (System.nanoTime() - start) / 1e3 / MIXED_STEPS;
            backend.await(result);
            report.add(
                    "mixed",
                    model + " " + item,
                    String.format("step %,.0f us, the call %,.0f us", micros, calls / 1e3 / MIXED_STEPS));
        }
    }

    private void decode(CudaBackend backend, String model, int rowCount) {
        var batch = new Batch(rowCount, backend.tokenCountMax());
        var result = new StepResult(rowCount, backend.tokenCountMax());
        fillSlots(backend, rowCount, batch, result);
        var nanos = new ArrayList<Long>();
        int steps = 160;
        int warm = 32;
        long start = 0;
        batch.clear();
        for (int row = 0; row < rowCount; row++) {
            batch.addContinuing(row);
        }
        backend.enqueue(batch);
        for (int step = 0; step < steps; step++) {
            if (step == warm) {
                start = System.nanoTime();
            }
            backend.enqueue(batch);
            backend.await(result);
            nanos.add(result.nanos());
        }
        double seconds = (System.nanoTime() - start) / 1e9;
        backend.await(result);
        double rate = rowCount * (steps - warm) / seconds;
        nanos.sort(Long::compare);
        report.add(
                "decode",
                model + " B=" + rowCount,
                String.format(
                        "%,.0f tok/s, step %.1f us (device median %.1f, min %.1f)",
                        rate, 1e6 * seconds / (steps - warm), nanos.get(steps / 2) / 1e3, nanos.get(0) / 1e3));
    }

    private static void fillSlots(CudaBackend backend, int rowCount, Batch batch, StepResult result) {
        fillSlots(
                backend,
                rowCount,
                new SplittableRandom(7).ints(CONTEXT, 0, 50_000).toArray(),
                batch,
                result);
    }

    /** Lets the slots of so many rows hold the state after a prompt, of which they go on greedily. */
    static void fillSlots(CudaBackend backend, int rowCount, int[] prompt, Batch batch, StepResult result) {
        var greedy = new RowSampling(SamplingParams.GREEDY, 1, 0, new int[0], 0, 1 << 30, -1, new int[0]);
        for (int slot = 0; slot < rowCount; slot++) {
            backend.configure(slot, greedy);
        }
        backend.zero(0);
        int chunk = backend.tokenCountMax();
        for (int from = 0; from < prompt.length; from += chunk) {
            batch.clear();
            batch.add(0, prompt, from, Math.min(from + chunk, prompt.length), from + chunk >= prompt.length);
            backend.enqueue(batch);
            backend.await(result);
        }
        for (int slot = 1; slot < rowCount; slot++) {
            backend.copy(0, slot);
        }
    }

    private void prefill(CudaBackend backend, String model, int tokens) {
        var batch = new Batch(8, tokens);
        var result = new StepResult(8, tokens);
        var random = new SplittableRandom(7);
        int[] prompt = random.ints(tokens, 0, 50_000).toArray();
        var greedy = new RowSampling(SamplingParams.GREEDY, 1, 0, new int[0], 0, 1 << 30, -1, new int[0]);
        for (int rowCount : new int[] {1, 4}) {
            long best = Long.MAX_VALUE;
            for (int i = 0; i < 4 + GraphCache.OCCURRENCES; i++) {
                batch.clear();
                for (int slot = 0; slot < rowCount; slot++) {
                    backend.zero(slot);
                    backend.configure(slot, greedy);
                    batch.add(slot, prompt, 0, tokens / rowCount, true);
                }
                backend.enqueue(batch);
                backend.await(result);
                best = Math.min(best, result.nanos());
            }
            String name = model + " " + rowCount + " x " + tokens / rowCount;
            report.add("prefill", name, String.format("%,.0f tok/s, %.0f us", tokens * 1e9 / best, best / 1e3));
        }
    }

    private void profilePrefill(CudaBackend backend, SelectingDevice device, String model, int tokens) {
        var batch = new Batch(8, tokens);
        var result = new StepResult(8, tokens);
        batch.add(0, new SplittableRandom(7).ints(tokens, 0, 50_000).toArray(), 0, tokens, true);
        device.select(key -> true);
        backend.forgetGraphs(); // a replay tells of no launches
        backend.zero(0);
        backend.enqueue(batch);
        backend.await(result);
        for (var kind : device.launchCounts().entrySet()) {
            device.select(kind.getKey()::equals);
            backend.forgetGraphs();
            long best = Long.MAX_VALUE;
            for (int i = 0; i < 3 + GraphCache.OCCURRENCES; i++) {
                backend.enqueue(batch);
                backend.await(result);
                best = Math.min(best, result.nanos());
            }
            String name = model + " prefill " + tokens + " " + kind.getKey();
            report.add("profile", name, String.format("%.1f us, %d launches", best / 1e3, kind.getValue()));
        }
        device.select(key -> true);
    }

    private void profile(CudaBackend backend, SelectingDevice device, String model, int rowCount) {
        device.select(key -> true);
        backend.capture(rowCount);
        var counts = device.launchCounts();
        double whole = replayMicros(backend, device, rowCount, key -> true);
        for (var kind : counts.entrySet()) {
            double alone = replayMicros(backend, device, rowCount, kind.getKey()::equals);
            double others = replayMicros(
                    backend, device, rowCount, key -> !kind.getKey().equals(key));
            int count = kind.getValue() / 2; // a capture launches everything twice
            report.add(
                    "profile",
                    model + " B=" + rowCount + " " + kind.getKey(),
                    String.format(
                            "%.1f us alone, %d launches, %.2f us each; %.1f us in the step's %.1f",
                            alone, count, alone / count, whole - others, whole));
        }
        device.select(key -> true);
    }

    /** Of a graph of the selected launches of a step, run again and again. */
    static double replayMicros(CudaBackend backend, SelectingDevice device, int rowCount, Predicate<String> selection) {
        int start = device.createEvent();
        int end = device.createEvent();
        device.select(selection);
        int graph = backend.capture(rowCount);
        backend.uploadRows(rowCount);
        for (int i = 0; i < 3; i++) {
            device.replay(graph);
        }
        device.record(start);
        for (int i = 0; i < 32; i++) {
            device.replay(graph);
        }
        device.record(end);
        device.await(end);
        return device.nanosBetween(start, end) / 32e3;
    }
}
