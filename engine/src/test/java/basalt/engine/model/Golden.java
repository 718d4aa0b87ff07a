package basalt.engine.model;

import basalt.engine.json.JsonFields;
import java.lang.foreign.Arena;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;

/**
 * A checkpoint with the logits that it must compute; its README says how each was made.
 *
 * @param directory of the checkpoint
 * @param cases with growing prompts
 */
public record Golden(Path directory, List<Case> cases) {
    /** Names of all goldens. */
    public static final List<String> NAMES = List.of(
            "g03_deep",
            "g05_fla",
            "g08_bin_lightning",
            "p1_partial_rotary",
            "p2_grouped_heads",
            "p3_bf16_wide_head",
            "p4_bin_plain",
            "p5_positions_layernorm",
            "p6_biases");

    /** Tokens that follow the prompt of each case. */
    public static final int DECODE_STEPS = 20;

    private static final Path FOLDER = Path.of("src/test/resources/golden");

    /**
     * One batch of prompts of the same length with the tokens that follow.
     *
     * @param promptLength N
     * @param inputIds [B][N + 20]
     * @param prefillLogits f32 [B, N, paddedVocab], after each token of the prompt
     * @param decodeLogits f32 [B, 21, paddedVocab]: index 0 after the prompt, index j after inputIds[b][N + j - 1] too
     */
    public record Case(String name, int promptLength, int[][] inputIds, Tensor prefillLogits, Tensor decodeLogits) {
        /** One logit of row b after it has consumed inputIds[b][0..position]. */
        public float logit(int row, int position, int id) {
            boolean isPrompt = position < promptLength;
            Tensor all = isPrompt ? prefillLogits : decodeLogits;
            int index = isPrompt ? position : position - promptLength + 1;
            return all.at(((long) row * all.shape().get(1) + index) * paddedVocab() + id);
        }

        /** Logits of one position. */
        public int paddedVocab() {
            return prefillLogits.shape().get(2);
        }
    }

    /** Reads one golden. */
    public static Golden open(String name) {
        Path directory = FOLDER.resolve(name);
        TensorSet expected = SafetensorsFile.map(directory.resolve("expected.safetensors"), Arena.ofAuto());
        var cases = new ArrayList<Case>();
        for (JsonFields fields :
                JsonFields.read(directory.resolve("expected.json"), 1 << 20).objects("cases")) {
            String caseName = fields.text("name").orElseThrow();
            var rows = new ArrayList<int[]>();
            for (Object row : fields.items("input_ids")) {
                rows.add(((List<?>) row)
                        .stream().mapToInt(id -> ((Long) id).intValue()).toArray());
            }
            cases.add(new Case(
                    caseName,
                    (int) fields.integer("prompt_len", 1, 1000),
                    rows.toArray(int[][]::new),
                    expected.tensor(caseName + ".prefill_logits").orElseThrow(),
                    expected.tensor(caseName + ".decode_logits").orElseThrow()));
        }
        return new Golden(directory, cases);
    }
}
