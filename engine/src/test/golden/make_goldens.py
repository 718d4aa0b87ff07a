"""Makes the golden checkpoints of ../resources/golden with NumPy alone.

    python3 make_goldens.py trim FROM     # g*: shortens what came from the authors' code (see the README there)
    python3 make_goldens.py make          # p*: small checkpoints of the variants that g* leaves out

Logits of p* come from based_reference.py in float64, with one epsilon for prefill and step alike.
"""
import collections, json, os, pickle, shutil, struct, sys, types, zipfile
import numpy as np
from based_reference import Based, clean_names, read_safetensors

OUT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "resources", "golden")
DECODE = 20
TYPES = {"F32": ("<f4", "FloatStorage"), "F16": ("<f2", "HalfStorage"), "BF16": ("<u2", "BFloat16Storage")}


def encode(x, kind):
    """The array rounded to a type, as its little-endian items."""
    x = np.ascontiguousarray(x, np.float32)
    if kind != "BF16":
        return x.astype(TYPES[kind][0])
    bits = x.view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2")


def decode(raw, kind):
    return (raw.astype(np.uint32) << 16).view(np.float32) if kind == "BF16" else raw.astype(np.float32)


def write_safetensors(path, arrays, kind):
    head, blobs, at = {}, [], 0
    for name, x in arrays.items():
        blob = encode(x, kind).tobytes()
        head[name] = {"dtype": kind, "shape": list(x.shape), "data_offsets": [at, at + len(blob)]}
        blobs.append(blob)
        at += len(blob)
    text = json.dumps(head).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + b"".join(blobs))


def write_torch_zip(path, arrays, kind):
    """As torch.save writes it, with two storages that hold several tensors each, and some tensors transposed."""
    module = types.ModuleType("torch")
    utils = types.ModuleType("torch._utils")
    storage = type(TYPES[kind][1], (), {"__module__": "torch"})
    setattr(module, storage.__name__, storage)
    def _rebuild_tensor_v2(*_):
        raise NotImplementedError
    _rebuild_tensor_v2.__module__, _rebuild_tensor_v2.__qualname__ = "torch._utils", "_rebuild_tensor_v2"
    utils._rebuild_tensor_v2 = _rebuild_tensor_v2
    sys.modules.update({"torch": module, "torch._utils": utils})
    Storage = collections.namedtuple("Storage", "key count")

    class Tensor:
        def __init__(self, *args):
            self.args = args
        def __reduce__(self):
            return _rebuild_tensor_v2, self.args + (False, collections.OrderedDict())

    class Pickler(pickle.Pickler):
        def persistent_id(self, x):
            return ("storage", storage, x.key, "cpu", x.count) if isinstance(x, Storage) else None

    blobs = [[], []]
    lengths = [0, 0]
    places = {}
    for i, (name, x) in enumerate(arrays.items()):
        transposed = x.ndim == 2 and i % 3 == 0
        blob = encode(x.T if transposed else x, kind).ravel()
        shape = tuple(x.shape)
        stride = tuple(int(np.prod(shape[j + 1:])) for j in range(len(shape)))
        places[name] = (i % 2, lengths[i % 2], shape, (1, shape[0]) if transposed else stride)
        blobs[i % 2].append(blob)
        lengths[i % 2] += blob.size
    state = collections.OrderedDict(
        (name, Tensor(Storage(str(k), lengths[k]), at, shape, stride)) for name, (k, at, shape, stride) in places.items())
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as z:
        entry = lambda name: zipfile.ZipInfo("pytorch_model/" + name)
        with z.open(entry("data.pkl"), "w") as f:
            Pickler(f, protocol=2).dump(state)
        for k in range(2):
            z.writestr(entry(f"data/{k}"), np.concatenate(blobs[k]).tobytes())
        z.writestr(entry("version"), "3\n")


# ------------------------------------------------------------------ configurations

def conv(**kw):
    return {"_target_": "based.models.mixers.convolution.BaseConv", "expand_proj": 2, "use_bias": True, **kw}


def taylor(dim, **kw):
    return {"_target_": "based.models.mixers.linear_attention.LinearAttention", "feature_dim": dim,
            "feature_map": {"_target_": "based.models.mixers.linear_attention.TaylorExp", "input_dim": dim}, **kw}


def window(size, **kw):
    return {"_target_": "based.models.mixers.slide_attention.SlidingAttention", "window_size": size, **kw}


NO_BIAS = {"mlp_fc1_bias": False, "mlp_fc2_bias": False, "qkv_proj_bias": False, "out_proj_bias": False}
PLAIN = {"n_embd": 16, "n_layer": 3, "vocab_size": 29, "alt_mixer_layers": [1], "alt_mixer_2_layers": [2],
         "activation_function": "swiglu", "rms_norm": True, "max_position_embeddings": 0, **NO_BIAS}

