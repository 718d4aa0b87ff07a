package basalt.engine.model;

import basalt.engine.EngineException.InvalidCheckpoint;
import basalt.engine.json.JsonFields;
import basalt.engine.model.ModelConfig.Activation;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Optional;
import java.util.Set;
import java.util.function.Function;

/**
 * Reads {@code config.json} with the meaning and the defaults that the authors' loader gives it. What this engine
 * cannot compute exactly is refused by the field's name; fields that do not change inference are not looked at, and
 * {@link ConfigNames} tells those that nobody knows.
 */
final class ConfigReader {
    private static final int WIDTH_MAX = 1 << 16;
    private static final int LAYERS_MAX = 1 << 10;
    private static final int VOCAB_MAX = 1 << 22;
    private static final int INNER_WIDTH_MAX = 1 << 18;
    private static final int POSITIONS_MAX = 1 << 24;
    private static final int FEATURE_DIM_MAX = 128;
    private static final int KERNEL_MAX = 256;
    private static final int WINDOW_MAX = 1 << 18;
    private static final int STATE_ELEMENTS_MAX = 1 << 28;
    private static final int GPT2_VOCAB = 50_257;
    private static final int GPT2_END_OF_TEXT = 50_256;
    private static final double FLA_EPSILON = 1e-6;
    private static final int MLP_MULTIPLE = 256;

    private final JsonFields fields;
    private final Function<String, Optional<List<Integer>>> shapes;
    private final int width;
    private final int headCount;

    private ConfigReader(JsonFields fields, Function<String, Optional<List<Integer>>> shapes) {
        this.fields = fields;
        this.shapes = shapes;
        width = aliased("n_embd", "hidden_size", 768, WIDTH_MAX);
        headCount = aliased("n_head", "num_attention_heads", 12, width);
    }

    /**
     * Reads the configuration of a checkpoint whose weights are there: learned positions and a bias of the
     * convolution are used if and only if their tensors exist.
     *
     * @throws InvalidCheckpoint naming the field that is wrong or that cannot be served
     */
    static ModelConfig read(JsonFields fields, TensorSet weights) {
        return new ConfigReader(fields, name -> weights.tensor(name).map(Tensor::shape)).config();
    }

    /**
     * Reads a configuration that has no weights yet: learned positions as it says, no bias of the convolution.
     *
     * @throws InvalidCheckpoint naming the field that is wrong or that cannot be served
     */
    static ModelConfig read(JsonFields fields) {
        // Two names of one attribute, and the authors' loader lets the second one win.
        int positions = fields.integerOr(
                "max_position_embeddings", fields.integerOr("n_positions", 1024, 0, POSITIONS_MAX), 0, POSITIONS_MAX);
        return new ConfigReader(
                        fields,
                        name -> name.equals(ParameterShapes.POSITIONS) && positions > 0
                                ? Optional.of(List.of(positions))
                                : Optional.empty())
                .config();
    }

    private ModelConfig config() {
        refuseOtherBlocks();
        int vocabSize = fields.integerOr("vocab_size", GPT2_VOCAB, 1, VOCAB_MAX);
        int multiple = fields.integerOr("pad_vocab_size_multiple", 1, 1, VOCAB_MAX);
        return new ModelConfig(
                vocabSize,
                roundUp(vocabSize, multiple),
                width,
                mixers(),
                mlp(),
                fields.flagOr("rms_norm", false),
                (float) fields.numberOr("layer_norm_epsilon", 1e-5, 0, 1),
                fields.flagOr("tie_word_embeddings", true),
                fields.flagOr("lm_head_bias", false),
                positionCount(),
                endOfSequence(vocabSize));
    }

    private void refuseOtherBlocks() {
        ConfigNames.refuseXpos(fields);
        if (!fields.flagOr("prenorm", true)) {
            throw fields.wrong("prenorm", "= false is not supported");
        }
        if (fields.flagOr("parallel_block", false)) {
            throw fields.wrong("parallel_block", "= true is not supported");
        }
        for (String name : List.of("rotary_emb_scale_base", "word_embed_proj_dim")) {
            if (fields.has(name)) {
                throw fields.wrong(name, "is not supported" + (name.startsWith("rotary") ? " (xPos)" : ""));
            }
        }
    }

    private int positionCount() {
        return shapes.apply(ParameterShapes.POSITIONS)
                .map(shape -> shape.isEmpty() ? 1 : shape.getFirst())
                .orElse(0);
    }

