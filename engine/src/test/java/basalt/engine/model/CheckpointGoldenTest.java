package basalt.engine.model;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.List;
import java.util.Optional;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.FieldSource;

class CheckpointGoldenTest {
    static final List<String> NAMES = Golden.NAMES;

    @ParameterizedTest
    @FieldSource("NAMES")
    void everyGoldenOpensAndItsLogitsHaveItsVocabulary(String name) {
        var golden = Golden.open(name);

        try (var checkpoint = Checkpoint.open(golden.directory())) {
            for (var goldenCase : golden.cases()) {
                int rows = goldenCase.inputIds().length;
                int vocab = checkpoint.config().paddedVocabSize();
                assertEquals(
                        List.of(rows, goldenCase.promptLength(), vocab),
                        goldenCase.prefillLogits().shape());
                assertEquals(
                        List.of(rows, Golden.DECODE_STEPS + 1, vocab),
                        goldenCase.decodeLogits().shape());
                assertEquals(
                        goldenCase.promptLength() + Golden.DECODE_STEPS,
                        goldenCase.inputIds()[0].length);
            }
        }
    }

    @Test
    void biasesAndRoundedMlpAreRead() {
        try (var checkpoint = open("p6_biases")) {
            assertEquals(42_544, checkpoint.parameterCount());
            assertEquals(256, checkpoint.config().mlp().innerWidth());
            assertTrue(checkpoint.weights().head().bias().isPresent());
            assertEquals(new Mixer.Convolution(16, 3, 32, false, false), mixer(checkpoint, 0));
        }
    }

    @Test
    void flaUsesItsOwnEpsilon() {
        try (var checkpoint = open("g05_fla")) {
            assertEquals(new Mixer.TaylorAttention(16, 16, 4, 16, 1e-6f), mixer(checkpoint, 0));
        }
    }

    @Test
    void partialRotaryAndUnfusedMlpAreRead() {
        try (var checkpoint = open("p1_partial_rotary")) {
            var config = checkpoint.config();
            var gelu = ModelConfig.Activation.GELU;
            float scale = (float) (1 / Math.sqrt(8) / 3);
            assertEquals(new Mixer.Convolution(16, 4, 32, true, false), mixer(checkpoint, 0));
            assertEquals(
                    new Mixer.WindowAttention(2, 2, 8, 8, scale, 4, 10_000, false, false, false), mixer(checkpoint, 2));
            assertEquals(new ModelConfig.Mlp(256, gelu, false, false, false), config.mlp());
            assertEquals(32, config.paddedVocabSize());
            assertEquals(1e-3f, config.normEpsilon());
            assertTrue(!config.isHeadTied());
        }
    }

    @Test
    void groupedHeadsAndHeadWidthAreRead() {
        try (var checkpoint = open("p2_grouped_heads")) {
            assertEquals(new Mixer.TaylorAttention(2, 4, 6, 4, 0.5f), mixer(checkpoint, 1));
            assertEquals(new Mixer.WindowAttention(4, 2, 4, 6, 0.5f, 4, 500, true, false, false), mixer(checkpoint, 2));
        }
    }

    @Test
    void aliasesAndDefaultBiasesAreRead() {
        try (var checkpoint = open("p4_bin_plain")) {
            var silu = ModelConfig.Activation.SILU;
            assertEquals(16, checkpoint.config().width());
            assertEquals(
                    new ModelConfig.Mlp(256, silu, true, true, true),
                    checkpoint.config().mlp());
            assertEquals(
                    new Mixer.WindowAttention(2, 2, 8, 8, (float) (1 / Math.sqrt(8)), 8, 10_000, false, false, true),
                    mixer(checkpoint, 2));
        }
    }

    @Test
    void learnedPositionsAndLayerNormAreRead() {
        try (var checkpoint = open("p5_positions_layernorm")) {
            assertEquals(96, checkpoint.config().positionCount());
            assertTrue(checkpoint.weights().finalNorm().bias().isPresent());
            assertEquals(
                    new Mixer.WindowAttention(2, 2, 6, 5, 1, 0, 10_000, false, false, false), mixer(checkpoint, 1));
        }
    }

    @Test
    void transposedAndSharedStoragesGiveTheTensorsOfTheFile() {
        try (var checkpoint = open("p4_bin_plain")) {
            Tensor embedding = checkpoint.weights().embedding(); // transposed in the file
            Tensor taps = checkpoint.tensors().get(3); // row-major, behind others in its storage

            assertEquals("transformer.layers.0.mixer.conv.conv.weight", taps.name());
            assertEquals(Optional.empty(), checkpoint.weights().positions());
            assertArrayEquals(
                    new float[] {0.09515381f, -0.05026245f, 0.05252075f, 0.04019165f}, first(embedding, 4), 1e-8f);
            assertArrayEquals(new float[] {0.824707f, 0.3225098f, -0.01676941f, 0.5107422f}, first(taps, 4), 1e-7f);
        }
    }

    private static float[] first(Tensor tensor, int count) {
        var floats = new float[count];
        for (int i = 0; i < count; i++) {
            floats[i] = tensor.at(i);
        }
        return floats;
    }

    private static Mixer mixer(Checkpoint checkpoint, int layer) {
        return checkpoint.config().mixers().get(layer);
    }

    private static Checkpoint open(String name) {
        return Checkpoint.open(Golden.open(name).directory());
    }
}
