"""Multi-query associative recall (MQAR, arXiv 2312.04927) by small models of equal size: accuracy against state bytes.

    mqar.py --out FILE.json [--seconds 80] [--only NAME..]

A row holds pairs of a key and a value, then queries: a key, after which its value must be named. Training asks at every
place left of a row; a test asks each key once, sooner more often than later, as the paper's generator does. All models
train side by side on one GPU, each with the same rows in the same order, as a CUDA graph on a stream of its own.
"""

import argparse
import json
import os
import time
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from model import Model, ModelConfig, View
from muon import QueryKeyCap, optimizers

VOCAB = 1024  # half keys, half values
LENGTH = 256
TRAIN_PAIRS = (4, 8, 16, 32, 64)
TEST_PAIRS = (8, 16, 32, 64, 96)
FEATURE_DIMS = (4, 8, 16, 24)
WINDOWS = (16, 64, 128)
MAMBA_INNER = {16: 176, 64: 144, 128: 96}  # the MLP's width by the size of the state, for equal parameters
SIZE = dict(layers=3, width=128, heads=4, inner=256, vocab=VOCAB)


def pairs_of(rows: int, pairs: int, device: str, generator):
    """Distinct keys and any values [rows, pairs], and ids [rows, LENGTH] that begin with them."""
    half = VOCAB // 2
    keys = 1 + torch.rand(rows, half - 1, device=device, generator=generator).argsort(1)[:, :pairs]
    values = torch.randint(half, VOCAB, (rows, pairs), device=device, generator=generator)
    ids = torch.zeros(rows, LENGTH, dtype=torch.long, device=device)
    ids[:, 0 : 2 * pairs : 2], ids[:, 1 : 2 * pairs : 2] = keys, values
    return keys, values, ids


