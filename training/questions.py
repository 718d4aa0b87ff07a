"""What a checkpoint answers to directory questions, computed here in fp32: the server must answer the same.

    questions.py CHECKPOINT OUT.json

Remakes server/src/test/resources/golden/recall.json. Runs on the CPU in a few minutes.
"""

import argparse
import json
import random

import torch
from tokenizers import Tokenizer

import checkpoint
import directories
from model import View

PAIRS = (8, 8, 8, 8, 8, 8, 24, 24, 24, 24, 64, 64)
ANSWER_TOKENS = 6


def question(index: int, pairs: int) -> tuple[str, str]:
    """A prompt and the number that is right."""
    rng = random.Random(index)
    head, before, between, after, ask, mark = directories.TEMPLATES[index % directories.EVALUATED_TEMPLATES]
    names = rng.sample(directories.NAMES, pairs)
    numbers = {name: f"{rng.randrange(10000):04}" for name in names}
    lines = "".join(f"{before} {name}{between} {number}{after}" for name, number in numbers.items())
    name = rng.choice(names)
    return f"{head}{lines}\n{ask} {name}{mark}", numbers[name]


@torch.no_grad()
def answer(model, tokenizer, prompt: str) -> list[int]:
    """The likeliest tokens after a prompt, each with all of the tokens before it anew."""
    ids = tokenizer.encode(prompt).ids
    count = len(ids)
    for _ in range(ANSWER_TOKENS):
        logits = model(torch.tensor([ids]), View(1, len(ids), model.config, "cpu", fused=False))
        ids.append(logits[0, -1].argmax().item())
    return ids[count:]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint")
    parser.add_argument("out")
    args = parser.parse_args()
    model = checkpoint.load(args.checkpoint)
    tokenizer = Tokenizer.from_file(args.checkpoint + "/tokenizer.json")
    cases = []
    for i, pairs in enumerate(PAIRS):
        prompt, number = question(i, pairs)
        cases.append(dict(pairs=pairs, prompt=prompt, number=number, token_ids=answer(model, tokenizer, prompt)))
    with open(args.out, "w", encoding="utf-8") as f:
        json.dump(dict(made_by="training/questions.py", cases=cases), f, indent=1)


if __name__ == "__main__":
    main()
