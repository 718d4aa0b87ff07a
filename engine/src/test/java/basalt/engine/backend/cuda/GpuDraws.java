package basalt.engine.backend.cuda;

import basalt.engine.backend.StepResult;
import basalt.engine.backend.cpu.CpuDraws;
import basalt.engine.backend.cuda.DrawKernels.Draw;
import basalt.engine.backend.cuda.DrawKernels.Row;
import basalt.engine.backend.cuda.DrawKernels.Sampled;
import basalt.engine.backend.cuda.DrawKernels.Scored;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.SplittableRandom;
import java.util.function.BiConsumer;
import java.util.stream.IntStream;
import org.jspecify.annotations.Nullable;

/**
 * The kernels that draw tokens and score them, by themselves, against the CPU backend: on logits that no model makes,
 * with every filter. All that a launch leaves is compared, and that it leaves everything else alone.
 */
final class GpuDraws {
    /** Of a log-probability, relative to it: sums of f32 in another order, exponentials of another library. */
    private static final float LOGPROB_TOLERANCE = 2e-5f;

    private static final int TOP = StepResult.TOP_COUNT_MAX;

    // Arrays of the results.
    private static final int TOKENS = 0;
    private static final int CONSUMED = 1;
    private static final int LOGPROBS = 2;
    private static final int TOP_IDS = 3;
    private static final int TOP_LOGPROBS = 4;
    private static final int SCORES = 5;
    private static final int SCORE_TOP_IDS = 6;
    private static final int SCORE_TOP_LOGPROBS = 7;
    private static final String[] ARRAYS = {
        "tokens", "consumed", "logprobs", "top ids", "top logprobs", "scores", "score top ids", "score top logprobs"
    };

    private final BiConsumer<String, Object> report;
    private final String name;
    private final int vocabSize;
    private final DrawCases cases;
    private final CpuDraws cpu;
    private final DrawKernels kernels;
    private final List<String> failures = new ArrayList<>();
    private int drawCount;
    private @Nullable String current; // what failures are of

    /**
     * Of one vocabulary.
     *
     * @param stride logits from a row to the next
     * @param rowCount of a launch at most
     */
    GpuDraws(Device device, int vocabSize, int stride, int rowCount, BiConsumer<String, Object> report) {
        this.report = report;
        this.vocabSize = vocabSize;
        name = vocabSize + " ids, " + stride + " apart, ";
        cases = new DrawCases(vocabSize);
        cpu = new CpuDraws(vocabSize);
        kernels = new DrawKernels(device, vocabSize, stride, rowCount);
    }

    /** Every kind of logits under each filter. */
    void everyFilter() {
        run(cases.everyFilter(), new SplittableRandom(1));
        finish("every filter");
    }

    /** Filters that end among equal logits. */
    void ties() {
        run(cases.ties(), new SplittableRandom(1));
        finish("ties");
    }

    /** Anything at all, so many rows for each seed. */
    void random(long[] seeds, int rowCount) {
        for (long seed : seeds) {
            current = "seed " + seed;
            run(cases.random(seed, rowCount), new SplittableRandom(seed));
        }
        finish(seeds.length + " seeds");
    }

    /** Logits of a model that has lost itself, between others: these are drawn as ever, those draw some id. */
    void poisoned() {
        run(cases.poisoned(), new SplittableRandom(1));
        finish("poisoned");
    }

    private void finish(String what) {
        report.accept(
                name + what,
                failures.isEmpty()
                        ? "ok " + drawCount + " draws"
                        : "FAILED " + failures.size() + " words of " + drawCount + " draws: "
                                + String.join("; ", failures.subList(0, Math.min(failures.size(), 4))));
        failures.clear();
        drawCount = 0;
    }

    private void run(List<Draw> draws, SplittableRandom random) {
        drawCount += draws.size();
        int most = kernels.rowCountMax() * 3 / 4; // the rest is rows that do not draw
        for (int from = 0; from < draws.size(); from += most) {
            var some = draws.subList(from, Math.min(from + most, draws.size()));
            checkSamples(place(some, random));
            checkScores(some, random);
        }
    }