    /** An id outside the vocabulary is never sampled, so it ends nothing. */
    private int endOfSequence(int vocabSize) {
        long absent = vocabSize == GPT2_VOCAB ? GPT2_END_OF_TEXT : -1;
        long id = fields.has("eos_token_id")
                ? fields.integer("eos_token_id", Integer.MIN_VALUE, Integer.MAX_VALUE)
                : absent;
        return id >= 0 && id < vocabSize ? (int) id : -1;
    }

    private ModelConfig.Mlp mlp() {
        String name = fields.text("activation_function").orElse("gelu_new");
        Activation activation = switch (name) {
            case "swiglu" -> Activation.SILU;
            case "geglu" -> Activation.GELU;
            case "glu" -> Activation.SIGMOID;
            default ->
                throw fields.wrong("activation_function", "= " + name + " is not supported; swiglu, geglu and glu are");
        };
        boolean isFused = fields.text("mlp_type").orElse("base").equals("base");
        long inner;
        if (!isFused) {
            inner = (long) (2.0 * width * fields.numberOr("ff_mult", 2, 1e-3, 1e3) / 3);
        } else if (fields.has("n_inner")) {
            inner = fields.integer("n_inner", 1, INNER_WIDTH_MAX);
        } else {
            inner = (long) (8.0 * width / 3);
        }
        if (inner < 1 || inner > INNER_WIDTH_MAX) {
            throw fields.wrong("ff_mult", "gives an MLP of " + inner + ", outside [1, " + INNER_WIDTH_MAX + "]");
        }
        return new ModelConfig.Mlp(
                roundUp((int) inner, MLP_MULTIPLE),
                activation,
                isFused,
                fields.flagOr("mlp_fc1_bias", true),
                fields.flagOr("mlp_fc2_bias", true));
    }

    private List<Mixer> mixers() {
        int layers = aliased("n_layer", "num_hidden_layers", 12, LAYERS_MAX);
        Set<Long> second = new HashSet<>(fields.integers("alt_mixer_2_layers", 0, Integer.MAX_VALUE));
        Set<Long> first = new HashSet<>(fields.integers("alt_mixer_layers", 0, Integer.MAX_VALUE));
        var mixers = new ArrayList<Mixer>(layers);
        for (int layer = 0; layer < layers; layer++) {
            boolean isSecond = second.contains((long) layer);
            String name = isSecond ? "alt_mixer_2" : first.contains((long) layer) ? "alt_mixer" : "mixer";
            mixers.add(mixer(name, layer));
        }
        return mixers;
    }

    private Mixer mixer(String name, int layer) {
        // The authors' loader would take full attention here, whose state grows with every token.
        JsonFields mixer = fields.object(name)
                .orElseThrow(() -> fields.wrong(name, "is missing, and layer " + layer + " uses it"));
        ConfigNames.refuseXpos(mixer);
        String target = mixer.text("_target_").orElseThrow(() -> mixer.wrong("_target_", "is missing"));
        return switch (target.substring(target.lastIndexOf('.') + 1)) {
            case "BaseConv" -> convolution(mixer, layer);
            case "LinearAttention" -> taylorAttention(mixer);
            case "SlidingAttention" -> windowAttention(mixer, layer);
            default ->
                throw mixer.wrong(
                        "_target_",
                        "= " + target + " is not supported; BaseConv, LinearAttention and SlidingAttention are");
        };
    }

    private Mixer convolution(JsonFields mixer, int layer) {
        int projectionWidth = Math.multiplyExact(mixer.integerOr("expand_proj", 2, 1, 64), width);
        if (projectionWidth % 2 != 0) {
            throw mixer.wrong("expand_proj", "times n_embd = " + projectionWidth + " must be even");
        }
        int kernelSize = mixer.integerOr("kernel_size", 3, 1, KERNEL_MAX);
        boolean hasBias = mixer.flagOr("use_bias", true);
        boolean hasConvolutionBias = shapes.apply(ParameterShapes.layer(layer) + "mixer.conv.conv.bias")
                .isPresent();
        return new Mixer.Convolution(projectionWidth / 2, kernelSize, projectionWidth, hasBias, hasConvolutionBias);
    }

