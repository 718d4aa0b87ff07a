package basalt.engine.backend.cuda;

import basalt.engine.SamplingParams;
import basalt.engine.backend.Backend;
import basalt.engine.backend.Batch;
import basalt.engine.backend.RowSampling;
import basalt.engine.backend.StepResult;
import basalt.engine.backend.cpu.CpuBackend;
import basalt.engine.model.Checkpoint;
import basalt.engine.model.ElementType;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.function.BiConsumer;
import java.util.function.Function;

/**
 * What must hold of a trained model on a device: the same tokens as the CPU backend, and in the deterministic mode the
 * same bits whatever else is in the batch, however a prompt is split, and with a save and a load in between.
 */
final class GpuRules {
    /** Logits closer than this may swap places under bf16 rounding. */
    static final float ARGMAX_TOLERANCE = 0.15f;

    private static final int PROMPT = 200;
    private static final int STEPS = 60;

    private final Checkpoint checkpoint;
    private final Function<ElementType, Device> openDevice;
    private final BiConsumer<String, Object> report;

    GpuRules(Checkpoint checkpoint, Function<ElementType, Device> openDevice, BiConsumer<String, Object> report) {
        this.checkpoint = checkpoint;
        this.openDevice = openDevice;
        this.report = report;
    }

    private CudaBackend open(ElementType type, int rows, int tokens, boolean isDeterministic) {
        var options = new CudaBackend.Options(rows + 2, rows, tokens, isDeterministic, type);
        return CudaBackend.open(openDevice.apply(type), checkpoint.config(), checkpoint.weights(), options);
    }

    private CpuBackend openCpu(int rows, int tokens) {
        int threads = Math.min(8, Runtime.getRuntime().availableProcessors());
        return CpuBackend.open(checkpoint.config(), checkpoint.weights(), rows, rows, tokens, threads);
    }

    private static RowSampling sampling(SamplingParams params, long seed, int logprobCount) {
        return new RowSampling(params, seed, 0, new int[0], 0, 1 << 30, logprobCount, new int[0]);
    }

    /** Texts that the model itself writes: scored by both backends, and token by token in batches. */
    void argmaxIsTheCpus(int textCount) {
        int[][] texts;
        try (var backend = open(ElementType.BF16, textCount, 4096, false)) {
            texts = write(backend, textCount, PROMPT, SamplingParams.DEFAULT);
        }
        var scored = new Tally();
        var expected = new ArrayList<StepResult>();
        try (var cpu = openCpu(1, PROMPT);
                var cuda = open(ElementType.BF16, 1, PROMPT, false)) {
            var actual = new StepResult(1, PROMPT);
            for (int[] text : texts) {
                var result = new StepResult(1, PROMPT);
                score(cpu, text, result);
                expected.add(result);
                score(cuda, text, actual);
                for (int i = 0; i < PROMPT - 1; i++) {
                    scored.add(result, i, actual.scoreTopIds[i * StepResult.TOP_COUNT_MAX]);
                }
            }
        }
        report.accept("argmax of " + textCount + " texts against the CPU", scored.verdict());
        for (int rows : new int[] {8, 24, textCount, 2 * textCount, 4 * textCount}) {
            report.accept(
                    "argmax in batches of " + rows,
                    inBatch(texts, expected, rows, 0).verdict());
        }
        for (int beside : new int[] {90, 180}) {
            report.accept(
                    "argmax in batches of 24 beside prompts of " + beside,
                    inBatch(texts, expected, 24, beside).verdict());
        }
    }

