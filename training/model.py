"""The BASED architecture (arXiv 2402.18668) and an attention model of equal size, for training.

Parameter names are those of the published BASED checkpoints. Shapes in comments: B rows, L tokens, d width, H heads,
f feature dimension, e head width, N vocabulary.
"""

import math
from dataclasses import dataclass, field

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.nn.attention.flex_attention import create_block_mask, flex_attention


@dataclass
class ModelConfig:
    """One model. `order` is the mixer of each layer, repeated: c convolution, s sliding window, l linear, a attention,
    m Mamba-2 with a state of `feature_dim`."""

    order: str = "csl"
    layers: int = 12
    width: int = 256
    heads: int = 8
    inner: int = 512
    feature_dim: int = 16
    window: int = 128  # as in config.json: a token sees itself and the window // 2 before it
    vocab: int = 8192
    kinds: str = field(init=False)

    def __post_init__(self):
        self.kinds = (self.order * self.layers)[: self.layers]

    def layers_of(self, kind: str) -> list[int]:
        return [i for i, k in enumerate(self.kinds) if k == kind]


class RmsNorm(nn.Module):
    """Normalizes in fp32."""

    def __init__(self, width: int):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x):
        x = x.float()
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-5) * self.weight


class BaseConv(nn.Module):
    """Gated short convolution: a, g = in_proj(x); y = out_proj(silu(causal_conv3(a)) * g)."""

    KERNEL = 3

    def __init__(self, width: int):
        super().__init__()
        inner = 2 * width
        self.in_proj = nn.Linear(width, 2 * inner)
        self.out_proj = nn.Linear(inner, width)
        self.conv = nn.Module()
        self.conv.conv = nn.Conv1d(inner, inner, self.KERNEL, groups=inner, bias=False)

    @torch.no_grad()
    def start(self):
        """Open gates, and an output as large as the embedding's: each token knows the two before it from the start.

        A gate around zero would give what came before a sign that depends on the current token, so that no query could
        find it again.
        """
        nn.init.ones_(self.in_proj.bias.chunk(2)[1])
        nn.init.normal_(self.out_proj.weight, std=0.02)

    def forward(self, x, view):
        a, g = self.in_proj(x).chunk(2, -1)
        taps = self.conv.conv.weight[:, 0]  # [2 d, K], the last tap is the current token
        padded = F.pad(a, (0, 0, self.KERNEL - 1, 0))
        c = sum(padded[:, k : k + a.shape[1]] * taps[:, k] for k in range(self.KERNEL))
        return self.out_proj(F.silu(c) * g)


def taylor(score, b, h, i, j):
    """A softmax of log p(s) gives the weights p(s) / sum p(s): FlexAttention with it is Taylor linear attention."""
    return torch.log(1 + score + 0.5 * score * score)


class LinearAttention(nn.Module):
    """y_i = sum_{j<=i} p(s_ij) v_j / sum_{j<=i} p(s_ij) with p(s) = 1 + s + s^2/2 and s = q.k / sqrt(f)."""

    def __init__(self, width: int, heads: int, feature_dim: int):
        super().__init__()
        self.heads, self.feature_dim = heads, feature_dim
        self.proj_q = nn.Linear(width, heads * feature_dim, bias=False)
        self.proj_k = nn.Linear(width, heads * feature_dim, bias=False)
        self.proj_v = nn.Linear(width, width, bias=False)
        self.out_proj = nn.Linear(width, width, bias=False)

    @torch.no_grad()
    def start(self):
        """Queries equal to keys, of unit size: what is alike finds itself from the start. p(s) is flat around s = 0."""
        nn.init.normal_(self.proj_q.weight, std=self.proj_q.in_features**-0.5)
        self.proj_k.weight.copy_(self.proj_q.weight)

    def forward(self, x, view):
        rows, length, width = x.shape
        q = self.proj_q(x).view(rows, length, self.heads, -1).transpose(1, 2)
        k = self.proj_k(x).view(rows, length, self.heads, -1).transpose(1, 2)
        v = self.proj_v(x).view(rows, length, self.heads, -1).transpose(1, 2)
        if view.fused:
            y = flex_attention(q, k, v, score_mod=taylor, block_mask=view.causal)
        else:
            t = 1 + (q / math.sqrt(self.feature_dim)) @ k.mT
            p = torch.where(view.causal, 1 + t * t, 0.0)  # twice p(s), which the quotient does not see
            y = (p @ v) / p.sum(-1, keepdim=True).to(v.dtype)
        return self.out_proj(y.transpose(1, 2).reshape(rows, length, width))


