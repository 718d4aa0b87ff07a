package basalt.engine.model;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import basalt.engine.EngineException.InvalidCheckpoint;
import basalt.engine.json.JsonFields;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class ConfigReaderTest {
    private static final String CONV = "\"mixer\":{\"_target_\":\"x.BaseConv\"}";
    private static final String TAYLOR =
            "\"alt_mixer_layers\":[0],\"alt_mixer\":{\"_target_\":\"x.LinearAttention\",\"num_heads\":4}";
    private static final String WINDOW =
            "\"alt_mixer_2_layers\":[1],\"alt_mixer_2\":{\"_target_\":\"x.SlidingAttention\"}";
    private static final String ALL = "\"n_embd\":64,\"n_head\":4,\"n_layer\":3,\"activation_function\":\"swiglu\","
            + CONV + "," + TAYLOR + "," + WINDOW;

    @Test
    void absentFieldsHaveTheDefaultsOfTheAuthors() {
        ModelConfig config = read("\"activation_function\":\"glu\"," + CONV);

        assertEquals(50_257, config.vocabSize());
        assertEquals(50_257, config.paddedVocabSize());
        assertEquals(768, config.width());
        assertEquals(12, config.layerCount());
        assertEquals(
                new Mixer.Convolution(768, 3, 1536, true, false),
                config.mixers().getFirst());
        assertEquals(new ModelConfig.Mlp(2048, ModelConfig.Activation.SIGMOID, true, true, true), config.mlp());
        assertEquals(1e-5f, config.normEpsilon());
        assertEquals(1024, config.positionCount());
        assertEquals(50_256, config.endOfSequence());
        assertTrue(!config.isRmsNorm() && config.isHeadTied() && !config.hasHeadBias());
    }

    @Test
    void mixersHaveTheDefaultsOfTheAuthors() {
        ModelConfig config = read(ALL);

        assertEquals(
                new Mixer.TaylorAttention(4, 16, 16, 16, 1e-12f),
                config.mixers().get(0));
        assertEquals(
                new Mixer.WindowAttention(4, 4, 16, 64, 0.25f, 0, 10_000, false, true, true),
                config.mixers().get(1));
        assertEquals(
                new Mixer.Convolution(64, 3, 128, true, false), config.mixers().get(2));
    }

    @Test
    void secondAlternativeWinsWhereBothListsNameALayer() {
        ModelConfig config = read(ALL.replace("\"alt_mixer_layers\":[0]", "\"alt_mixer_layers\":[0,1,77]"));

        assertTrue(config.mixers().get(1) instanceof Mixer.WindowAttention);
    }

    @ParameterizedTest(name = "{0} -> {2} = {3}")
    @CsvSource(delimiter = '|', quoteCharacter = '`', textBlock = """
            "n_embd":64      | "hidden_size":128,"n_embd":64         | width          | 128
            "n_layer":3      | "num_hidden_layers":5,"n_layer":3     | layers         | 5
            "n_head":4       | "num_attention_heads":2               | heads          | 2
            "n_head":4       | "n_head":4,"n_head_kv":2              | keyHeads       | 2
            "n_head":4       | "n_head":4,"n_head_kv":null           | keyHeads       | 4
            "n_head":4       | "n_head":4,"head_dim":4               | scale          | 0.5
            "n_head":4       | "n_head":4,"scale_attn_weights":false | scale          | 1.0
            "n_head":4       | "n_head":4,"scale_attn_by_inverse_layer_idx":true | scale | 0.125
            "n_head":4       | "n_head":4,"rotary_emb_fraction":0.5  | rotary         | 8
            "n_head":4       | "n_head":4,"rotary_emb_fraction":0.3  | rotary         | 4
            "n_head":4       | "n_head":4,"n_inner":257              | inner          | 512
            "n_head":4       | "n_head":4,"n_inner":null             | inner          | 256
            "n_head":4       | "n_head":4,"mlp_type":"alt","n_inner":9000 | inner     | 256
            "n_head":4       | "n_head":4,"mlp_type":"alt","ff_mult":8.5 | inner      | 512
            "n_head":4       | "n_head":4,"vocab_size":61,"pad_vocab_size_multiple":8 | paddedVocab | 64
            "n_head":4       | "n_head":4,"n_positions":7            | positions      | 7
            "n_head":4       | "n_head":4,"n_positions":7,"max_position_embeddings":0 | positions | 0
            "n_head":4       | "n_head":4,"eos_token_id":3           | eos            | 3
            "n_head":4       | "n_head":4,"eos_token_id":-1          | eos            | -1
            "n_head":4       | "n_head":4,"vocab_size":61            | eos            | -1
            "n_head":4       | "n_head":4,"vocab_size":61,"eos_token_id":61 | eos     | -1
            "num_heads":4    | "num_heads":4,"head_dim":5            | valueWidth     | 5
            "num_heads":4    | "num_heads":4,"eps":0.5               | epsilon        | 0.5
            "num_heads":4    | "num_heads":4,"eps":0.5,"parallel_implementation":"fla_chunk" | epsilon | 1.0E-6
            "num_heads":4    | "num_heads":4,"parallel_implementation":"linear" | epsilon | 1.0E-12
            "num_heads":4    | "num_heads":4,"feature_map":{"_target_":"x.TaylorExp","input_dim":9} | scaleDim | 9
            x.SlidingAttention" | x.SlidingAttention","window_size":17,"num_heads":99 | reach | 8
            x.BaseConv"      | x.BaseConv","expand_proj":4           | channels       | 128
            x.BaseConv"      | x.BaseConv","kernel_size":4,"kernel_sizes":9 | kernel  | 4
            """)
    void everyFieldIsHonoured(String good, String changed, String what, String value) {
        assertTrue(ALL.contains(good), good);

        ModelConfig config = read(ALL.replace(good, changed));

        assertEquals(value, String.valueOf(value(config, what)));
    }

    private static Object value(ModelConfig config, String what) {
        var taylor = (Mixer.TaylorAttention) config.mixers().get(0);
        var window = (Mixer.WindowAttention) config.mixers().get(1);
        var convolution = (Mixer.Convolution) config.mixers().get(2);
        return switch (what) {
            case "width" -> config.width();
            case "layers" -> config.layerCount();
            case "inner" -> config.mlp().innerWidth();
            case "paddedVocab" -> config.paddedVocabSize();
            case "positions" -> config.positionCount();
            case "eos" -> config.endOfSequence();
            case "heads" -> window.headCount();
            case "keyHeads" -> window.keyHeadCount();
            case "scale" -> window.scale();
            case "rotary" -> window.rotaryDim();
            case "reach" -> window.reach();
            case "valueWidth" -> taylor.headWidth();
            case "epsilon" -> taylor.epsilon();
            case "scaleDim" -> taylor.scaleDim();
            case "channels" -> convolution.channelCount();
            case "kernel" -> convolution.kernelSize();
            default -> throw new IllegalArgumentException(what);
        };
    }

    @ParameterizedTest(name = "{1}")
    @CsvSource(delimiter = '|', quoteCharacter = '`', textBlock = """
            "n_head":4       | "n_head":4,"prenorm":false            | prenorm = false is not supported
            "n_head":4       | "n_head":4,"parallel_block":true      | parallel_block = true is not supported
            "n_head":4       | "n_head":4,"rotary_emb_scale_base":512 | rotary_emb_scale_base is not supported (xPos)
            "n_head":4       | "n_head":4,"use_xpos":true            | use_xpos = true is not supported (xPos)
            "n_head":4       | "n_head":4,"rotary_xPos":true         | rotary_xPos = true is not supported (xPos)
            "n_head":4       | "n_head":4,"use_xpos":1               | use_xpos must be true or false, not 1
            x.SlidingAttention" | x.SlidingAttention","use_xpos":true | alt_mixer_2.use_xpos = true is not supported
            "n_head":4       | "n_head":4,"word_embed_proj_dim":9    | word_embed_proj_dim is not supported
            "n_head":4       | "n_head":5                            | n_head = 5 must divide n_embd = 64
            "n_head":4       | "n_head":4,"n_head_kv":3              | n_head_kv = 3 must divide n_head = 4
            "n_head":4       | "n_head":4,"n_head_kv":8              | n_head_kv = 8 is outside [1, 4]
            "n_head":4       | "n_head":4,"rotary_emb_fraction":0.2  | rotary_emb_fraction gives 3 rotary entries
            "n_head":4       | "n_head":4,"rotary_emb_fraction":2    | rotary_emb_fraction gives 32 rotary entries
            "n_head":4       | "n_head":4,"rms_norm":1               | rms_norm must be true or false, not 1
            "n_head":4       | "n_head":4,"layer_norm_epsilon":"x"   | layer_norm_epsilon must be a number
            "n_head":4       | "n_head":4,"layer_norm_epsilon":-1    | layer_norm_epsilon = -1 is outside
            "n_head":4       | "n_head":4,"eos_token_id":[1,2]       | eos_token_id must be a whole number, not a list
            "n_embd":64      | "n_embd":0                            | n_embd = 0 is outside
            "n_embd":64      | "n_embd":64.5                         | n_embd must be a whole number, not 64.5
            "n_embd":64      | "n_embd":1e9                          | n_embd must be a whole number
            "n_embd":64      | "n_embd":99999999999999999999         | n_embd = 99999999999999999999 is outside
            "n_embd":64      | "n_embd":"64"                         | n_embd must be a whole number, not "64"
            "n_layer":3      | "n_layer":-3                          | n_layer = -3 is outside
            "n_layer":3      | "n_layer":3,"vocab_size":0            | vocab_size = 0 is outside
            "swiglu"         | "gelu_new"                            | activation_function = gelu_new is not supported
            "activation_function":"swiglu", | ``                     | activation_function = gelu_new is not supported
            x.LinearAttention | x.MHA                                | alt_mixer._target_ = x.MHA is not supported
            "_target_":"x.LinearAttention", | ``                     | alt_mixer._target_ is missing
            "alt_mixer":     | "alt_mixer_x":                        | alt_mixer is missing, and layer 0 uses it
            "alt_mixer_2":   | "alt_mixer_x":                        | alt_mixer_2 is missing, and layer 1 uses it
            "mixer":         | "mixer_x":                            | mixer is missing, and layer 2 uses it
            "mixer":{        | "mixer":3,"x":{                       | mixer must be an object
            [0]              | 0                                     | alt_mixer_layers must be a list, not 0
            [0]              | ["a"]                                 | alt_mixer_layers must be a whole number
            [0]              | [-1]                                  | alt_mixer_layers = -1 is outside
            "num_heads":4    | "parallel_implementation":"tk"        | alt_mixer.parallel_implementation = tk
            "num_heads":4    | "parallel_implementation":"new"       | alt_mixer.parallel_implementation = new
            "num_heads":4    | "num_heads":65                        | alt_mixer.num_heads = 65 is more than n_embd
            "num_heads":4    | "feature_dim":1000                    | alt_mixer.feature_dim = 1000 is outside
            "num_heads":4    | "feature_map":{"_target_":"x.Relu"}   | alt_mixer.feature_map._target_ = x.Relu
            "num_heads":4    | "num_heads":4,"num_heads":4           | Duplicate field 'num_heads'
            x.SlidingAttention" | x.SlidingAttention","window_size":-2 | alt_mixer_2.window_size = -2 is outside
            x.BaseConv"      | x.BaseConv","kernel_size":0           | mixer.kernel_size = 0 is outside
            x.BaseConv"      | x.BaseConv","use_bias":"yes"          | mixer.use_bias must be true or false, not "yes"
            """)
    void whatCannotBeServedIsRefusedByName(String good, String bad, String message) {
        assertTrue(ALL.contains(good), good);

        var thrown = assertThrows(InvalidCheckpoint.class, () -> read(ALL.replace(good, bad)));

        String found = String.valueOf(thrown.getMessage());
        assertTrue(found.startsWith("config.json: ") && found.contains(message), found);
    }

    @Test
    void fieldsThatNobodyKnowsAreTold() throws IOException {
        String text = "{" + ALL + ",\"use_xpos\":false,\"rotary_scaling\":{\"type\":\"linear\"}}";

        assertEquals(List.of("use_xpos", "rotary_scaling"), unknown(text.getBytes(StandardCharsets.UTF_8)));
        String mixers = "{\"mixer\":{\"_target_\":\"a.BaseConv\",\"kernal_size\":5},"
                + "\"alt_mixer_2\":{\"_target_\":\"a.SlidingAttention\",\"dwconv\":true}}";
        assertEquals(List.of("mixer.kernal_size"), unknown(mixers.getBytes(StandardCharsets.UTF_8)));
        for (String name : CheckpointWriter.NAMED_CONFIGS) {
            assertEquals(List.of(), unknown(CheckpointWriter.namedConfig(name)), name);
        }
        try (var goldens = Files.newDirectoryStream(Path.of("src/test/resources/golden"), Files::isDirectory)) {
            for (Path golden : goldens) {
                assertEquals(List.of(), unknown(Files.readAllBytes(golden.resolve("config.json"))), golden.toString());
            }
        }
    }

    private static List<String> unknown(byte[] config) {
        return ConfigNames.unknown(JsonFields.parse("config.json", config));
    }

    @Test
    void flaScalesByTheFeatureDimensionAlone() {
        String fla = "\"parallel_implementation\":\"fla_chunk\",\"feature_map\":{\"input_dim\":8}";

        var thrown = assertThrows(InvalidCheckpoint.class, () -> read(ALL.replace("\"num_heads\":4", fla)));

        assertTrue(String.valueOf(thrown.getMessage()).contains("alt_mixer.feature_map.input_dim = 8"));
    }

    private static ModelConfig read(String fields) {
        return ConfigReader.read(
                JsonFields.parse("config.json", ("{" + fields + "}").getBytes(StandardCharsets.UTF_8)));
    }
}
