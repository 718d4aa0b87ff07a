"""Trains a small language model from scratch on one GPU.

    train.py --data DATA --out OUT [--order csl] [--steps N] [--minutes M]

DATA is what prepare.py wrote. Writes OUT/{config.json,tokenizer.json,model.safetensors,training.json}; training stops
after N steps, or earlier when M minutes are over (the learning rate then falls by the clock).
"""

import argparse
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass, fields

import numpy as np
import torch

import checkpoint
import directories
from evaluate import PAIRS, Evaluation, bits_per_byte
from model import Model, ModelConfig, View
from muon import QueryKeyCap, optimizers

PROMPTS = ("Once upon a time", "The President of the United States", "A whale is", "How do I install a package?")
DIRECTORY = "Directory\n- Alice: 4821\n- Bob: 7350\n- Clara: 1946\n\nWhat is the number of Bob?"


def parse() -> tuple[argparse.Namespace, ModelConfig]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--steps", type=int, default=12000)
    parser.add_argument("--minutes", type=float, default=8, help="of training, after compilation")
    parser.add_argument("--batch", type=int, default=16, help="rows a step")
    parser.add_argument("--length", type=int, default=2048, help="tokens a row")
    parser.add_argument("--learning-rate", type=float, default=3e-3)
    parser.add_argument("--enough", type=float, default=0.0, help="stops when fewer are right after stage 0")
    parser.add_argument("--answer-weight", type=float, default=4)
    parser.add_argument("--filler-weight", type=float, default=0.1, help="of unpredictable names and numbers")
    parser.add_argument("--directories", help="a folder of directories.py; made when it is not there")
    parser.add_argument("--directory-file-rows", type=int, default=20000, help="rows made for each stage")
    parser.add_argument("--evaluate-every", type=int, default=500)
    parser.add_argument("--sample-tokens", type=int, default=80, help="of each sample text at the end; 0: none")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--seed", type=int, default=1)
    names = [f for f in fields(ModelConfig) if f.init]
    for f in names:
        parser.add_argument("--" + f.name.replace("_", "-"), type=f.type, default=f.default)
    args = parser.parse_args()
    return args, ModelConfig(**{f.name: getattr(args, f.name) for f in names})


@dataclass
class Stage:
    """A part of the training. It ends when enough answers are right, or at a share of the training."""

    segment: int  # tokens that a directory and its questions share
    directory_rows: int  # of 16
    text_segment: int
    last: float


STAGES = (
    Stage(128, 16, 512, 0.25),
    Stage(256, 10, 512, 0.35),
    Stage(512, 8, 512, 0.5),
    Stage(1024, 7, 1024, 0.7),
    Stage(2048, 6, 2048, 1.0),
)
ENOUGH = 0.9


class Batches:
    """Rows of text from anywhere, and of directories, from short ones to long ones."""

    def __init__(self, args, view: View):
        self.args, self.view = args, view
        self.text = torch.from_numpy(np.load(os.path.join(args.data, "train.npy")).astype(np.int32)).to(args.device)
        self.rows = [self.load(s.segment) for s in STAGES]
        self.random = torch.Generator(device=args.device).manual_seed(args.seed)
        self.start(0)

    def load(self, segment: int):
        rows = np.load(os.path.join(self.args.directories, f"directories-{segment}.npy"))
        return torch.from_numpy(rows.view(np.int16)).to(self.args.device)

    def start(self, stage: int):
        self.index, self.stage, self.used = stage, STAGES[stage], 0
        self.directory_rows = max(1, round(self.args.batch * self.stage.directory_rows / 16))
        self.right = torch.zeros((), device=self.args.device)
        self.answers = torch.zeros((), device=self.args.device)
        self.cut()

    def cut(self):
        """Makes the model see rows of this stage."""
        length = self.args.length
        text = [min(length, self.stage.text_segment)] * (self.args.batch - self.directory_rows)
        self.view.cut(text + [min(length, self.stage.segment)] * self.directory_rows)

    def next(self):
        """Ids [B, L + 1], which of their targets are answers, and the loss's weights; both [B, L]."""
        args, n = self.args, self.directory_rows
        starts = (len(self.text) - args.length - 1, (args.batch - n, 1))
        at = torch.randint(*starts, device=args.device, generator=self.random)
        text = self.text[at + torch.arange(args.length + 1, device=args.device)].long()
        rows = self.rows[self.index]
        at = (self.used + torch.arange(n, device=args.device)) % len(rows)
        self.used += n
        marked = rows[at].int()
        flags, rows = marked[:, 1:], (marked & directories.TOKEN).long()
        answers = torch.cat((torch.zeros_like(text[:, 1:], dtype=torch.bool), (flags & directories.ANSWER) > 0))
        is_text = torch.cat((torch.ones_like(text[:, 1:], dtype=torch.bool), (flags & directories.TEXT) > 0))
        weights = torch.where(answers, args.answer_weight, torch.where(is_text, 1.0, args.filler_weight))
        return torch.cat((text, rows)), answers, weights

    def count(self, right, answers):
        self.right += (right & answers).sum()
        self.answers += answers.sum()

    def accuracy(self) -> float:
        """Share of right answer tokens since the last call."""
        share = (self.right / self.answers.clamp(min=1)).item()
        self.right.zero_()
        self.answers.zero_()
        return share

    def advance(self, accuracy: float, progress: float):
        if self.index + 1 < len(STAGES) and (accuracy >= ENOUGH or progress >= self.stage.last):
            if self.index == 0 and accuracy < self.args.enough:
                raise SystemExit(f"only {accuracy:.3f} of the answers are right at the end of the first stage")
            self.start(self.index + 1)