GOLDENS = {
    "p1_partial_rotary": ("F16", "model.safetensors", {
        **PLAIN, "n_head": 2, "rotary_emb_fraction": 0.5, "mlp_type": "alt", "ff_mult": 2,
        "activation_function": "geglu", "layer_norm_epsilon": 1e-3, "scale_attn_by_inverse_layer_idx": True,
        "tie_word_embeddings": False, "pad_vocab_size_multiple": 16,
        "mixer": conv(kernel_size=4), "alt_mixer": taylor(8, num_heads=2), "alt_mixer_2": window(17)}),
    "p2_grouped_heads": ("F16", "model.safetensors", {
        **PLAIN, "n_head": 4, "n_head_kv": 2, "rotary_emb_fraction": 1, "rotary_emb_base": 500.0,
        "rotary_emb_interleaved": True, "pad_vocab_size_multiple": 8, "mixer": conv(),
        "alt_mixer": taylor(4, num_heads=2, head_dim=6, eps=0.5),
        # The heads of the mixer itself count for nothing.
        "alt_mixer_2": window(12, num_heads=16, num_heads_kv=16, softmax_scale=7.0)}),
    "p3_bf16_wide_head": ("BF16", "model.safetensors", {
        **PLAIN, "n_embd": 32, "n_layer": 2, "n_head": 1, "alt_mixer_layers": [0], "alt_mixer_2_layers": [1],
        "rotary_emb_fraction": 1, "pad_vocab_size_multiple": 8,
        "alt_mixer": taylor(16, num_heads=1), "alt_mixer_2": window(40)}),
    "p4_bin_plain": ("F16", "pytorch_model.bin", {
        **{k: v for k, v in PLAIN.items() if not k.endswith("bias") and k not in ("n_embd", "n_layer")},
        "hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "n_inner": None,
        "rotary_emb_fraction": 1, "pad_vocab_size_multiple": 8, "qkv_proj_bias": False,
        "mixer": conv(expand_proj=4, use_bias=False), "alt_mixer": taylor(8, num_heads=4),
        "alt_mixer_2": window(16)}),
    "p5_positions_layernorm": ("F32", "model.safetensors", {
        **PLAIN, "n_embd": 12, "n_layer": 2, "n_head": 2, "rms_norm": False, "activation_function": "glu",
        "max_position_embeddings": 96, "scale_attn_weights": False,
        "alt_mixer_layers": [0], "alt_mixer_2_layers": [1],
        "alt_mixer": taylor(4, num_heads=3), "alt_mixer_2": window(10)}),
    "p6_biases": ("F16", "model.safetensors", {
        **{k: v for k, v in PLAIN.items() if not k.endswith("bias")}, **dict.fromkeys(NO_BIAS, True),
        "lm_head_bias": True, "n_head": 4, "n_inner": 200, "rotary_emb_fraction": 1, "pad_vocab_size_multiple": 8,
        "mixer": conv(use_bias=False), "alt_mixer": taylor(16, num_heads=2), "alt_mixer_2": window(16)}),
}
LENGTHS = [(1, 1), (2, 1), (7, 3), (70, 1)]


