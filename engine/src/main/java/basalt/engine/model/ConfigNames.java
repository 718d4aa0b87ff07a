package basalt.engine.model;

import basalt.engine.json.JsonFields;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Set;

/** The names of fields in {@code config.json}: which are known, and which must not be left unread. */
final class ConfigNames {
    /** Read by {@link ConfigReader}. */
    private static final Set<String> READ = Set.of(
            "activation_function",
            "alt_mixer",
            "alt_mixer_2",
            "alt_mixer_2_layers",
            "alt_mixer_layers",
            "eos_token_id",
            "ff_mult",
            "head_dim",
            "hidden_size",
            "layer_norm_epsilon",
            "lm_head_bias",
            "max_position_embeddings",
            "mixer",
            "mlp_fc1_bias",
            "mlp_fc2_bias",
            "mlp_type",
            "n_embd",
            "n_head",
            "n_head_kv",
            "n_inner",
            "n_layer",
            "n_positions",
            "num_attention_heads",
            "num_hidden_layers",
            "out_proj_bias",
            "pad_vocab_size_multiple",
            "parallel_block",
            "prenorm",
            "qkv_proj_bias",
            "rms_norm",
            "rotary_emb_base",
            "rotary_emb_fraction",
            "rotary_emb_interleaved",
            "rotary_emb_scale_base",
            "scale_attn_by_inverse_layer_idx",
            "scale_attn_weights",
            "tie_word_embeddings",
            "vocab_size",
            "word_embed_proj_dim");

    /** Of training, of memory layout, or of other programs: they change no logit. */
    private static final Set<String> WITHOUT_EFFECT = Set.of(
            "_name_or_path",
            "architectures",
            "attn_pdrop",
            "auto_map",
            "bos_token_id",
            "decay_const",
            "decay_denom",
            "dtype",
            "embd_pdrop",
            "fixed_decay",
            "fused_bias_fc",
            "fused_dropout_add_ln",
            "fused_mlp",
            "initializer_range",
            "l_max",
            "model_type",
            "pad_token_id",
            "reorder_and_upcast_attn",
            "resid_pdrop",
            "residual_in_fp32",
            "special_initializer",
            "summary_activation",
            "summary_first_dropout",
            "summary_proj_to_labels",
            "summary_type",
            "summary_use_proj",
            "task_specific_params",
            "torch_dtype",
            "transformers_version",
            "use_cache",
            "use_flash_attn");

    /**
     * Of a convolution and of Taylor attention: read, or without effect, as {@code kernel_sizes}, which the authors'
     * loader swallows. What a window says is overwritten by the top in that loader, so any name may stand there.
     */
    private static final Set<String> OF_MIXERS = Set.of(
            "_target_",
            "causal",
            "d_model",
            "eps",
            "expand_proj",
            "feature_dim",
            "feature_map",
            "head_dim",
            "kernel_size",
            "kernel_sizes",
            "l_max",
            "layer_idx",
            "num_heads",
            "parallel_implementation",
            "use_bias",
            "use_cuda");

    private ConfigNames() {}

    /** Names that this engine has not heard of, in the file's order; those of a mixer behind its own. */
    static List<String> unknown(JsonFields fields) {
        var unknown = new ArrayList<String>();
        for (String name : fields.names()) {
            if (!READ.contains(name) && !WITHOUT_EFFECT.contains(name)) {
                unknown.add(name);
            }
        }
        for (String mixer : List.of("mixer", "alt_mixer", "alt_mixer_2")) {
            fields.object(mixer)
                    .filter(ConfigNames::isRead)
                    .ifPresent(inner -> inner.names().stream()
                            .filter(name -> !OF_MIXERS.contains(name))
                            .forEach(name -> unknown.add(mixer + "." + name)));
        }
        return unknown;
    }

    private static boolean isRead(JsonFields mixer) {
        return !mixer.text("_target_").orElse("").endsWith("SlidingAttention");
    }

    /**
     * Refuses xPos under whatever name it is asked for.
     *
     * @throws basalt.engine.EngineException.InvalidCheckpoint naming the field
     */
    static void refuseXpos(JsonFields fields) {
        for (String name : fields.names()) {
            if (name.toLowerCase(Locale.ROOT).contains("xpos") && fields.flagOr(name, false)) {
                throw fields.wrong(name, "= true is not supported (xPos)");
            }
        }
    }
}