    /**
     * The first texts, a row each, again from the first one on where rows are more; one token a step.
     *
     * @param beside tokens of one more row, which each step reads from the beginning of some text
     */
    private Tally inBatch(int[][] texts, List<StepResult> expected, int rows, int beside) {
        var tally = new Tally();
        int prompts = beside > 0 ? 1 : 0;
        try (var backend = open(ElementType.BF16, rows + prompts, rows + PROMPT, false)) {
            var batch = new Batch(rows + prompts, rows + PROMPT);
            var result = new StepResult(rows + prompts, rows + PROMPT);
            backend.configure(rows, sampling(SamplingParams.GREEDY, 1, -1));
            for (int row = 0; row < rows; row++) {
                backend.zero(row);
                backend.configure(row, sampling(SamplingParams.GREEDY, 1, -1));
            }
            for (int i = 0; i < PROMPT - 1; i++) {
                batch.clear();
                for (int row = 0; row < rows; row++) {
                    batch.add(row, texts[row % texts.length], i, i + 1, true);
                }
                int text = i % texts.length;
                if (beside > 0) {
                    backend.zero(rows);
                    batch.add(rows, texts[text], 0, beside, true);
                }
                backend.enqueue(batch);
                backend.await(result);
                for (int row = 0; row < rows; row++) {
                    tally.add(expected.get(row % texts.length), i, result.tokens[row]);
                }
                if (beside > 0) {
                    tally.add(expected.get(text), beside - 1, result.tokens[rows]);
                }
            }
        }
        return tally;
    }

    /** How often the likeliest id is the CPU's. */
    private static final class Tally {
        private int equal;
        private int excused;
        private int wrong;

        void add(StepResult expected, int token, int actualTopId) {
            int at = token * StepResult.TOP_COUNT_MAX;
            if (expected.scoreTopIds[at] == actualTopId) {
                equal++;
            } else if (expected.scoreTopLogprobs[at] - expected.scoreTopLogprobs[at + 1] < ARGMAX_TOLERANCE) {
                excused++;
            } else {
                wrong++;
            }
        }

        String verdict() {
            double share = 100.0 * excused / (equal + excused + wrong);
            return String.format(
                    "%s: %d equal, %d excused (%.2f %%), %d wrong",
                    wrong == 0 && share <= 3 ? "ok" : "FAILED", equal, excused, share, wrong);
        }
    }

    private static void score(Backend backend, int[] text, StepResult result) {
        var batch = new Batch(1, PROMPT);
        backend.zero(0);
        batch.add(0, text, 0, PROMPT, false);
        batch.score(2, -1);
        backend.enqueue(batch);
        backend.await(result);
    }

    /** Rows that sample from one token on. */
    private static int[][] write(Backend backend, int rowCount, int length, SamplingParams params) {
        var batch = new Batch(rowCount, Math.max(rowCount, 4096));
        var result = new StepResult(rowCount, Math.max(rowCount, 4096));
        var texts = new int[rowCount][length];
        for (int row = 0; row < rowCount; row++) {
            backend.zero(row);
            backend.configure(row, sampling(params, 1_000 + row, -1));
            texts[row][0] = 10 + row;
        }
        for (int i = 1; i < length; i++) {
            batch.clear();
            for (int row = 0; row < rowCount; row++) {
                if (i == 1) {
                    batch.add(row, texts[row], 0, 1, true);
                } else {
                    batch.addContinuing(row);
                }
            }
            backend.enqueue(batch);
            backend.await(result);
            for (int row = 0; row < rowCount; row++) {
                texts[row][i] = result.tokens[row];
            }
        }
        return texts;
    }

    /** In f32 the logits differ by rounding alone, so draws of the same seeds are the same. */
    void drawsAreTheCpus(int rows, int length) {
        var all = List.of(
                SamplingParams.GREEDY,
                SamplingParams.DEFAULT,
                SamplingParams.DEFAULT.withFilters(40, 1, 0),
                SamplingParams.DEFAULT.withFilters(0, 0.9f, 0),
                SamplingParams.DEFAULT.withTemperature(0.7f).withFilters(50, 0.95f, 0.02f),
                new SamplingParams(1, 0, 1, 0, 0.5f, 0.3f, 1.2f, Map.of(20, 3f, 30, -5f)));
        try (var cpu = openCpu(rows, 4096);
                var cuda = open(ElementType.F32, rows, 4096, false)) {
            for (SamplingParams params : all) {
                int[][] expected = write(cpu, rows, length, params);
                int[][] actual = write(cuda, rows, length, params);
                int[][] again = write(cuda, rows, length, params);
                int equal = 0;
                for (int row = 0; row < rows; row++) {
                    equal += Arrays.equals(expected[row], actual[row]) ? 1 : 0;
                }
                boolean isRepeatable = Arrays.deepEquals(actual, again);
                report.accept(
                        "draws " + params,
                        String.format(
                                "%s: %d of %d texts equal the CPU's, run again %s",
                                equal == rows && isRepeatable ? "ok" : "FAILED",
                                equal,
                                rows,
                                isRepeatable ? "the same" : "DIFFERENT"));
            }
        }
    }