def shapes(c):
    """Name -> shape of every parameter."""
    d, layers = c.get("n_embd", c.get("hidden_size")), c.get("n_layer", c.get("num_hidden_layers"))
    heads, m = c.get("n_head", c.get("num_attention_heads")), c.get("pad_vocab_size_multiple", 1)
    vocab = -(-c["vocab_size"] // m) * m
    out = {}
    def linear(name, o, i, bias):
        out[name + ".weight"] = (o, i)
        if bias:
            out[name + ".bias"] = (o,)
    def norm(name):
        out[name + ".weight"] = (d,)
        if not c.get("rms_norm", False):
            out[name + ".bias"] = (d,)
    out["transformer.embeddings.word_embeddings.weight"] = (vocab, d)
    if c["max_position_embeddings"]:
        out["transformer.embeddings.position_embeddings.weight"] = (c["max_position_embeddings"], d)
    for i in range(layers):
        p = f"transformer.layers.{i}."
        kind = "alt_mixer_2" if i in c["alt_mixer_2_layers"] else "alt_mixer" if i in c["alt_mixer_layers"] else "mixer"
        mix = c[kind]
        norm(p + "norm1")
        if kind == "mixer":
            w = mix["expand_proj"] * d
            linear(p + "mixer.in_proj", w, d, mix["use_bias"])
            out[p + "mixer.conv.conv.weight"] = (w // 2, 1, mix.get("kernel_size", 3))
            linear(p + "mixer.out_proj", d, w // 2, mix["use_bias"])
        elif kind == "alt_mixer":
            h = mix["num_heads"]
            value = h * (mix.get("head_dim") or d // h)
            linear(p + "mixer.proj_q", h * mix["feature_dim"], d, False)
            linear(p + "mixer.proj_k", h * mix["feature_dim"], d, False)
            linear(p + "mixer.proj_v", value, d, False)
            linear(p + "mixer.out_proj", d, value, False)
        else:
            linear(p + "mixer.Wqkv", (heads + 2 * c.get("n_head_kv", heads)) * (d // heads), d, c.get("qkv_proj_bias", True))
            linear(p + "mixer.out_proj", d, d, c.get("out_proj_bias", True))
        norm(p + "norm2")
        base = c.get("mlp_type", "base") == "base"
        inner = (c.get("n_inner") or int(8 * d / 3)) if base else int(2 * d * c.get("ff_mult", 2) / 3)
        inner = -(-inner // 256) * 256
        linear(p + "mlp.fc1", 2 * inner if base else inner, d, c.get("mlp_fc1_bias", True))
        if not base:
            linear(p + "mlp.fc3", inner, d, c.get("mlp_fc1_bias", True))
        linear(p + "mlp.fc2", d, inner, c.get("mlp_fc2_bias", True))
    norm("transformer.ln_f")
    if not c.get("tie_word_embeddings", True):
        out["lm_head.weight"] = (vocab, d)
    if c.get("lm_head_bias", False):
        out["lm_head.bias"] = (vocab,)
    return out


def weights(config, rng):
    """Large enough that every mistake in the arithmetic moves the logits by more than their tolerance."""
    out = {}
    for name, shape in shapes(config).items():
        x = rng.standard_normal(shape)
        if name.endswith("bias"):
            x *= 0.2
        elif "norm" in name or "ln_f" in name:
            x = 1 + 0.2 * x
        elif "embeddings" in name or "lm_head" in name:
            x *= 1.5 / np.sqrt(shape[-1])
        else:
            x *= (1.6 if "proj_q" in name or "proj_k" in name or "Wqkv" in name else 1.0) / np.sqrt(shape[-1])
        out[name] = x
    return out


# ------------------------------------------------------------------ commands

def write_expected(directory, name, cases, arrays):
    with open(os.path.join(directory, "expected.json"), "w") as f:
        rows = ",\n".join("  " + json.dumps(case) for case in cases)
        f.write(f'{{\n "name": "{name}",\n "decode_steps": {DECODE},\n "cases": [\n{rows}\n ]\n}}\n')
    write_safetensors(os.path.join(directory, "expected.safetensors"), arrays, "F32")


def make():
    for number, (name, (kind, file, config)) in enumerate(GOLDENS.items(), 1):
        rng = np.random.default_rng(2400 + number)
        directory = os.path.join(OUT, name)
        os.makedirs(directory, exist_ok=True)
        with open(os.path.join(directory, "config.json"), "w") as f:
            json.dump(config, f, indent=1)
            f.write("\n")
        stored = {k: decode(encode(x, kind), kind).reshape(x.shape) for k, x in weights(config, rng).items()}
        (write_safetensors if file.endswith("safetensors") else write_torch_zip)(
            os.path.join(directory, file), stored, kind)
        filled = {"n_layer": config.get("num_hidden_layers"), "n_head": config.get("num_attention_heads"),
                  "n_embd": config.get("hidden_size"), **config}
        model = Based(filled, stored)
        cases, arrays = [], {}
        for length, batch in LENGTHS:
            ids = rng.integers(0, config["vocab_size"], (batch, length + DECODE))
            logits = model.parallel(ids)
            state = model.new_state(batch)
            for t in range(ids.shape[1]):
                step = model.step(ids[:, t], state, in_prompt=True)
                assert np.abs(step - logits[:, t]).max() < 1e-11, (name, length, t)
            cases.append({"name": f"len{length}", "prompt_len": length, "input_ids": ids.tolist()})
            arrays[f"len{length}.prefill_logits"] = logits[:, :length]
            arrays[f"len{length}.decode_logits"] = logits[:, length - 1:]
        write_expected(directory, name, cases, arrays)
        print(name, "logits std", round(float(np.std(arrays["len70.prefill_logits"])), 2))


def trim(source):
    for name in sorted(os.listdir(source)):
        directory = os.path.join(OUT, name)
        if not os.path.isdir(directory):
            continue  # what it shows, a smaller p* shows too
        for file in ("config.json", "model.safetensors", "pytorch_model.bin"):
            if os.path.exists(os.path.join(source, name, file)):
                shutil.copyfile(os.path.join(source, name, file), os.path.join(directory, file))
        expected = read_safetensors(os.path.join(source, name, "expected.safetensors"))
        cases, arrays = [], {}
        with open(os.path.join(source, name, "expected.json")) as f:
            for case in json.load(f)["cases"]:
                key = case["name"]
                cases.append({"name": key, "prompt_len": case["prompt_len"],
                              "input_ids": expected[key + ".input_ids"].tolist()})
                arrays[key + ".prefill_logits"] = expected[key + ".prefill_logits.f32"]
                arrays[key + ".decode_logits"] = expected[key + ".decode_logits.f32"]
        write_expected(directory, name, cases, arrays)


if __name__ == "__main__":
    trim(sys.argv[2]) if sys.argv[1] == "trim" else make()
