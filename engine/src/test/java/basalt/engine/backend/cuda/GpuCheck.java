package basalt.engine.backend.cuda;

import basalt.engine.EngineException.DeviceFailure;
import basalt.engine.SamplingParams;
import basalt.engine.backend.Batch;
import basalt.engine.backend.RowSampling;
import basalt.engine.backend.StepResult;
import basalt.engine.model.Checkpoint;
import basalt.engine.model.ElementType;
import basalt.engine.model.Golden;
import basalt.engine.model.ModelConfig;
import basalt.engine.model.Weights;
import basalt.engine.state.StateImage;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;

/**
 * All checks and measurements that need a GPU, as one program: prints a table, and writes the same as JSON. Arguments:
 * the JSON file, then the names of sections, all of them if none.
 */
public final class GpuCheck {
    private final List<Row> rows = new ArrayList<>();

    /** One line of the table. */
    private record Row(String section, String name, String value) {}

    private GpuCheck() {}

    /** Runs the sections. */
    public static void main(String[] arguments) throws IOException {
        try {
            JcudaDevice.count();
        } catch (DeviceFailure e) {
            System.err.println("gpu-check: " + e.getMessage());
            System.exit(1);
        }
        var check = new GpuCheck();
        var sections = List.of(arguments).subList(1, arguments.length);
        for (String section : sections) {
            long start = System.nanoTime();
            try {
                check.run(section);
            } catch (RuntimeException | AssertionError e) {
                e.printStackTrace();
                check.add(section, "failed", e.toString());
            }
            System.out.printf("# %s took %.1f s%n", section, (System.nanoTime() - start) / 1e9);
            Files.writeString(Path.of(arguments[0]), check.json());
        }
    }

    private void run(String section) {
        String[] parts = section.split(":", -1);
        switch (parts[0]) {
            case "probe" -> probe();
            case "goldens" -> goldens(Golden.NAMES);
            case "golden" -> goldens(List.of(parts[1]));
            case "small" -> small(parts[1]);
            case "modes" ->
                new GpuModes(config(parts[1]), (name, value) -> add("modes", parts[1] + " " + name, value))
                        .run(parts[2]);
            case "draws" -> draws();
            case "sanitize" -> sanitize(parts[1]);
            case "rules" -> rules(Path.of(parts[1]));
            case "memory" -> memory();
            case "sessions" -> sessions(Path.of(parts[1]));
            case "replicas" -> replicas(Path.of(parts[1]));
            case "replicas-bench" -> replicasBench(parts[1], Integer.parseInt(parts[2]));
            case "promotion" -> promotion(parts[1], Integer.parseInt(parts[2]));
            case "long" -> longTaylor(Integer.parseInt(parts[1]));
            case "bench" -> new GpuBench(parts[1], config(parts[1]), false, this::add).run(parts[2]);
            case "sampling" ->
                new GpuSamplingBench(config(parts[1]), (name, value) -> add("sampling", parts[1] + " " + name, value))
                        .run(parts[2]);
            case "deterministic" -> new GpuBench(parts[1], config(parts[1]), true, this::add).run(parts[2]);
            default -> throw new IllegalArgumentException("section = " + section);
        }
    }

    private void probe() {
        try (var device = new JcudaDevice(0, ElementType.BF16)) {
            long bytes = 4L << 30;
            long buffer = device.allocate(bytes);
            long sink = device.allocate(4);
            device.fill(buffer, 0x11, bytes);
            var arguments = new KernelArguments();
            int start = device.createEvent();
            int end = device.createEvent();
            double best = 0;
            for (int i = 0; i < 10; i++) {
                device.record(start);
                arguments.clear().add(buffer).add(bytes / 16).add(sink);
                device.launch(Kernel.READ_PROBE, 132 * 4, 1, 512, 0, arguments);
                device.record(end);
                device.await(end);
                best = Math.max(best, bytes / (double) device.nanosBetween(start, end));
            }
            add("probe", device.name() + " read GB/s", Math.round(best));
            add("probe", "a launch / a product, us of the calling thread", callMicros(device, buffer, sink));
        }
    }