    /** Rows of a launch at slots, logits and results in any order, among others that do not draw. */
    private List<Row> place(List<Draw> draws, SplittableRandom random) {
        int rowCount = kernels.rowCountMax();
        int[] slots = shuffled(rowCount, random);
        int[] picks = shuffled(draws.size(), random);
        int[] resultRows = shuffled(rowCount, random);
        int[] kinds = shuffled(rowCount, random);
        var rows = new ArrayList<Row>();
        for (int i = 0; i < rowCount; i++) {
            int kind = kinds[i];
            int count = random.nextInt(3) > 0 ? 1 : random.nextInt(1, 50);
            if (kind < draws.size()) {
                rows.add(new Row(draws.get(kind), slots[i], picks[kind], resultRows[i], count));
                continue;
            }
            var draw = draws.get(random.nextInt(draws.size())); // of which the row may not draw
            int pick = picks[draws.indexOf(draw)];
            switch (kind % 4) {
                case 0 -> rows.add(new Row(draw, -1, -1, -1, 1)); // padding
                case 1 -> rows.add(new Row(draw, -1, pick, resultRows[i], count)); // frozen
                case 2 -> rows.add(new Row(draw, -1, -1, resultRows[i], count)); // frozen, and does not sample
                default -> rows.add(new Row(draw, slots[i], -1, resultRows[i], count)); // does not sample
            }
        }
        return rows;
    }

    private static int[] shuffled(int count, SplittableRandom random) {
        int[] all = IntStream.range(0, count).toArray();
        for (int i = count - 1; i > 0; i--) {
            int other = random.nextInt(i + 1);
            int value = all[i];
            all[i] = all[other];
            all[other] = value;
        }
        return all;
    }

    private void checkSamples(List<Row> rows) {
        var sampled = kernels.sample(rows);
        var expected = new Expected(kernels);
        int[] controls = sampled.before().controls();
        short[] counts = sampled.before().counts();
        for (var row : rows) {
            if (row.resultRow() >= 0) {
                expect(row, expected, controls, counts, sampled);
            }
        }
        for (var row : rows) {
            if (row.resultRow() >= 0) {
                compareRow(
                        expected, sampled.results(), row.resultRow(), row.draw().name());
            }
        }
        compareAll(expected, sampled.results());
        int words = DrawKernels.CONTROL_WORDS;
        int[] leftControls = sampled.after().controls();
        for (int i = 0; i < controls.length; i++) {
            if (controls[i] != leftControls[i]) {
                fail("word " + i % words, drawOf(rows, i / words), controls[i], leftControls[i]);
            }
        }
        short[] leftCounts = sampled.after().counts();
        int at = Arrays.mismatch(counts, leftCounts);
        if (at >= 0) {
            fail("count of " + at % vocabSize, drawOf(rows, at / vocabSize), counts[at], leftCounts[at]);
        }
    }

    private static String drawOf(List<Row> rows, int slot) {
        return rows.stream()
                .filter(row -> row.slot() == slot)
                .map(row -> (row.pick() < 0 ? "not drawn: " : "") + row.draw().name())
                .findFirst()
                .orElse("slot of no row");
    }

