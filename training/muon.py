"""The optimizers: Muon for matrices inside the network, AdamW for the rest."""

import torch


class Muon(torch.optim.Optimizer):
    """Momentum whose update matrix is made orthogonal (Jordan 2024); its size is that of an Adam update
    (arXiv 2502.16982)."""

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
                torch._foreach_mul_(params, 1 - group["lr"] * group["weight_decay"])
                size = group["lr"] * self.SCALE * max(shape) ** 0.5
                torch._foreach_add_(params, list((update * -size).unbind()))


def orthogonal(x):
    """The nearest semi-orthogonal matrices of x [n, rows, columns], by five Newton-Schulz steps in bf16."""
    x = x.bfloat16()
    is_tall = x.shape[-2] > x.shape[-1]
    if is_tall:
        x = x.mT
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(5):
        a = x @ x.mT
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
    return (x.mT if is_tall else x).float()


def optimizers(model, lr: float, query_key_rate: float) -> list[torch.optim.Optimizer]:
    """Weight decay on matrices only, and not on the queries and keys of linear attention, whose scores it would flatten.

    Queries and keys have no norm in BASED, and orthogonal updates move them by `lr * width` a step: they get the share
    `query_key_rate` of the rate, or scores grow past the range in which their sign counts (p(s) is nearly even there).
    """
    sharp, windows, matrices, embedding, vectors = [], [], [], [], []
    for name, p in model.named_parameters():
        if "proj_q" in name or "proj_k" in name:
            sharp.append(p)
        elif "Wqkv" in name:
            windows.append(p)
        elif "word_embeddings" in name:
            embedding.append(p)
        elif p.dim() == 2:
            matrices.append(p)
        else:
            vectors.append(p)
    muon = [dict(params=matrices, share=1.0)]
    if windows:
        muon.append(dict(params=windows, share=query_key_rate))
    if sharp:
        muon.append(dict(params=sharp, share=query_key_rate, weight_decay=0))
    adam = [dict(params=embedding, share=1.0, weight_decay=0.1), dict(params=vectors, share=1.0, weight_decay=0)]
    is_fused = next(model.parameters()).is_cuda
    return [Muon(muon, lr), torch.optim.AdamW(adam, lr=lr, betas=(0.9, 0.95), fused=is_fused)]