class Attention(nn.Module):
    """Softmax attention with rotary positions, over all tokens before or over a window of them."""

    def __init__(self, width: int, heads: int, windowed: bool):
        super().__init__()
        self.heads, self.windowed = heads, windowed
        self.Wqkv = nn.Linear(width, 3 * width, bias=False)
        self.out_proj = nn.Linear(width, width, bias=False)

    def forward(self, x, view):
        rows, length, width = x.shape
        q, k, v = self.Wqkv(x).view(rows, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        q, k = view.rotate(q), view.rotate(k)
        mask = view.window if self.windowed else view.causal
        if view.fused:
            y = flex_attention(q, k, v, block_mask=mask)
        else:
            s = (q / math.sqrt(q.shape[-1])) @ k.mT
            y = torch.where(mask, s.float(), float("-inf")).softmax(-1).to(v.dtype) @ v
        return self.out_proj(y.transpose(1, 2).reshape(rows, length, width))


class Mamba(nn.Module):
    """Mamba-2 (arXiv 2405.21060), dense and gated: y_t = sum_{u<=t} exp(a_{u+1} + .. + a_t) (c_t . b_u) dt_u x_u.
    """

    KERNEL, HEAD = 4, 32

    def __init__(self, width: int, state: int):
        super().__init__()
        self.inner, self.state, self.heads = 2 * width, state, 2 * width // self.HEAD
        self.in_proj = nn.Linear(width, 2 * self.inner + 2 * state + self.heads, bias=False)
        self.conv = nn.Conv1d(
            self.inner + 2 * state, self.inner + 2 * state, self.KERNEL, groups=self.inner + 2 * state, bias=False
        )
        self.log_decay = nn.Parameter(torch.empty(self.heads))
        self.step_shift = nn.Parameter(torch.empty(self.heads))  # softplus of it is the step
        self.skip = nn.Parameter(torch.ones(self.heads))
        self.norm = RmsNorm(self.inner)
        self.out_proj = nn.Linear(self.inner, width, bias=False)

    @torch.no_grad()
    def start(self):
        """A start for look-ups, as the convolution and linear attention have one.

        At its authors' steps of 0.001 to 0.1 what the state returns is a hundredth of what skips it, and most heads
        forget within ten tokens: here steps are 0.1 to 1 and heads forget within 8 to 1,000 tokens. Queries (c) equal
        keys (b), but see the current token where keys see the one before it.
        """
        nn.init.kaiming_uniform_(self.in_proj.weight, a=math.sqrt(5))
        step = torch.empty(self.heads).uniform_(math.log(0.1), 0).exp()
        self.step_shift.copy_(step.expm1().log())
        self.log_decay.copy_(-(step * torch.logspace(math.log10(8), 3, self.heads)).log())
        keys, queries = slice(self.inner, -self.state), slice(-self.state, None)
        projected = self.in_proj.weight[self.inner : -self.heads]
        projected[queries] = projected[keys]
        self.conv.weight[queries, :, -1] = self.conv.weight[keys, :, -2]

    def forward(self, x, view):
        rows, length, _ = x.shape
        gate, mixed, step = self.in_proj(x).split((self.inner, self.inner + 2 * self.state, self.heads), -1)
        padded = F.pad(mixed, (0, 0, self.KERNEL - 1, 0))
        taps = self.conv.weight[:, 0]
        mixed = F.silu(sum(padded[:, k : k + length] * taps[:, k] for k in range(self.KERNEL)))
        value, b, c = mixed.split((self.inner, self.state, self.state), -1)
        step = F.softplus(step.float() + self.step_shift).transpose(1, 2)  # [B, H, L]
        total = (-self.log_decay.exp()[:, None] * step).cumsum(-1)
        past = total - step.log()  # so that exp(total_t - past_u) is the decay times the step
        decay = torch.where(view.causal, total[..., :, None] - past[..., None, :], float("-inf")).exp()
        value = value.reshape(rows, length, self.heads, self.HEAD).transpose(1, 2).float()
        weights = (c.float() @ b.float().mT)[:, None] * decay
        y = weights @ value + self.skip[:, None, None] * value
        y = y.transpose(1, 2).reshape(rows, length, self.inner)
        return self.out_proj(self.norm(y * F.silu(gate.float())))


class View:
    """What a query sees in rows [B, L] of one shape: masks for FlexAttention (fused) or dense ones, and rotary angles.

    A row may be cut into segments that do not see each other, except for the two tokens of a convolution.
    """

    def __init__(self, rows: int, length: int, config: ModelConfig, device: str, fused: bool):
        self.fused, self.left = fused, config.window // 2
        self.start = torch.zeros(rows, length, dtype=torch.int32, device=device)  # the first position that each sees
        self.causal, self.window = self.masks()
        head_width = config.width // config.heads
        frequency = 10000.0 ** (-torch.arange(0, head_width, 2, dtype=torch.float64) / head_width)
        angle = torch.arange(length, dtype=torch.float64)[:, None] * frequency
        self.cos, self.sin = angle.cos().float().to(device), angle.sin().float().to(device)

    def masks(self):
        start, left = self.start, self.left

        def causal(b, h, i, j):
            return (i >= j) & (j >= start[b, i])

        def window(b, h, i, j):
            return (i >= j) & (j >= start[b, i]) & (i - j <= left)

        rows, length = start.shape
        if self.fused:
            return (create_block_mask(f, rows, None, length, length, device=start.device) for f in (causal, window))
        at = torch.arange(length, device=start.device)
        first = start[:, None, :, None]
        is_causal = (at[:, None] >= at) & (at >= first)  # [B, 1, L, L]
        return is_causal, is_causal & (at[:, None] - at <= left)

    def cut(self, segments: list[int]):
        """Cuts row b into segments of segments[b] tokens. In place, for compiled code holds the tensors."""
        at = torch.arange(self.start.shape[1], device=self.start.device)
        size = torch.tensor(segments, device=self.start.device)[:, None]
        self.start.copy_(at - at % size)
        for mask, new in zip((self.causal, self.window), self.masks()):
            for to, of in zip(tensors(mask), tensors(new)):
                to.copy_(of)

    def rotate(self, x):
        """Turns the pairs (i, i + e/2) of each head by their position's angles."""
        low, high = x.float().chunk(2, -1)
        return torch.cat((low * self.cos - high * self.sin, high * self.cos + low * self.sin), -1).to(x.dtype)


def tensors(mask) -> list[torch.Tensor]:
    if isinstance(mask, torch.Tensor):
        return [mask]
    return [t for _, t in sorted(vars(mask).items()) if isinstance(t, torch.Tensor)]


class GatedMlp(nn.Module):
    def __init__(self, width: int, inner: int):
        super().__init__()
        self.fc1 = nn.Linear(width, 2 * inner, bias=False)
        self.fc2 = nn.Linear(inner, width, bias=False)

    def forward(self, x):
        value, gate = self.fc1(x).chunk(2, -1)
        return self.fc2(F.silu(gate) * value)


class Block(nn.Module):
    def __init__(self, config: ModelConfig, kind: str):
        super().__init__()
        match kind:
            case "c":
                self.mixer = BaseConv(config.width)
            case "l":
                self.mixer = LinearAttention(config.width, config.heads, config.feature_dim)
            case "m":
                self.mixer = Mamba(config.width, config.feature_dim)
            case "s" | "a":
                self.mixer = Attention(config.width, config.heads, kind == "s")
        self.norm1, self.norm2 = RmsNorm(config.width), RmsNorm(config.width)
        self.mlp = GatedMlp(config.width, config.inner)

    def forward(self, residual, view):
        residual = residual + self.mixer(self.norm1(residual), view).float()
        return residual + self.mlp(self.norm2(residual)).float()


class Model(nn.Module):
    def __init__(self, config: ModelConfig):
        super().__init__()
        self.config = config
        self.transformer = nn.Module()
        self.transformer.embeddings = nn.Module()
        self.transformer.embeddings.word_embeddings = nn.Embedding(config.vocab, config.width)
        self.transformer.layers = nn.ModuleList(Block(config, kind) for kind in config.kinds)
        self.transformer.ln_f = RmsNorm(config.width)
        for name, p in self.named_parameters():
            if name.endswith("bias"):
                nn.init.zeros_(p)
            elif p.dim() == 2:
                nn.init.normal_(p, std=self.initial_scale(name))
        for block in self.transformer.layers:
            if isinstance(block.mixer, (BaseConv, LinearAttention, Mamba)):
                block.mixer.start()

    def initial_scale(self, name: str) -> float:
        if name.endswith(("out_proj.weight", "fc2.weight")):
            return 0.02 / math.sqrt(2 * self.config.layers)
        return 0.02

    def forward(self, ids, view, places: slice = slice(None)):
        """Logits [B, L, N] of the tokens after `ids` [B, L], or after those at some places."""
        embedding = self.transformer.embeddings.word_embeddings.weight
        residual = F.embedding(ids, embedding).float()
        for block in self.transformer.layers:
            residual = block(residual, view)
        return F.linear(self.transformer.ln_f(residual[:, places]), embedding)

    def losses(self, ids, view):
        """For ids [B, L + 1]: the loss of each token after the first, and whether it was the likeliest; [B, L]."""
        with torch.autocast(ids.device.type, torch.bfloat16):
            logits = self(ids[:, :-1], view)
        targets = ids[:, 1:]
        loss = F.cross_entropy(logits.float().flatten(0, 1), targets.flatten(), reduction="none").view_as(targets)
        return loss, logits.detach().argmax(-1) == targets