    /** Notes what a row must leave, in results and slots. */
    private void expect(Row row, Expected expected, int[] controls, short[] counts, Sampled sampled) {
        int to = row.resultRow();
        int own = row.slot() * DrawKernels.CONTROL_WORDS;
        var draw = row.draw();
        if (row.slot() >= 0) {
            controls[own + DrawKernels.POSITION_WORD] = (int) draw.position();
            controls[own + DrawKernels.POSITION_WORD + 1] = (int) (draw.position() >>> 32);
        }
        expected.word(CONSUMED, to, row.slot() < 0 ? 0 : row.count());
        if (row.slot() < 0 || row.pick() < 0) {
            expected.word(TOKENS, to, -1);
            return;
        }
        if (DrawCases.isPoisoned(draw.logits())) {
            acceptIds(expected, sampled.results(), TOKENS, to, 1, draw.name());
            expected.accept(sampled.results(), LOGPROBS, to, 1);
            acceptIds(
                    expected,
                    sampled.results(),
                    TOP_IDS,
                    to * TOP,
                    draw.sampling().logprobCount(),
                    draw.name());
            expected.accept(sampled.results(), TOP_LOGPROBS, to * TOP, TOP);
            System.arraycopy(sampled.after().controls(), own, controls, own, DrawKernels.CONTROL_WORDS);
            int from = row.slot() * vocabSize;
            System.arraycopy(sampled.after().counts(), from, counts, from, vocabSize);
            return;
        }
        var drawn = cpu.draw(draw.logits(), draw.sampling(), draw.earlier(), draw.position());
        expected.word(TOKENS, to, drawn.token());
        controls[own + DrawKernels.LAST_TOKEN_WORD] = drawn.token();
        controls[own + DrawKernels.SAMPLED_COUNT_WORD] = drawn.sampledCount();
        controls[own + DrawKernels.FROZEN_WORD] = drawn.isFrozen() ? 1 : 0;
        if (draw.sampling().params().isPenalized()) {
            for (int id = 0; id < vocabSize; id++) {
                counts[row.slot() * vocabSize + id] = (short) cpu.countWord(id);
            }
        }
        if (draw.sampling().logprobCount() >= 0) {
            var likeliest = cpu.likeliest(draw.logits(), draw.sampling().logprobCount());
            expected.logprob(LOGPROBS, to, draw.logits()[drawn.token()], likeliest.normalizer());
            expected.likeliest(TOP_IDS, TOP_LOGPROBS, to, likeliest);
        }
    }

    /** Which ids they are, no order decides; but they are ids, as many as the vocabulary has or the row asks for. */
    private void acceptIds(Expected expected, int[] results, int array, int from, int count, String draw) {
        int at = kernels.resultsAt(array) + from;
        for (int i = at; i < at + Math.min(count, vocabSize); i++) {
            if (results[i] < 0 || results[i] >= vocabSize) {
                fail(ARRAYS[array], draw, vocabSize - 1, results[i]);
            }
        }
        expected.accept(results, array, from, Math.max(0, count));
    }

    /** Some of the draws' logits, and all kinds of them. */
    private void checkScores(List<Draw> draws, SplittableRandom random) {
        int[] resultTokens = shuffled(kernels.tokenCountMax(), random);
        int[] topCounts = {0, 1, 5, TOP};
        var rows = new ArrayList<Scored>();
        var names = new ArrayList<String>();
        var expected = new Expected(kernels);
        for (int i = 0; i < draws.size(); i++) {
            float[] logits = draws.get(i).logits();
            if (i > 0 && Arrays.equals(logits, draws.get(i - 1).logits()) && random.nextInt(4) > 0) {
                continue;
            }
            int target = random.nextInt(5) == 0 ? -1 : random.nextInt(vocabSize);
            var row = new Scored(logits, target, topCounts[random.nextInt(topCounts.length)], resultTokens[i]);
            rows.add(row);
            names.add(draws.get(i).name());
            if (DrawCases.isPoisoned(logits)) {
                continue;
            }
            var likeliest = cpu.likeliest(logits, row.topCount());
            expected.likeliest(SCORE_TOP_IDS, SCORE_TOP_LOGPROBS, row.resultToken(), likeliest);
            if (target < 0) {
                expected.word(SCORES, row.resultToken(), Float.floatToRawIntBits(0));
            } else {
                expected.logprob(SCORES, row.resultToken(), logits[target], likeliest.normalizer());
            }
        }

        int[] results = kernels.score(rows);

        for (int i = 0; i < rows.size(); i++) {
            int token = rows.get(i).resultToken();
            if (DrawCases.isPoisoned(rows.get(i).logits())) {
                expected.accept(results, SCORES, token, 1);
                acceptIds(
                        expected,
                        results,
                        SCORE_TOP_IDS,
                        token * TOP,
                        rows.get(i).topCount(),
                        names.get(i));
                expected.accept(results, SCORE_TOP_LOGPROBS, token * TOP, TOP);
            }
            compare(expected, results, SCORES, token, 1, names.get(i));
            compare(expected, results, SCORE_TOP_IDS, token, TOP, names.get(i));
            compare(expected, results, SCORE_TOP_LOGPROBS, token, TOP, names.get(i));
        }
        compareAll(expected, results);
    }