    private Mixer taylorAttention(JsonFields mixer) {
        String implementation = mixer.text("parallel_implementation").orElse("quadratic");
        switch (implementation) {
            case "quadratic", "linear", "fla_parallel", "fla_chunk" -> {}
            case "tk" ->
                throw mixer.wrong(
                        "parallel_implementation", "= tk (ThunderKittens) is another model and not supported");
            default -> throw mixer.wrong("parallel_implementation", "= " + implementation + " is not supported");
        }
        boolean isFla = implementation.startsWith("fla");
        int heads = mixer.integerOr("num_heads", 16, 1, WIDTH_MAX);
        int featureDim = mixer.integerOr("feature_dim", 16, 1, FEATURE_DIM_MAX);
        if (!mixer.has("head_dim") && width < heads) {
            throw mixer.wrong("num_heads", "= " + heads + " is more than n_embd");
        }
        int headWidth = mixer.integerOr("head_dim", width / heads, 1, WIDTH_MAX);
        if ((long) heads * Math.max(headWidth, featureDim) > INNER_WIDTH_MAX) {
            throw mixer.wrong("num_heads", "= " + heads + " heads are too wide");
        }
        checkStateSize(mixer, "feature_dim", (long) heads * featureDim * featureDim, headWidth);
        double epsilon = mixer.numberOr("eps", 1e-12, 0, 1e3);
        return new Mixer.TaylorAttention(heads, featureDim, headWidth, scaleDim(mixer, featureDim, isFla), (float)
                (isFla ? FLA_EPSILON : epsilon));
    }

    /** Far more than any model needs, and less than an index of an array holds. */
    private static void checkStateSize(JsonFields mixer, String name, long rows, long width) {
        if (rows * width > STATE_ELEMENTS_MAX) {
            throw mixer.wrong(name, "gives a state of more than " + STATE_ELEMENTS_MAX + " elements");
        }
    }

    private static int scaleDim(JsonFields mixer, int featureDim, boolean isFla) {
        Optional<JsonFields> map = mixer.object("feature_map");
        if (map.isEmpty()) {
            return featureDim;
        }
        JsonFields featureMap = map.get();
        String target = featureMap.text("_target_").orElse("TaylorExp");
        if (!target.substring(target.lastIndexOf('.') + 1).equals("TaylorExp")) {
            throw featureMap.wrong("_target_", "= " + target + " is not supported; TaylorExp is");
        }
        int scaleDim = featureMap.integerOr("input_dim", featureDim, 1, WIDTH_MAX);
        if (isFla && scaleDim != featureDim) {
            // Their prefill scales by feature_dim, their step by input_dim.
            throw featureMap.wrong("input_dim", "= " + scaleDim + " must be feature_dim in the fla implementations");
        }
        return scaleDim;
    }

    /** Its own head counts, biases and rotary settings are overwritten by the top-level ones in the authors' loader. */
    private Mixer windowAttention(JsonFields mixer, int layer) {
        if (width % headCount != 0) {
            throw fields.wrong("n_head", "= " + headCount + " must divide n_embd = " + width);
        }
        int keyHeads = fields.integerOr("n_head_kv", headCount, 1, headCount);
        if (headCount % keyHeads != 0) {
            throw fields.wrong("n_head_kv", "= " + keyHeads + " must divide n_head = " + headCount);
        }
        int headWidth = width / headCount;
        // A top-level head_dim changes scale and rotary entries, though not the width of the heads.
        int scaleWidth = fields.integerOr("head_dim", headWidth, 1, WIDTH_MAX);
        int rotaryDim = (int) (fields.numberOr("rotary_emb_fraction", 0, 0, 1e3) * scaleWidth);
        if (rotaryDim % 2 != 0 || rotaryDim > headWidth) {
            throw fields.wrong(
                    "rotary_emb_fraction",
                    "gives " + rotaryDim + " rotary entries; they must be even and at most " + headWidth);
        }
        double scale = fields.flagOr("scale_attn_weights", true) ? 1 / Math.sqrt(scaleWidth) : 1;
        if (fields.flagOr("scale_attn_by_inverse_layer_idx", false)) {
            scale /= layer + 1;
        }
        int windowSize = mixer.integerOr("window_size", 128, 0, WINDOW_MAX);
        checkStateSize(mixer, "window_size", windowSize, (long) keyHeads * headWidth);
        return new Mixer.WindowAttention(
                headCount,
                keyHeads,
                headWidth,
                windowSize / 2,
                (float) scale,
                rotaryDim,
                fields.numberOr("rotary_emb_base", 10_000, 1e-3, 1e12),
                fields.flagOr("rotary_emb_interleaved", false),
                fields.flagOr("qkv_proj_bias", true),
                fields.flagOr("out_proj_bias", true));
    }

    /** The alias wins where both are given, as in the authors' loader. */
    private int aliased(String name, String alias, int absent, int max) {
        return fields.integerOr(alias, fields.integerOr(name, absent, 1, max), 1, max);
    }

    private static int roundUp(int value, int multiple) {
        return Math.toIntExact((value + (long) multiple - 1) / multiple * multiple);
    }
}
