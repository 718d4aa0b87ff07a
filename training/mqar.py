"""Multi-query associative recall (MQAR, arXiv 2312.04927) by small models of equal size: accuracy against state bytes.

    mqar.py --out FILE.json [--steps 2400] [--seconds 200] [--only NAME..]
    mqar.py --configs FOLDER        only writes FOLDER/NAME/config.json of each BASED model, to measure its speed

A row holds pairs of a key and a value, then queries: a key, after which its value must be named. Training asks at every
second place left of a row; a test asks each key once, sooner more often than later, as the paper's generator does.

All models train side by side on one GPU on the same rows in the same order, each at several learning rates as in the
paper; the rate with the best accuracy on validation rows counts. Models of one shape form an ensemble, whose steps are
one CUDA graph.
"""

import argparse
import copy
import json
import os
import time
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch.func import functional_call, vmap

import checkpoint
from model import Model, ModelConfig, View
from muon import Muon, QueryKeyCap, parameter_groups

VOCAB = 1024  # half keys, half values
LENGTH = 256
TRAIN_PAIRS = (4, 8, 16, 32, 64)
TEST_PAIRS = (8, 16, 32, 64, 96)
REPORTED_PAIRS = 64
TEST_BATCH = 128
FEATURE_DIMS = (4, 8, 16, 24)
WINDOWS = (16, 64, 128)
MAMBA_INNER = {16: 76, 32: 64, 64: 44}  # the MLP's width by the size of the state, for equal parameters
SIZE = dict(layers=3, width=64, heads=2, inner=128, vocab=VOCAB)
KEY, VALUE = 1, VOCAB // 2  # the first id of each; 0 fills


def pairs_of(rows: int, pairs: int, device: str, generator):
    """Distinct keys and any values [rows, pairs], and ids [rows, LENGTH] that begin with them."""
    keys = KEY + torch.rand(rows, VALUE - KEY, device=device, generator=generator).argsort(1)[:, :pairs]
    values = torch.randint(VALUE, VOCAB, (rows, pairs), device=device, generator=generator)
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