    private static String callMicros(JcudaDevice device, long buffer, long sink) {
        int calls = 500; // fewer than a stream takes at once
        var arguments = new KernelArguments();
        double launch = Double.MAX_VALUE;
        double product = Double.MAX_VALUE;
        for (int round = 0; round < 20; round++) {
            device.synchronize();
            long start = System.nanoTime();
            for (int i = 0; i < calls; i++) {
                arguments.clear().add(buffer).add(0L).add(sink);
                device.launch(Kernel.READ_PROBE, 1, 1, 512, 0, arguments);
            }
            launch = Math.min(launch, (System.nanoTime() - start) / 1e3 / calls);
            device.synchronize();
            start = System.nanoTime();
            for (int i = 0; i < calls; i++) {
                device.multiply(
                        new Device.Product(buffer, buffer + (1 << 20), buffer + (2 << 20), 64, 64, 64, false, false));
            }
            product = Math.min(product, (System.nanoTime() - start) / 1e3 / calls);
        }
        return String.format("%.1f / %.1f", launch, product);
    }

    private void goldens(List<String> names) {
        for (String golden : names) {
            for (ElementType type : List.of(ElementType.F32, ElementType.BF16)) {
                for (boolean isDeterministic : type == ElementType.F32 ? List.of(false) : List.of(false, true)) {
                    golden(golden, type, isDeterministic);
                }
            }
        }
    }

    private void golden(String golden, ElementType type, boolean isDeterministic) {
        var errors = Goldens.errors(golden, type, isDeterministic, t -> new JcudaDevice(0, t));
        boolean isF32 = type == ElementType.F32;
        boolean isGood = errors.areWithin(
                isF32 ? Goldens.F32_ERROR_MAX : Goldens.BF16_ERROR_MEAN_MAX,
                isF32 ? Goldens.F32_ERROR_MAX : Goldens.BF16_ERROR_MAX);
        String name = golden + " " + type + (isDeterministic ? " deterministic" : "");
        add("goldens", name, (isGood ? "ok " : "FAILED ") + errors);
    }

    /**
     * Every kernel of a golden's model a few times: what a sanitizer gets through. Two prompts, then steps of so many
     * rows that they go through each kind of projection, with the convolution's step among what follows it; the last
     * one beside another prompt.
     */
    private void small(String golden) {
        int[] steps = {12, 66, 2}; // rows; in the second the second row folds, then the first
        int rows = 66;
        try (var checkpoint = Checkpoint.open(Golden.open(golden).directory())) {
            var options = new CudaBackend.Options(rows + 1, rows, 80, false, ElementType.BF16);
            var device = new JcudaDevice(0, ElementType.BF16);
            try (var backend = CudaBackend.open(device, checkpoint.config(), checkpoint.weights(), options)) {
                var batch = new Batch(rows, 80);
                var result = new StepResult(rows, 80);
                for (int slot = 0; slot <= rows; slot++) {
                    backend.zero(slot);
                    backend.configure(slot, smallSampling(slot));
                }
                batch.add(0, new int[30], 0, 30, true);
                batch.add(1, new int[31], 0, 31, true);
                int begun = 2;
                for (int count : steps) {
                    backend.enqueue(batch);
                    backend.await(result);
                    batch.clear();
                    for (int slot = 0; slot < count; slot++) {
                        if (slot < begun) {
                            batch.addContinuing(slot);
                        } else {
                            batch.add(slot, new int[1], 0, 1, true);
                        }
                    }
                    begun = Math.max(begun, count);
                }
                batch.add(rows, new int[37], 0, 37, true);
                backend.enqueue(batch);
                backend.await(result);
                add(
                        "small",
                        golden,
                        "two prompts, steps of " + Arrays.toString(steps) + " rows, the last beside a prompt");
            }
        }
    }

    /** Of all ids, of what every filter leaves with the likeliest ids beside it, or penalized. */
    private static RowSampling smallSampling(int slot) {
        var params = switch (slot % 3) {
            case 0 -> SamplingParams.DEFAULT;
            case 1 -> SamplingParams.DEFAULT.withFilters(40, 0.9f, 0.02f);
            default -> new SamplingParams(1, 0, 0.9f, 0, 0.5f, 0.3f, 1.2f, Map.of(20, 3f));
        };
        return new RowSampling(params, 1, 0, new int[0], 0, 1 << 30, slot % 3 == 1 ? 5 : -1, new int[0]);
    }