def learning_rate(args, step: int, progress: float) -> float:
    """Warm-up, flat, then linear to nearly nothing over the second half."""
    return args.learning_rate * min(1, (step + 1) / 200) * (0.02 + 0.98 * min(1, 2 * (1 - progress)))


def sample(model, tokenizer, prompt: str, tokens: int, temperature: float, device: str, seed: int) -> str:
    """A continuation, by 40 likeliest tokens; without a state, for the training machine has no server."""
    generator = torch.Generator().manual_seed(seed)
    ids = [0] + tokenizer.encode(prompt).ids
    for _ in range(tokens):
        view = View(1, len(ids), model.config, device, fused=False)
        with torch.no_grad(), torch.autocast(device, torch.bfloat16):
            logits = model(torch.tensor([ids], device=device), view)[0, -1].float().cpu()
        top, index = (logits / temperature).topk(40)
        ids.append(index[torch.multinomial(torch.softmax(top, -1), 1, generator=generator)].item())
        if ids[-1] == 0:
            break
    return tokenizer.decode([i for i in ids if i])


class Training:
    def __init__(self, args, config: ModelConfig):
        self.args = args
        self.started = time.time()
        torch.manual_seed(args.seed)
        torch.set_float32_matmul_precision("high")
        rows = self.start_directories()
        is_cuda = args.device == "cuda"
        self.model = Model(config).to(args.device)
        self.view = View(args.batch, args.length, config, args.device, fused=is_cuda)
        self.losses = torch.compile(self.compiled_losses, dynamic=False) if is_cuda else self.compiled_losses
        self.optimizers = optimizers(self.model, args.learning_rate)
        self.cap = QueryKeyCap(self.model)
        self.evaluation = Evaluation(self.losses, args.batch, args.length, args.device)
        self.writer = directories.writer(args.data)
        self.held_out = np.load(os.path.join(args.data, "held-out.npy")).astype(np.int64)
        with open(os.path.join(args.data, "data.json"), encoding="utf-8") as f:
            self.held_out_bytes = json.load(f)["held-out"]["bytes"]
        self.curve = []
        self.compile()
        self.log("compiled")
        if rows.wait() != 0:
            raise SystemExit("directories.py failed")
        self.batches = Batches(args, self.view)
        self.log("data is on the device")

    def start_directories(self) -> subprocess.Popen:
        args = self.args
        args.directories = args.directories or os.path.join(args.out, "directories")
        os.makedirs(args.out, exist_ok=True)
        if os.path.exists(os.path.join(args.directories, f"directories-{STAGES[-1].segment}.npy")):
            return subprocess.Popen(["true"])
        script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "directories.py")
        options = ["--data", args.data, "--out", args.directories, "--length", str(args.length)]
        options += ["--rows", str(args.directory_file_rows), "--segments", *(str(s.segment) for s in STAGES)]
        return subprocess.Popen([sys.executable, script, *options])

    def compiled_losses(self, ids):
        return self.model.losses(ids, self.view)

    def compile(self):
        """The first forward and backward run compiles; its gradients are thrown away."""
        ids = torch.randint(self.model.config.vocab, (self.args.batch, self.args.length + 1), device=self.args.device)
        self.losses(ids)[0].mean().backward()
        self.model.zero_grad(set_to_none=True)

    def log(self, text: str):
        print(f"{time.time() - self.started:6.1f} s  {text}", flush=True)

    def run(self):
        args, step, start = self.args, 0, time.time()
        progress, accuracy = 0.0, 0.0
        while step < args.steps and progress < 1:
            rate = learning_rate(args, step, progress)
            loss = self.step(rate)
            step += 1
            progress = max(step / args.steps, (time.time() - start) / (60 * args.minutes))
            if step % 100 == 0:
                accuracy = self.batches.accuracy()
                stage = self.batches.index
                speed = step * args.batch * args.length / (time.time() - start) / 1e6
                self.log(
                    f"step {step} stage {stage} loss {loss.item():.3f} answers {accuracy:.3f} {speed:.2f} M tokens/s"
                )
                self.batches.advance(accuracy, progress)
            if step % args.evaluate_every == 0:
                self.report(step, accuracy)
        self.seconds, self.steps = time.time() - start, step

    def step(self, rate: float):
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate
        ids, answers, weights = self.batches.next()
        loss, right = self.losses(ids)
        mean = (loss * weights).sum() / weights.sum()
        mean.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for optimizer in self.optimizers:
            optimizer.step()
        self.cap.apply()
        self.model.zero_grad(set_to_none=True)
        self.batches.count(right, answers)
        return mean.detach()

    def report(self, step: int, accuracy: float):
        self.view.cut([self.args.length] * self.args.batch)
        bits = self.bits_per_byte(self.evaluation.text_loss(self.held_out, 4 * self.args.batch))
        recall = {n: round(self.evaluation.recall(self.writer, n, 256), 3) for n in (8, 32, 64)}
        self.batches.cut()
        stage = self.batches.index
        point = dict(step=step, stage=stage, answers=round(accuracy, 4), bits_per_byte=round(bits, 4), recall=recall)
        self.curve.append(point)
        self.log(f"step {step} bits/byte {bits:.4f} recall {recall}")
        self.save()

    def save(self):
        if "a" not in self.model.config.kinds:  # the layout has no name for attention over everything
            checkpoint.save(self.model, os.path.join(self.args.data, "tokenizer.json"), self.args.out)

    def bits_per_byte(self, loss: float) -> float:
        return bits_per_byte(loss, len(self.held_out), self.held_out_bytes)

    def finish(self):
        args, model = self.args, self.model
        for p in model.parameters():
            p.data = p.data.bfloat16().float()  # measure what is saved
        self.view.cut([args.length] * args.batch)
        bits = self.bits_per_byte(self.evaluation.text_loss(self.held_out))
        recall = {n: round(self.evaluation.recall(self.writer, n), 4) for n in PAIRS}
        count = sum(p.numel() for p in model.parameters())
        self.log(
            f"RESULT {model.config.kinds} parameters {count} steps {self.steps} bits/byte {bits:.4f} recall {recall}"
        )
        self.save()
        options = {k: os.path.basename(v) if isinstance(v, str) else v for k, v in vars(args).items()}
        tokens = self.steps * args.batch * args.length
        device = torch.cuda.get_device_name() if args.device == "cuda" else "CPU"
        result = dict(options=options, kinds=model.config.kinds, parameters=count, steps=self.steps, tokens=tokens)
        result |= dict(seconds=round(self.seconds, 1), device=device, torch=torch.__version__, curve=self.curve)
        result |= dict(bits_per_byte=round(bits, 4), recall=recall)
        with open(os.path.join(args.out, "training.json"), "w", encoding="utf-8") as f:
            json.dump(result, f, indent=1)
        if args.sample_tokens:
            self.write_samples()

    def write_samples(self):
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(os.path.join(self.args.data, "tokenizer.json"))
        texts = [sample(self.model, tokenizer, p, self.args.sample_tokens, 0.8, self.args.device, 1) for p in PROMPTS]
        texts.append(sample(self.model, tokenizer, DIRECTORY, 3, 0.01, self.args.device, 1))
        with open(os.path.join(self.args.out, "samples.txt"), "w", encoding="utf-8") as f:
            f.write("\n---\n".join(texts) + "\n")
        self.log("samples\n" + "\n---\n".join(texts))


def main():
    training = Training(*parse())
    training.run()
    training.finish()


if __name__ == "__main__":
    main()
