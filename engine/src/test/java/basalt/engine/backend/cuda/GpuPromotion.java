package basalt.engine.backend.cuda;

import basalt.engine.SamplingParams;
import basalt.engine.backend.Batch;
import basalt.engine.backend.RowSampling;
import basalt.engine.backend.StepResult;
import basalt.engine.model.ElementType;
import basalt.engine.model.ModelConfig;
import basalt.engine.model.Weights;
import basalt.engine.state.SavedState;
import basalt.engine.state.StateImage;
import java.util.ArrayList;
import java.util.List;
import java.util.SplittableRandom;
import java.util.concurrent.locks.LockSupport;
import java.util.function.BiConsumer;
import java.util.function.IntConsumer;

/** What it costs to take a state out of a slot and to bring it back, against reading its tokens again. */
final class GpuPromotion {
    private static final int ROUNDS = 20;
    private static final int STEPS = 100;

    private final Device device;
    private final int[] prompt;
    private final CudaBackend backend;
    private final BiConsumer<String, Object> report;
    private final int rowCount;
    private final Batch batch;
    private final StepResult result;

    /** Opens the backend. */
    GpuPromotion(Device device, ModelConfig config, Weights weights, Sizes sizes, BiConsumer<String, Object> report) {
        this.device = device;
        int rowCount = sizes.rowCount();
        int promptCount = sizes.promptCount();
        prompt =
                new SplittableRandom(7).ints(promptCount, 0, config.vocabSize()).toArray();
        this.report = report;
        this.rowCount = rowCount;
        var options = new CudaBackend.Options(
                rowCount + 2, rowCount + 1, promptCount + rowCount, false, ElementType.BF16, 1L << 30);
        backend = CudaBackend.open(device, config, weights, options);
        batch = new Batch(rowCount + 1, promptCount + rowCount);
        result = new StepResult(rowCount + 1, promptCount + rowCount);
        var greedy = new RowSampling(SamplingParams.GREEDY, 1, 0, new int[0], 0, 1 << 30, -1, new int[0]);
        for (int slot = 0; slot < rowCount + 2; slot++) {
            backend.zero(slot);
            backend.configure(slot, greedy);
        }
    }

    /**
     * What is read and computed.
     *
     * @param promptCount tokens that are read
     * @param rowCount rows that decode beside
     */
    record Sizes(int promptCount, int rowCount) {}

    /** Measures, and closes the device. */
    void run() {
        try (backend) {
            measurePrompt();
            var saved = save(0);
            measureLoad(saved);
            measureSave();
            measureForms(saved);
            measureSteps(backend.prepare(saved));
        }
    }

    private void measurePrompt() {
        var computed = new ArrayList<Double>();
        var wall = new ArrayList<Double>();
        for (int i = 0; i < ROUNDS; i++) {
            long start = System.nanoTime();
            backend.zero(0);
            batch.clear();
            batch.add(0, prompt, 0, prompt.length, true);
            backend.enqueue(batch);
            backend.await(result);
            wall.add((System.nanoTime() - start) / 1e3);
            computed.add(result.nanos() / 1e3);
        }
        add(
                "reading " + prompt.length + " tokens and sampling one, device / first token",
                median(computed),
                median(wall));
    }

    private SavedState save(int slot) {
        while (!backend.canBeginSave()) {
            LockSupport.parkNanos(10_000);
        }
        return backend.beginSave(slot).join();
    }

    private void measureLoad(SavedState saved) {
        int start = device.createEvent();
        int end = device.createEvent();
        var copied = new ArrayList<Double>();
        var called = new ArrayList<Double>();
        var first = new ArrayList<Double>();
        for (int i = 0; i < ROUNDS; i++) {
            device.record(start);
            long began = System.nanoTime();
            backend.load(1, saved);
            called.add((System.nanoTime() - began) / 1e3);
            device.record(end);
            device.await(end);
            copied.add(device.nanosBetween(start, end) / 1e3);

            began = System.nanoTime();
            backend.load(1, saved);
            batch.clear();
            batch.add(1, new int[] {5}, 0, 1, true);
            backend.enqueue(batch);
            backend.await(result);
            first.add((System.nanoTime() - began) / 1e3);
        }
        add(
                "promotion from pinned memory, device / the call / with a step",
                median(copied),
                median(called),
                median(first));
    }

    private void measureSave() {
        var called = new ArrayList<Double>();
        var done = new ArrayList<Double>();
        for (int i = 0; i < ROUNDS; i++) {
            while (!backend.canBeginSave()) {
                LockSupport.parkNanos(10_000);
            }
            long began = System.nanoTime();
            var saving = backend.beginSave(1);
            called.add((System.nanoTime() - began) / 1e3);
            saving.join();
            done.add((System.nanoTime() - began) / 1e3);
        }
        add("saving, the call / until it is done", median(called), median(done));
    }

    private void measureForms(SavedState saved) {
        var made = new ArrayList<Double>();
        var prepared = new ArrayList<Double>();
        var loaded = new ArrayList<Double>();
        StateImage image = saved.image();
        for (int i = 0; i < ROUNDS; i++) {
            long began = System.nanoTime();
            image = saved.image();
            made.add((System.nanoTime() - began) / 1e3);
            while (!backend.canBeginSave()) {
                LockSupport.parkNanos(10_000);
            }
            began = System.nanoTime();
            backend.prepare(image);
            prepared.add((System.nanoTime() - began) / 1e3);
            began = System.nanoTime();
            backend.load(1, image);
            loaded.add((System.nanoTime() - began) / 1e3);
        }
        add("image made / prepared / loaded as it is, CPU", median(made), median(prepared), median(loaded));
    }

    /** Steps alone, with a save, with a load, and with both beside each. */
    private void measureSteps(SavedState saved) {
        for (int slot = 1; slot < rowCount; slot++) {
            backend.copy(0, slot);
        }
        batch.clear();
        for (int slot = 0; slot < rowCount; slot++) {
            batch.add(slot, new int[] {5}, 0, 1, true);
        }
        backend.enqueue(batch);
        backend.await(result);
        double alone = steps(_ -> {});
        double saving = steps(this::saveBeside);
        double loading = steps(_ -> backend.load(rowCount + 1, saved));
        double both = steps(step -> {
            saveBeside(step);
            backend.load(rowCount + 1, saved);
        });
        add("a step of " + rowCount + " rows, alone / a save each / a load each / both", alone, saving, loading, both);
    }

    private void saveBeside(int step) {
        if (backend.canBeginSave()) {
            var _ = backend.beginSave(rowCount + 1).thenAccept(SavedState::release);
        }
    }

    private double steps(IntConsumer beside) {
        batch.clear();
        for (int slot = 0; slot < rowCount; slot++) {
            batch.addContinuing(slot);
        }
        backend.enqueue(batch);
        long start = 0;
        for (int step = -10; step < STEPS; step++) {
            if (step == 0) {
                start = System.nanoTime();
            }
            beside.accept(step);
            backend.enqueue(batch);
            backend.await(result);
        }
        double micros = (System.nanoTime() - start) / 1e3 / STEPS;
        backend.await(result);
        return micros;
    }

    private void add(String name, double... micros) {
        var text = new StringBuilder();
        for (double value : micros) {
            text.append(text.isEmpty() ? "" : " / ").append(String.format("%,.0f", value));
        }
        report.accept(name, text + " us");
    }

    private static double median(List<Double> values) {
        return values.stream().sorted().toList().get(values.size() / 2);
    }
}