    /** The same, or a random model's two modes, under compute-sanitizer, in processes of their own. */
    private void sanitize(String model) {
        String section = Golden.NAMES.contains(model) ? "small:" + model : "modes:" + model + ":2";
        GpuSanitize.find()
                .ifPresentOrElse(
                        tool -> new GpuSanitize(tool, (name, value) -> add("sanitize", name + " " + model, value))
                                .run(GpuSanitize.command(section)),
                        () -> add("sanitize", model, "skipped: there is no compute-sanitizer"));
    }

    /** Of vocabularies whose rows are aligned and not, up to 2^18 ids. No kernel here knows the type of elements. */
    private void draws() {
        for (int[] sizes : new int[][] {
            {19, 19, 24}, {2_999, 2_999, 256}, {50_257, 50_257, 24}, {50_257, 50_264, 256}, {262_144, 262_144, 16}
        }) {
            try (var device = new JcudaDevice(0, ElementType.BF16)) {
                var draws =
                        new GpuDraws(device, sizes[0], sizes[1], sizes[2], (name, value) -> add("draws", name, value));
                draws.everyFilter();
                draws.ties();
                draws.poisoned();
                draws.random(new long[] {1, 2, 3, 4}, sizes[2]);
            }
        }
    }

    private void rules(Path model) {
        try (var checkpoint = Checkpoint.open(model)) {
            var rules = new GpuRules(
                    checkpoint, type -> new JcudaDevice(0, type), (name, value) -> add("rules", name, value));
            rules.argmaxIsTheCpus(50);
            rules.drawsAreTheCpus(6, 60);
            rules.bitsDependOnTheRowAlone();
        }
    }

    private void sessions(Path model) {
        try (var checkpoint = Checkpoint.open(model)) {
            for (ElementType type : List.of(ElementType.BF16, ElementType.F32)) {
                new GpuSessions(
                                checkpoint,
                                type,
                                120,
                                t -> new JcudaDevice(0, t),
                                (name, value) -> add("sessions", type + " " + name, value))
                        .run();
            }
        }
    }

    private void replicas(Path model) {
        int count = JcudaDevice.count();
        var devices = new GpuReplicas.Devices(
                count,
                ordinal -> new JcudaDevice(ordinal, ElementType.BF16),
                ordinal -> add("replicas", "device " + ordinal + " made to fail", DeviceTrap.spring(ordinal)));
        try (var checkpoint = Checkpoint.open(model)) {
            new GpuReplicas(
                            checkpoint,
                            ElementType.BF16,
                            devices,
                            new GpuReplicas.Sizes(16, 40, 120, 4_000),
                            (name, value) -> add("replicas", name, value))
                    .run();
        }
    }

    private void replicasBench(String model, int rowCount) {
        ModelConfig config = config(model);
        var options = new CudaBackend.Options(rowCount + 1, rowCount, Math.max(rowCount, 512), false, ElementType.BF16);
        try (var arena = Arena.ofShared()) {
            Weights weights = new BenchmarkModels(arena, 1).weights(config);
            new GpuReplicasBench(
                            JcudaDevice.count(),
                            ordinal -> CudaBackend.open(config, weights, options, ordinal),
                            new GpuReplicasBench.Sizes(rowCount, 1024, 50_000, 32, 128),
                            (name, value) -> add("replicas", model + " " + name, value))
                    .run();
        }
    }

    private void promotion(String model, int rowCount) {
        ModelConfig config = config(model);
        try (var arena = Arena.ofShared()) {
            Weights weights = new BenchmarkModels(arena, 1).weights(config);
            var sizes = new GpuPromotion.Sizes(2_000, rowCount);
            new GpuPromotion(
                            new JcudaDevice(0, ElementType.BF16),
                            config,
                            weights,
                            sizes,
                            (name, value) -> add("promotion", model + " " + name, value))
                    .run();
        }
    }

    private static ModelConfig config(String model) {
        return switch (model) {
            case "narrow" -> BenchmarkModels.narrow();
            case "360m" -> BenchmarkModels.small();
            case "1.3b" -> BenchmarkModels.large();
            default -> throw new IllegalArgumentException("model = " + model);
        };
    }