    /** Words of the results, and how far those may be off that are log-probabilities. */
    private static final class Expected {
        private final DrawKernels kernels;
        private final int[] words;
        private final float[] tolerances;

        Expected(DrawKernels kernels) {
            this.kernels = kernels;
            words = new int[kernels.resultsAt(ARRAYS.length)];
            tolerances = new float[words.length];
            Arrays.fill(words, DrawKernels.UNWRITTEN);
        }

        void accept(int[] results, int array, int from, int count) {
            int at = kernels.resultsAt(array) + from;
            System.arraycopy(results, at, words, at, count);
        }

        void word(int array, int index, int value) {
            words[kernels.resultsAt(array) + index] = value;
        }

        void logprob(int array, int index, float logit, float normalizer) {
            float logprob = logit - normalizer;
            float tolerance = LOGPROB_TOLERANCE * Math.max(1, Math.abs(logprob)) + 2 * Math.ulp(normalizer);
            word(array, index, Float.floatToRawIntBits(logprob));
            tolerances[kernels.resultsAt(array) + index] = tolerance;
        }

        void likeliest(int idArray, int logprobArray, int row, CpuDraws.Likeliest likeliest) {
            for (int i = 0; i < likeliest.ids().length; i++) {
                word(idArray, row * TOP + i, likeliest.ids()[i]);
                logprob(logprobArray, row * TOP + i, likeliest.logprobs()[i], 0);
                tolerances[kernels.resultsAt(logprobArray) + row * TOP + i] += 2 * Math.ulp(likeliest.normalizer());
            }
        }

        boolean isMet(int at, int word) {
            if (tolerances[at] == 0 || words[at] == word) {
                return words[at] == word;
            }
            return Math.abs(Float.intBitsToFloat(words[at]) - Float.intBitsToFloat(word)) <= tolerances[at];
        }
    }

    private void compareRow(Expected expected, int[] results, int row, String draw) {
        compare(expected, results, TOKENS, row, 1, draw);
        compare(expected, results, CONSUMED, row, 1, draw);
        compare(expected, results, LOGPROBS, row, 1, draw);
        compare(expected, results, TOP_IDS, row, TOP, draw);
        compare(expected, results, TOP_LOGPROBS, row, TOP, draw);
    }

    /** The words that a row of the results has in an array. */
    private void compare(Expected expected, int[] results, int array, int row, int width, String draw) {
        for (int i = 0; i < width; i++) {
            int at = kernels.resultsAt(array) + row * width + i;
            if (!expected.isMet(at, results[at])) {
                String what = ARRAYS[array] + (width > 1 ? " " + i : "");
                boolean isFloat = expected.tolerances[at] > 0;
                fail(
                        what,
                        draw,
                        isFloat ? Float.intBitsToFloat(expected.words[at]) : expected.words[at],
                        isFloat ? Float.intBitsToFloat(results[at]) : results[at]);
                results[at] = expected.words[at]; // said
            }
        }
    }

    private void compareAll(Expected expected, int[] results) {
        for (int at = 0; at < results.length; at++) {
            if (!expected.isMet(at, results[at])) {
                fail("word " + at, "results of no row", expected.words[at], results[at]);
            }
        }
    }

    private void fail(String what, String draw, Number expected, Number actual) {
        String prefix = current == null ? "" : current + ", ";
        failures.add(prefix + draw + ": " + what + " " + actual + " for " + expected);
    }
}
