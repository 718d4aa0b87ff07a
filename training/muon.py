"""The optimizers: Muon for matrices inside the network, AdamW for the rest."""

import torch


class Muon(torch.optim.Optimizer):
    """Momentum whose update matrix is made orthogonal (Jordan 2024); its size is that of an Adam update
    (arXiv 2502.16982).

    Parameters are matrices or stacks of them; `lr` is a number or, for stacks, a tensor that broadcasts over them."""

    SCALE = 0.3

    def __init__(self, groups, lr: float):
        super().__init__(groups, dict(lr=lr, momentum=0.95, weight_decay=0.1))

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for shape in {p.shape for p in group["params"]}:  # one batched iteration for all matrices of a shape
                params = [p for p in group["params"] if p.shape == shape]
                for p in params:
                    if not self.state[p]:
                        self.state[p]["momentum"] = torch.zeros_like(p)
                momenta = [self.state[p]["momentum"] for p in params]
                grads = [p.grad for p in params]
                torch._foreach_lerp_(momenta, grads, 1 - group["momentum"])
                update = orthogonal(torch.stack(torch._foreach_lerp(grads, momenta, group["momentum"])))
                kept = 1 - group["lr"] * group["weight_decay"]
                torch._foreach_mul_(params, [kept] * len(params) if torch.is_tensor(kept) else kept)
                size = group["lr"] * self.SCALE * max(shape[-2:]) ** 0.5
                torch._foreach_add_(params, list((update * -size).unbind()))


def orthogonal(x):
    """The nearest semi-orthogonal matrices of x [.., rows, columns], by five Newton-Schulz steps in bf16."""
    x = x.bfloat16()
    is_tall = x.shape[-2] > x.shape[-1]
    if is_tall:
        x = x.mT
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(5):
        a = x @ x.mT
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
    return (x.mT if is_tall else x).float()


def parameter_groups(model, stacked: int = 0) -> tuple[list[dict], list[dict]]:
    """The parameters for Muon and those for AdamW; each has `stacked` dimensions before its own.

    Weight decay on matrices only, and not on the queries and keys of linear attention, whose scores it would flatten.
    """
    sharp, matrices, embedding, vectors = [], [], [], []
    for name, p in model.named_parameters():
        if "proj_q" in name or "proj_k" in name:
            sharp.append(p)
        elif "word_embeddings" in name:
            embedding.append(p)
        elif p.dim() == 2 + stacked:
            matrices.append(p)
        else:
            vectors.append(p)
    muon = [dict(params=matrices, weight_decay=0.1)]
    if sharp:
        muon.append(dict(params=sharp, weight_decay=0))
    return muon, [dict(params=embedding, weight_decay=0.1), dict(params=vectors, weight_decay=0)]


def optimizers(model, lr: float) -> list[torch.optim.Optimizer]:
    muon, adam = parameter_groups(model)
    is_fused = next(model.parameters()).is_cuda
    return [Muon(muon, lr), torch.optim.AdamW(adam, lr=lr, betas=(0.9, 0.95), fused=is_fused)]


class QueryKeyCap:
    """Holds the Frobenius norm of each head's query and key weights under a cap, after every step.

    BASED has no norm on queries and keys, and with orthogonal updates scores would grow without end. Inputs are of unit
    root mean square, so a head's queries and keys have a length near that norm: with caps of 8 a linear head's scores
    q.k / sqrt(f) reach 16 and more, where p(s) tells a match from 64 others.
    """

    LINEAR, WINDOW = 8.0, 16.0

    def __init__(self, model):
        self.heads = []  # [.., heads, rows of a head, d] and its cap
        for block in model.transformer.layers:
            mixer = block.mixer
            if hasattr(mixer, "proj_q"):
                for p in mixer.proj_q.weight, mixer.proj_k.weight:
                    self.heads.append((p.detach().unflatten(-2, (mixer.heads, -1)), self.LINEAR))
            elif hasattr(mixer, "Wqkv"):
                all_heads = mixer.Wqkv.weight.detach().unflatten(-2, (3 * mixer.heads, -1))
                self.heads.append((all_heads[..., : 2 * mixer.heads, :, :], self.WINDOW))

    @torch.no_grad()
    def apply(self):
        for weights, cap in self.heads:
            weights.mul_((cap / weights.norm(dim=(-2, -1), keepdim=True)).clamp(max=1))