def mixed_rows(rows: int, device: str, generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows of a training in random order: as many of each number of pairs, half of them with the queries right after
    the pairs, half with all queries so late that only a state can answer most of them."""
    parts = []
    for pairs in TRAIN_PAIRS:
        for first_query in (2 * pairs, LENGTH // 2):
            parts.append(train_rows(-(-rows // (2 * len(TRAIN_PAIRS))), pairs, first_query, device, generator))
    ids, answers = (torch.cat(column) for column in zip(*parts))
    shuffled = torch.randperm(len(ids), device=device, generator=generator)[:rows]
    return ids[shuffled].short(), answers[shuffled].short()


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


class Adam:
    """AdamW with a learning rate for each member of an ensemble; parameters are [members, ..]."""

    def __init__(self, groups):
        self.groups = groups
        self.means = {p: torch.zeros_like(p) for group in groups for p in group["params"]}
        self.squares = {p: torch.zeros_like(p) for p in self.means}
        self.steps = torch.zeros((), device=next(iter(self.means)).device)

    @torch.no_grad()
    def step(self, rates):
        self.steps += 1
        first, second = 1 - 0.9**self.steps, 1 - 0.95**self.steps
        for group in self.groups:
            for p in group["params"]:
                mean, square = self.means[p].lerp_(p.grad, 0.1), self.squares[p].lerp_(p.grad.square(), 0.05)
                rate = rates.view(-1, *[1] * (p.dim() - 1))
                p.mul_(1 - rate * group["weight_decay"])
                p.sub_(rate * (mean / first) / ((square / second).sqrt() + 1e-8))


class Ensemble:
    """Models of one shape in training, each at each learning rate. On a GPU a step is one graph."""

    def __init__(self, points: list[Point], rows, args):
        torch.manual_seed(args.seed)
        self.args, (self.ids, self.answers) = args, rows
        self.members = [(point, rate) for point in points for rate in args.learning_rates]
        device, config = args.device, points[0].config
        self.model = Model(config).to(device)
        self.parameter_count = sum(p.numel() for p in self.model.parameters())
        for p in self.model.parameters():
            p.data = p.data.expand(len(self.members), *p.shape).clone()  # all members start alike
        self.view = View(1, LENGTH, config, device, fused=False)
        views = [View(1, LENGTH, point.config, device, fused=False) for point, _ in self.members]
        self.windows = torch.stack([view.window for view in views])
        self.rates = torch.tensor([rate for _, rate in self.members], device=device)
        self.schedule = torch.zeros((), device=device)
        muon, adam = parameter_groups(self.model, stacked=1)
        self.muon, self.adam, self.cap = Muon(muon, 0.0), Adam(adam), QueryKeyCap(self.model)
        self.at = torch.arange(args.batch, device=device)
        self.curves = [[] for _ in self.members]

    def outputs(self, ids):
        """Logits [members, rows, LENGTH / 2, N] at every second place, where queries stand."""

        def member(parameters, window, ids):
            view = copy.copy(self.view)
            view.window = window
            return functional_call(self.model, parameters, (ids, view, slice(None, None, 2)))

        with torch.autocast(self.args.device, torch.bfloat16):
            return vmap(member, in_dims=(0, 0, None))(dict(self.model.named_parameters()), self.windows, ids)

    def step(self):
        ids, answers = self.ids[self.at].long(), self.answers[self.at, ::2].long()
        self.at.add_(self.args.batch).remainder_(len(self.ids))
        logits = self.outputs(ids).flatten(0, 2).float()
        targets = answers.flatten().repeat(len(self.members))
        # A sum over members, so that none changes the gradients of another.
        loss = F.cross_entropy(logits, targets, ignore_index=0, reduction="sum") / (answers > 0).sum()
        loss.backward()
        rates = self.rates * self.schedule
        for group in self.muon.param_groups:
            group["lr"] = rates[:, None, None]
        self.muon.step()
        self.adam.step(rates)
        self.cap.apply()
        self.model.zero_grad(set_to_none=False)

    def capture(self):
        if self.args.device == "cpu":
            self.run = self.step
            return
        self.stream = torch.cuda.Stream()
        with torch.cuda.stream(self.stream):
            for _ in range(3):
                self.step()  # at a rate of zero
        torch.cuda.synchronize()
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph, stream=self.stream):
            self.step()

    def run(self):
        self.graph.replay()

    def advance(self, schedule: float):
        if self.args.device == "cpu":
            self.schedule.fill_(schedule)
            self.run()
            return
        with torch.cuda.stream(self.stream):
            self.schedule.fill_(schedule)
            self.run()

    @torch.no_grad()
    def accuracy(self, rows) -> list[float]:
        """Each member's share of right answers."""
        ids, answers = rows[0], rows[1][:, ::2]
        named = torch.cat([self.outputs(part).argmax(-1) for part in ids.split(TEST_BATCH)], 1)
        is_right = (named == answers) & (answers > 0)
        return (is_right.sum((1, 2)) / (answers > 0).sum()).tolist()

    def accuracies(self, tests) -> list[dict[int, float]]:
        """Each member's share of right answers by number of pairs."""
        columns = [self.accuracy(rows) for rows in tests.values()]
        return [dict(zip(tests, map(lambda share: round(share, 4), row))) for row in zip(*columns)]

    def results(self, validation, tests) -> list[dict]:
        """Each model's figures at the learning rate that is best on the validation rows."""
        candidates = {}
        rows = zip(self.members, self.accuracies(validation), self.accuracies(tests), self.curves)
        for (point, rate), valid, share, curve in rows:
            found = dict(rate=rate, validation=mean(valid), mean=mean(share), accuracy=share, curve=curve)
            candidates.setdefault(point.name, (point, []))[1].append(found)
        figures = []
        for name, (point, found) in candidates.items():
            best = max(found, key=lambda c: c["validation"])
            by_rate = {c["rate"]: c["validation"] for c in found}
            size = dict(name=name, state_bytes=point.state_bytes(), parameters=self.parameter_count)
            figures.append(size | best | dict(validation=by_rate))
        return figures


def mean(shares: dict) -> float:
    return round(sum(shares.values()) / len(shares), 4)


def schedule(progress: float, step: int) -> float:
    """Warm-up, flat, then linear to nearly nothing over the second half."""
    return min(1, (step + 1) / 50) * min(1, 0.02 + 2 * (1 - progress))


def ensembles(args, generator) -> list[Ensemble]:
    rows = mixed_rows(args.batch * args.steps, args.device, generator)
    shapes = {}
    for point in points():
        if not args.only or point.name in args.only:
            shapes.setdefault((point.config.kinds, point.config.feature_dim), []).append(point)
    return [Ensemble(same, rows, args) for same in shapes.values()]


def train(args) -> dict:
    torch.set_float32_matmul_precision("high")
    start = time.time()
    generator = torch.Generator(device=args.device).manual_seed(args.seed)
    validation, tests = (
        {pairs: test_rows(args.test_rows, pairs, args.device, generator) for pairs in TEST_PAIRS} for _ in range(2)
    )
    learners = ensembles(args, generator)
    for learner in learners:
        learner.capture()
    print(f"{time.time() - start:6.1f} s  {sum(len(e.members) for e in learners)} models are ready", flush=True)
    start, step, progress = time.time(), 0, 0.0
    while progress < 1:
        for learner in learners:
            learner.advance(schedule(progress, step))
        step += 1
        if step % 10 == 0 and args.device == "cuda":
            torch.cuda.synchronize()
        progress = max(step / args.steps, (time.time() - start) / args.seconds)
        if step % args.report_every == 0:
            report(learners, validation[REPORTED_PAIRS], step, time.time() - start)
    seconds = round(time.time() - start, 1)
    results = [figures for learner in learners for figures in learner.results(validation, tests)]
    for p in results:
        print(f"{p['name']:18} {p['state_bytes']:9,d} bytes, mean {p['mean']:.3f} {p['accuracy']} of {p['validation']}")
    device = torch.cuda.get_device_name() if args.device == "cuda" else "CPU"
    options = {k: v for k, v in vars(args).items() if k not in ("out", "only", "configs")}
    made_by = dict(options=options, device=device, torch=torch.__version__, steps=step, seconds=seconds)
    return made_by | dict(length=LENGTH, points=results)


def report(learners: list[Ensemble], rows, step: int, seconds: float):
    if learners[0].args.device == "cuda":
        torch.cuda.synchronize()
    for learner in learners:
        shares = learner.accuracy(rows)
        for curve, share in zip(learner.curves, shares):
            curve.append((step, round(share, 4)))
        named = " ".join(f"{point.name} {rate:g}: {share:.3f}" for (point, rate), share in zip(learner.members, shares))
        print(f"{seconds:6.1f} s step {step} {REPORTED_PAIRS} pairs {named}", flush=True)


def write_configs(folder: str):
    for point in points():
        if "l" in point.config.kinds:
            name = os.path.join(folder, point.name.replace(" ", "-").replace("=", ""))
            os.makedirs(name, exist_ok=True)
            with open(os.path.join(name, "config.json"), "w", encoding="utf-8") as f:
                json.dump(checkpoint.config_json(point.config), f, indent=1)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out")
    parser.add_argument("--configs")
    parser.add_argument("--only", nargs="+", help="names of models")
    parser.add_argument("--steps", type=int, default=2400)
    parser.add_argument("--seconds", type=float, default=200, help="ends earlier after so long; the rate then falls too")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--test-rows", type=int, default=256)
    parser.add_argument("--learning-rates", type=float, nargs="+", default=[5e-3, 1e-2, 2e-2])
    parser.add_argument("--report-every", type=int, default=300)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    if not args.out and not args.configs:
        parser.error("give --out or --configs")
    if args.configs:
        write_configs(args.configs)
    if args.out:
        result = train(args)
        os.makedirs(os.path.dirname(os.path.abspath(args.out)), exist_ok=True)
        with open(args.out, "w", encoding="utf-8") as f:
            json.dump(result, f, indent=1)


if __name__ == "__main__":
    main()