def train_rows(rows: int, pairs: int, first_query: int, device: str, generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids and answers [rows, LENGTH], 0 where none is asked: pairs, then a query at every second token from
    `first_query` on, each of a random pair. A query's value is not in the ids, as in the paper; 0 fills what is left.
    """
    keys, values, ids = pairs_of(rows, pairs, device, generator)
    answers = torch.zeros_like(ids)
    asked = torch.randint(pairs, (rows, (LENGTH - first_query) // 2), device=device, generator=generator)
    ids[:, first_query::2] = keys.gather(1, asked)
    answers[:, first_query::2] = values.gather(1, asked)
    return ids, answers


def curriculum(rows: int, device: str, generator) -> tuple[torch.Tensor, torch.Tensor]:
    """The rows of a training, in order: few pairs for a quarter of it, far from their queries, so that no window sees
    both; then as many rows of each number of pairs, half of them with the queries right after the pairs."""
    half = LENGTH // 2
    few = [(rows // 8, pairs, half) for pairs in TRAIN_PAIRS[:2]]
    near_and_far = [(rows * 3 // 40, pairs, start) for pairs in TRAIN_PAIRS for start in (2 * pairs, half)]
    result = []
    for part in few, near_and_far:
        ids, answers = zip(*(train_rows(*sizes, device, generator) for sizes in part))
        shuffled = torch.randperm(sum(map(len, ids)), device=device, generator=generator)
        result.append((torch.cat(ids)[shuffled], torch.cat(answers)[shuffled]))
    return tuple(torch.cat(columns) for columns in zip(*result))


def test_rows(rows: int, pairs: int, device: str, generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids and answers as above, each key asked once; the gap to its query follows the paper's power law."""
    keys, values, ids = pairs_of(rows, pairs, device, generator)
    answers = torch.zeros_like(ids)
    places = (LENGTH - 2 * pairs) // 2
    asked = min(pairs, places)
    weights = torch.arange(1, places + 1, device=device, dtype=torch.float64) ** -0.99
    at = 2 * pairs + 2 * torch.multinomial(weights.expand(rows, -1), asked, generator=generator)
    key = torch.rand(rows, pairs, device=device, generator=generator).argsort(1)[:, :asked]
    ids.scatter_(1, at, keys.gather(1, key))
    answers.scatter_(1, at, values.gather(1, key))
    return ids, answers


@dataclass
class Point:
    """A model of the figure."""

    name: str
    config: ModelConfig

    def state_bytes(self) -> int:
        """Of one sequence of LENGTH tokens in fp32, counted as the engine does on a CPU; the engine has no a and m."""
        c = self.config
        features = 1 + c.feature_dim + c.feature_dim * (c.feature_dim + 1) // 2
        inner = 2 * c.width
        elements = dict(
            c=2 * inner,
            s=2 * (c.window // 2) * c.width,
            l=(c.width + c.heads) * features,
            a=2 * LENGTH * c.width,
            m=inner * c.feature_dim + 3 * (inner + 2 * c.feature_dim),
        )
        return 4 * sum(elements[kind] for kind in c.kinds)


def based(feature_dim: int, window: int) -> Point:
    dials = dict(feature_dim=feature_dim, window=window)
    return Point(f"based f={feature_dim} w={window}", ModelConfig(order="csl", **SIZE, **dials))


def points() -> list[Point]:
    """BASED by its dials, attention in place of window and linear layer, and Mamba-2 with states of several sizes."""
    result = [based(f, w) for f in FEATURE_DIMS for w in WINDOWS]
    result.append(Point("attention", ModelConfig(order="caa", **SIZE)))
    for state, inner in MAMBA_INNER.items():
        size = SIZE | dict(inner=inner)
        result.append(Point(f"mamba-2 n={state}", ModelConfig(order="m", feature_dim=state, **size)))
    return result


class Learner:
    """A model in training. Every step takes the next rows; on a GPU a step is one graph."""

    def __init__(self, point: Point, rows, args):
        torch.manual_seed(args.seed)
        self.point, self.args, self.ids, self.answers = point, args, *rows
        self.model = Model(point.config).to(args.device)
        self.view = View(args.batch, LENGTH, point.config, args.device, fused=False)
        self.rate = torch.zeros((), device=args.device)
        is_cuda = args.device == "cuda"
        self.optimizers = optimizers(self.model, self.rate if is_cuda else 0.0, capturable=is_cuda)
        self.cap = QueryKeyCap(self.model)
        self.at = torch.arange(args.batch, device=args.device)
        self.loss = torch.zeros((), device=args.device)
        self.curve = []

    def outputs(self, ids):
        with torch.autocast(self.args.device, torch.bfloat16):
            return self.model(ids, self.view).float()

    def step(self):
        ids, answers = self.ids[self.at], self.answers[self.at]
        self.at.add_(self.args.batch).remainder_(len(self.ids))
        loss = F.cross_entropy(self.outputs(ids).flatten(0, 1), answers.flatten(), ignore_index=0)
        self.loss.copy_(loss.detach())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for optimizer in self.optimizers:
            optimizer.step()
        self.cap.apply()
        self.model.zero_grad(set_to_none=False)

    def set_rate(self, rate: float):
        if self.args.device == "cpu":
            for optimizer in self.optimizers:
                for group in optimizer.param_groups:
                    group["lr"] = rate
        else:
            with torch.cuda.stream(self.stream):
                self.rate.fill_(rate)

    def capture(self):
        if self.args.device == "cpu":
            self.run = self.step
            return
        self.stream = torch.cuda.Stream()
        with torch.cuda.stream(self.stream):
            for _ in range(3):
                self.step()
        torch.cuda.synchronize()
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph, stream=self.stream):
            self.step()

    def run(self):
        with torch.cuda.stream(self.stream):
            self.graph.replay()

    @torch.no_grad()
    def accuracy(self, tests) -> dict[int, float]:
        """Share of right answers by number of pairs."""
        share = {}
        for pairs, (ids, answers) in tests.items():
            right = [self.outputs(part).argmax(-1) for part in ids.split(self.args.batch)]
            is_asked = answers > 0
            share[pairs] = (torch.cat(right) == answers)[is_asked].float().mean().item()
        return share


def train(args) -> dict:
    torch.set_float32_matmul_precision("high")
    generator = torch.Generator(device=args.device).manual_seed(args.seed)
    rows = curriculum(args.rows, args.device, generator)
    tests = {pairs: test_rows(args.test_rows, pairs, args.device, generator) for pairs in TEST_PAIRS}
    chosen = [p for p in points() if not args.only or p.name in args.only]
    learners = [Learner(point, rows, args) for point in chosen]
    for learner in learners:
        learner.capture()
    start, step, progress = time.time(), 0, 0.0
    while progress < 1:
        rate = args.learning_rate * min(1, (step + 1) / 50) * min(1, 0.02 + 2 * (1 - progress))
        for learner in learners:
            learner.set_rate(rate)
            learner.run()
        step += 1
        if step % 10 == 0 and args.device == "cuda":
            torch.cuda.synchronize()
        progress = max(step / args.steps, (time.time() - start) / args.seconds)
        if step % args.report_every == 0:
            for learner in learners:
                share = learner.accuracy({64: tests[64]})[64]
                learner.curve.append((step, round(share, 4)))
                seconds, loss = time.time() - start, learner.loss.item()
                print(f"{seconds:6.1f} s step {step} {learner.point.name:18} loss {loss:.3f} 64 pairs {share:.3f}")
    results = []
    for learner in learners:
        share = {pairs: round(a, 4) for pairs, a in learner.accuracy(tests).items()}
        count = sum(p.numel() for p in learner.model.parameters())
        mean = round(sum(share.values()) / len(share), 4)
        point = learner.point
        results.append(
            dict(name=point.name, state_bytes=point.state_bytes(), parameters=count, mean=mean, accuracy=share)
            | dict(curve=learner.curve)
        )
        print(f"{point.name:18} {point.state_bytes():9,d} bytes {count:,d} parameters, mean {mean:.3f} {share}")
    device = torch.cuda.get_device_name() if args.device == "cuda" else "CPU"
    options = {k: v for k, v in vars(args).items() if k not in ("out", "only")}
    return dict(options=options, device=device, torch=torch.__version__, steps=step, length=LENGTH, points=results)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True)
    parser.add_argument("--only", nargs="+", help="names of models")
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rows", type=int, default=60000)
    parser.add_argument("--test-rows", type=int, default=256)
    parser.add_argument("--learning-rate", type=float, default=3e-3)
    parser.add_argument("--report-every", type=int, default=250)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    if args.test_rows % args.batch:
        parser.error("--test-rows must be a multiple of --batch: all rows go through one shape")
    result = train(args)
    os.makedirs(os.path.dirname(os.path.abspath(args.out)), exist_ok=True)
    with open(args.out, "w", encoding="utf-8") as f:
        json.dump(result, f, indent=1)


if __name__ == "__main__":
    main()
