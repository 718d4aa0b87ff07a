package basalt.engine.backend.cpu;

import static org.junit.jupiter.api.Assertions.assertEquals;

import basalt.engine.model.Checkpoint;
import basalt.engine.model.Golden;
import basalt.engine.model.ModelConfig;
import basalt.engine.model.Weights;
import java.util.List;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** Logits of the authors' code, in f32; how they were made is in the goldens' README. */
class CpuGoldenTest {
    /** Rounding of f32 sums and of f32 rotary angles; every known mistake costs at least 1e-3. */
    private static final float LOGIT_TOLERANCE = 1e-4f;

    private static final int CHUNK = 48;
    private static final int HEAD_ROWS = 48;

    static List<String> goldens() {
        return Golden.NAMES;
    }

    @ParameterizedTest
    @MethodSource("goldens")
    void referenceEqualsTheAuthorsCode(String name) {
        var golden = Golden.open(name);
        try (var checkpoint = Checkpoint.open(golden.directory())) {
            for (var goldenCase : golden.cases()) {
                for (int row = 0; row < goldenCase.inputIds().length; row++) {
                    var reference = new Reference(checkpoint.config(), checkpoint.weights());
                    int[] ids = goldenCase.inputIds()[row];
                    for (int i = 0; i < ids.length; i++) {
                        double[] actual = reference.step(ids[i]);
                        for (int id = 0; id < actual.length; id++) {
                            requireClose(goldenCase, row, i, id, actual[id]);
                        }
                    }
                }
            }
        }
    }

    @ParameterizedTest
    @MethodSource("goldens")
    void vectorCodeEqualsTheAuthorsCodeInPrefillAndInDecode(String name) {
        var golden = Golden.open(name);
        try (var checkpoint = Checkpoint.open(golden.directory());
                var pool = new WorkerPool(2)) {
            ModelConfig config = checkpoint.config();
            Weights weights = checkpoint.weights();
            var step = new Step(8, 3 * CHUNK);
            var model = new CpuModel(config, weights, pool, step, 3 * CHUNK, HEAD_ROWS);
            for (var goldenCase : golden.cases()) {
                var slots = new CpuSlot[goldenCase.inputIds().length];
                for (int row = 0; row < slots.length; row++) {
                    slots[row] = new CpuSlot(config);
                }
                int length = goldenCase.inputIds()[0].length;
                for (int at = 0; at < length; ) {
                    int count = at < goldenCase.promptLength() ? Math.min(CHUNK, goldenCase.promptLength() - at) : 1;
                    advance(model, step, goldenCase, slots, at, count);
                    at += count;
                }
            }
        }
    }

    /** One step that consumes ids [at, at + count) of every row. */
    private static void advance(CpuModel model, Step step, Golden.Case goldenCase, CpuSlot[] slots, int at, int count) {
        step.clear();
        var tokens = new int[slots.length * count];
        for (int row = 0; row < slots.length; row++) {
            System.arraycopy(goldenCase.inputIds()[row], at, tokens, row * count, count);
            step.add(slots[row], count);
        }
        model.forward(tokens);
        for (int row = 0; row < slots.length; row++) {
            for (int i = 0; i < count; i++) {
                model.selectHeadRow(i, row * count + i);
            }
            model.runHead(count);
            int vocab = goldenCase.paddedVocab();
            for (int i = 0; i < count; i++) {
                for (int id = 0; id < vocab; id++) {
                    float actual = model.logits().data()[model.logits().at(i) + id];
                    requireClose(goldenCase, row, at + i, id, actual);
                }
            }
            slots[row].tokenCount(at + count);
        }
    }

    private static void requireClose(Golden.Case goldenCase, int row, int position, int id, double actual) {
        float expected = goldenCase.logit(row, position, id);
        assertEquals(
                expected,
                actual,
                LOGIT_TOLERANCE,
                () -> goldenCase.name() + " row " + row + " position " + position + " id " + id);
    }
}