    private void longTaylor(int tokens) {
        try (var device = new JcudaDevice(0, ElementType.BF16)) {
            var taylor = new LongTaylor(device, tokens, 3);
            double[] errors = {taylor.errorByTokens(), taylor.errorByChunks()};
            boolean isGood = Math.max(errors[0], errors[1]) <= LongTaylor.ERROR_MAX;
            add(
                    "taylor",
                    "error after " + tokens + " tokens, one by one / in chunks",
                    String.format("%s %.2e / %.2e", isGood ? "ok" : "FAILED", errors[0], errors[1]));
        }
    }

    /** As many slots of the large model as fit, and what a million tokens and ten thousand joins do to the memory. */
    private void memory() {
        ModelConfig config = BenchmarkModels.large();
        try (var arena = Arena.ofShared()) {
            Weights weights = new BenchmarkModels(arena, 1).weights(config);
            var options = new CudaBackend.Options(0, 128, 512, false, ElementType.BF16);
            var device = new JcudaDevice(0, ElementType.BF16);
            long before = device.freeBytes();
            try (var backend = CudaBackend.open(device, config, weights, options)) {
                long used = before - device.freeBytes();
                add(
                        "memory",
                        "1.3b bytes per slot, layout / with controls",
                        backend.layout().bytes() + " / " + backend.bytesPerSlot());
                add("memory", "1.3b slots that fit beside the model", backend.slotCount());
                add("memory", "1.3b device memory used, MB", used >> 20);
                var greedy = new RowSampling(SamplingParams.GREEDY, 1, 0, new int[0], 0, 1 << 30, -1, new int[0]);
                for (int join = 0; join < 10_000; join++) {
                    backend.zero(join % backend.slotCount());
                    backend.configure(join % backend.slotCount(), greedy);
                }
                add("memory", "1.3b growth over 10,000 joins, bytes", before - device.freeBytes() - used);
                var batch = new Batch(128, 512);
                var result = new StepResult(128, 512);
                long[] nanos = new long[2];
                for (int i = 0; i < 2; i++) {
                    var image = new StateImage(backend.layout());
                    image.tokenCount(i == 0 ? 1_000 : 1_000_000);
                    backend.load(0, image);
                    batch.clear();
                    batch.add(0, new int[] {5}, 0, 1, true);
                    for (int step = 0; step < 40; step++) {
                        backend.enqueue(batch);
                        backend.await(result);
                        nanos[i] += step < 8 ? 0 : result.nanos() / 32;
                        batch.clear();
                        batch.addContinuing(0);
                    }
                }
                add("memory", "1.3b step at position 1,000 / 1,000,000, us", nanos[0] / 1000 + " / " + nanos[1] / 1000);
                var image = new StateImage(backend.layout());
                long[] best = {Long.MAX_VALUE, Long.MAX_VALUE};
                for (int i = 0; i < 8; i++) {
                    long start = System.nanoTime();
                    backend.save(0, image);
                    long saved = System.nanoTime();
                    backend.load(1, image);
                    backend.enqueue(batch); // returns when the device has the state
                    backend.await(result);
                    best[0] = Math.min(best[0], saved - start);
                    best[1] = Math.min(best[1], System.nanoTime() - saved);
                }
                add("memory", "1.3b save / load and a step, us", best[0] / 1000 + " / " + best[1] / 1000);
            }
        }
    }

    private void add(String section, String name, Object value) {
        System.out.printf("%-10s %-60s %s%n", section, name, value);
        rows.add(new Row(section, name, value.toString()));
    }

    private String json() {
        var text = new StringBuilder("[");
        for (Row row : rows) {
            text.append(text.length() == 1 ? "\n" : ",\n")
                    .append("  {\"section\": ")
                    .append(quoted(row.section()))
                    .append(", \"name\": ")
                    .append(quoted(row.name()))
                    .append(", \"value\": ")
                    .append(quoted(row.value()))
                    .append('}');
        }
        return text.append("\n]\n").toString();
    }

    private static String quoted(String text) {
        return '"' + text.replace("\\", "\\\\").replace("\"", "\\\"").replace("\n", " ") + '"';
    }
}
