package basalt.engine.backend.cuda;

import basalt.engine.backend.Batch;
import basalt.engine.backend.StepResult;
import java.util.ArrayList;
import java.util.List;
import java.util.SplittableRandom;
import java.util.concurrent.Callable;
import java.util.concurrent.CyclicBarrier;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Executors;
import java.util.function.BiConsumer;
import java.util.function.IntFunction;

/** Decoding on all devices at once, each driven by a thread of its own, against one device alone. */
final class GpuReplicasBench {
    private final int deviceCount;
    private final IntFunction<CudaBackend> open;
    private final Sizes sizes;
    private final BiConsumer<String, Object> report;

    /**
     * How much is run.
     *
     * @param rowCount rows of each device
     * @param promptCount tokens of the prompt that they go on from
     * @param tokenEnd what its tokens are below
     */
    record Sizes(int rowCount, int promptCount, int tokenEnd, int warmSteps, int steps) {}

    /** Moments of the steps that are measured. */
    private record Span(long start, long end) {}

    /** @param open backends of a device with a slot for each row, by its ordinal */
    GpuReplicasBench(int deviceCount, IntFunction<CudaBackend> open, Sizes sizes, BiConsumer<String, Object> report) {
        this.deviceCount = deviceCount;
        this.open = open;
        this.sizes = sizes;
        this.report = report;
    }

    void run() {
        if (deviceCount < 2) {
            report.accept("devices", "skipped: needs two, there is " + deviceCount);
            return;
        }
        var backends = new ArrayList<CudaBackend>();
        try {
            long start = System.nanoTime();
            for (int ordinal = 0; ordinal < deviceCount; ordinal++) {
                backends.add(open.apply(ordinal));
            }
            report.accept(
                    "opening, one device after the other", String.format("%.1f s", (System.nanoTime() - start) / 1e9));
            double one = rate(backends.subList(0, 1));
            report.accept("one device, B=" + sizes.rowCount(), String.format("%,.0f tok/s", one));
            double all = rate(backends);
            report.accept(
                    deviceCount + " devices, B=" + sizes.rowCount() + " each",
                    String.format("%,.0f tok/s, %.2f times one", all, all / one));
        } finally {
            backends.forEach(CudaBackend::close);
        }
    }

    /** Tokens a second, from when the first is warm to when the last has done its steps. */
    private double rate(List<CudaBackend> backends) {
        var barrier = new CyclicBarrier(backends.size());
        var tasks = new ArrayList<Callable<Span>>();
        for (var backend : backends) {
            tasks.add(() -> decode(backend, barrier));
        }
        long start = Long.MAX_VALUE;
        long end = Long.MIN_VALUE;
        try (var threads = Executors.newFixedThreadPool(backends.size())) {
            for (var done : threads.invokeAll(tasks)) {
                start = Math.min(start, done.get().start());
                end = Math.max(end, done.get().end());
            }
        } catch (InterruptedException | ExecutionException e) {
            throw new IllegalStateException(e);
        }
        return 1e9 * backends.size() * sizes.rowCount() * sizes.steps() / (end - start);
    }

    private Span decode(CudaBackend backend, CyclicBarrier barrier) throws Exception {
        int rowCount = sizes.rowCount();
        var batch = new Batch(rowCount, backend.tokenCountMax());
        var result = new StepResult(rowCount, backend.tokenCountMax());
        int[] prompt = new SplittableRandom(7)
                .ints(sizes.promptCount(), 0, sizes.tokenEnd())
                .toArray();
        GpuBench.fillSlots(backend, rowCount, prompt, batch, result);
        batch.clear();
        for (int row = 0; row < rowCount; row++) {
            batch.addContinuing(row);
        }
        backend.enqueue(batch);
        run(backend, batch, result, sizes.warmSteps());
        barrier.await();
        long start = System.nanoTime();
        run(backend, batch, result, sizes.steps());
        long end = System.nanoTime();
        backend.await(result);
        return new Span(start, end);
    }

    private static void run(CudaBackend backend, Batch batch, StepResult result, int steps) {
        for (int step = 0; step < steps; step++) {
            backend.enqueue(batch);
            backend.await(result);
        }
    }
}