    /** How a prompt goes in, and what else is there. */
    private record Way(int chunk, int otherRows, boolean isSavedBetween) {}

    /** Equal bits in the deterministic mode, seen through tokens and log-probabilities. */
    void bitsDependOnTheRowAlone() {
        int rows = 128;
        int[] prompt = new int[PROMPT];
        for (int i = 0; i < PROMPT; i++) {
            prompt[i] = 100 + i * 37 % 5000;
        }
        try (var backend = open(ElementType.BF16, rows, 1024, true)) {
            var first = run(backend, prompt, new Way(PROMPT, 0, false), rows);
            for (Way way : List.of(
                    new Way(7, 0, false), new Way(64, 6, false), new Way(PROMPT, 127, false), new Way(33, 6, true))) {
                boolean isSame = Arrays.equals(first, run(backend, prompt, way, rows));
                report.accept("deterministic " + way, isSame ? "ok: the same bits" : "FAILED: other bits");
            }
        }
        try (var backend = open(ElementType.BF16, rows, 1024, false)) {
            var first = run(backend, prompt, new Way(PROMPT, 6, false), rows);
            var again = run(backend, prompt, new Way(PROMPT, 6, false), rows);
            report.accept("fast mode, run again", Arrays.equals(first, again) ? "ok: the same bits" : "FAILED");
        }
    }

    private float[] run(CudaBackend backend, int[] prompt, Way way, int rowsMax) {
        int slot = way.otherRows() == 0 ? 0 : 5;
        var batch = new Batch(rowsMax, 1024);
        var result = new StepResult(rowsMax, 1024);
        for (int s = 0; s < rowsMax; s++) {
            backend.poison(s);
            backend.zero(s);
            backend.configure(s, sampling(SamplingParams.DEFAULT, s == slot ? 42 : s, 0));
        }
        for (int from = 0; from < prompt.length; from += way.chunk()) {
            int to = Math.min(from + way.chunk(), prompt.length);
            batch.clear();
            batch.add(slot, prompt, from, to, to == prompt.length);
            backend.enqueue(batch);
            backend.await(result);
        }
        float[] seen = new float[2 * STEPS];
        for (int step = 0; step < STEPS; step++) {
            int row = 0;
            if (step > 0) {
                batch.clear();
                for (int s = 0, others = 0; s < rowsMax; s++) {
                    if (s == slot) {
                        row = batch.rowCount();
                        batch.addContinuing(s);
                    } else if (others < way.otherRows()) {
                        others++;
                        if (step == 1) {
                            batch.add(s, prompt, s % 50, s % 50 + 1, true);
                        } else {
                            batch.addContinuing(s);
                        }
                    }
                }
                backend.enqueue(batch);
                backend.await(result);
            }
            seen[2 * step] = result.tokens[row];
            seen[2 * step + 1] = result.logprobs[row];
            if (way.isSavedBetween() && step == 20) {
                int last = result.tokens[row];
                var saved = backend.beginSave(slot);
                backend.poison(slot);
                backend.load(slot, saved.join());
                batch.clear();
                batch.add(slot, new int[] {last}, 0, 1, true);
                backend.enqueue(batch);
                backend.await(result);
                step++;
                seen[2 * step] = result.tokens[0];
                seen[2 * step + 1] = result.logprobs[0];
            }
        }
        return seen;
    }
}
