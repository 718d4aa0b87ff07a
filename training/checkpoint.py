"""Writes and reads checkpoint folders in the layout of the published BASED checkpoints."""

import json
import os
import shutil

import torch
from safetensors.torch import load_file, save_file

from model import Model, ModelConfig


def config_json(c: ModelConfig) -> dict:
    mixers = "based.models.mixers."
    return dict(
        architectures=["GPTLMHeadModel"],
        model_type="gpt2",
        vocab_size=c.vocab,
        pad_vocab_size_multiple=8,
        n_embd=c.width,
        n_layer=c.layers,
        n_head=c.heads,
        n_inner=c.inner,
        n_positions=2048,
        max_position_embeddings=0,
        alt_mixer_layers=c.layers_of("l"),
        alt_mixer_2_layers=c.layers_of("s"),
        mixer=dict(_target_=mixers + "convolution.BaseConv", l_max=2048, use_bias=True, expand_proj=4, kernel_size=3),
        alt_mixer=dict(
            _target_=mixers + "linear_attention.LinearAttention",
            l_max=2048,
            feature_dim=c.feature_dim,
            num_heads=c.heads,
            feature_map=dict(_target_=mixers + "linear_attention.TaylorExp", input_dim=c.feature_dim),
        ),
        alt_mixer_2=dict(
            _target_=mixers + "slide_attention.SlidingAttention",
            window_size=c.window,
            num_heads=c.heads,
            causal=True,
        ),
        activation_function="swiglu",
        mlp_fc1_bias=False,
        mlp_fc2_bias=False,
        qkv_proj_bias=False,
        out_proj_bias=False,
        rms_norm=True,
        layer_norm_epsilon=1e-5,
        residual_in_fp32=True,
        rotary_emb_fraction=1,
        rotary_emb_base=10000.0,
        attn_pdrop=0,
        embd_pdrop=0,
        resid_pdrop=0,
        use_flash_attn=True,
        bos_token_id=0,
        eos_token_id=0,
    )


def save(model: Model, tokenizer_file: str, folder: str):
    """Weights in bf16. A BASED model only: the layout has no name for full attention in every layer."""
    os.makedirs(folder, exist_ok=True)
    weights = {name: p.detach().to("cpu", torch.bfloat16).contiguous() for name, p in model.state_dict().items()}
    save_file(weights, os.path.join(folder, "model.safetensors"), metadata={"format": "pt"})
    with open(os.path.join(folder, "config.json"), "w", encoding="utf-8") as f:
        json.dump(config_json(model.config), f, indent=1)
    shutil.copyfile(tokenizer_file, os.path.join(folder, "tokenizer.json"))


def load(folder: str) -> Model:
    """The model of a folder that save wrote, with weights in fp32."""
    with open(os.path.join(folder, "config.json"), encoding="utf-8") as f:
        c = json.load(f)
    kinds = ["c"] * c["n_layer"]
    for kind, key in ("l", "alt_mixer_layers"), ("s", "alt_mixer_2_layers"):
        for i in c[key]:
            kinds[i] = kind
    config = ModelConfig(
        order="".join(kinds),
        layers=c["n_layer"],
        width=c["n_embd"],
        heads=c["n_head"],
        inner=c["n_inner"],
        feature_dim=c["alt_mixer"]["feature_dim"],
        window=c["alt_mixer_2"]["window_size"],
        vocab=c["vocab_size"],
    )
    model = Model(config)
    weights = load_file(os.path.join(folder, "model.safetensors"))
    model.load_state_dict({name: w.float() for name, w in weights.items()})
    return model
