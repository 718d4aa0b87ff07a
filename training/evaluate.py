"""What a model is worth: bits per byte of held-out text, and recall by number of pairs."""

import math
import random

import torch

import directories

PAIRS = (8, 16, 32, 64, 128)


def text_rows(ids, length: int, start: int = 0):
    """Consecutive rows [n, length + 1] of held-out ids; each row's last token is the next one's first."""
    n = (len(ids) - 1) // length
    at = torch.arange(start, n)[:, None] * length + torch.arange(length + 1)
    return torch.as_tensor(ids, dtype=torch.long)[at]


def directory_rows(writer, pairs: int, questions: int, length: int, seed: int = 99):
    """Rows [n, length + 1], each one directory of `pairs` and questions about few of them.

    Few, for after many an answer could be told from the numbers that are left.
    """
    rng = random.Random(seed)
    asked = max(1, min(pairs // 4, 16))
    rows = torch.zeros(max(1, questions // asked), length + 1, dtype=torch.long)
    for i in range(len(rows)):
        keys = rng.sample(writer.names, pairs)
        template = writer.templates[i % directories.EVALUATED_TEMPLATES]
        document = writer.directory(rng, template, keys, rng.sample(keys, asked))
        document = document[: length + 1]
        rows[i, : len(document)] = torch.tensor(document)
    return rows


class Evaluation:
    """Runs rows through `losses`, always in batches of one shape, so that a compiled model is compiled once."""

    def __init__(self, losses, batch: int, length: int, device: str):
        self.losses, self.batch, self.length, self.device = losses, batch, length, device

    def run(self, rows):
        loss, right = [], []
        for o in range(0, len(rows), self.batch):
            part = rows[o : o + self.batch]
            x = torch.zeros(self.batch, self.length + 1, dtype=torch.long)
            x[: len(part)] = part & directories.TOKEN
            # With gradients, as in training: another mode would be another compilation.
            a, b = self.losses(x.to(self.device))
            loss.append(a.detach()[: len(part)].cpu())
            right.append(b[: len(part)].cpu())
        return torch.cat(loss), torch.cat(right)

    def text_loss(self, ids, rows_max: int | None = None) -> float:
        return self.run(text_rows(ids, self.length)[:rows_max])[0].mean().item()

    def recall(self, writer, pairs: int, questions: int = 1024) -> float:
        """Share of numbers that are right as a whole: each token the likeliest, and the line's end after them."""
        rows = directory_rows(writer, pairs, questions, self.length)
        right = self.run(rows)[1]  # right[i, t]: token t + 1 of row i
        row, at = (rows >= directories.ANSWER).nonzero(as_tuple=True)
        row, at = row[:: directories.NUMBER_TOKENS], at[:: directories.NUMBER_TOKENS]
        tokens = [right[row, at - 1 + i] for i in range(directories.NUMBER_TOKENS + 1)]
        return torch.stack(tokens).all(0).float().mean().item()


def bits_per_byte(loss: float, tokens: int, text_bytes: int) -> float:
    return loss * tokens / text_bytes / math.log(2)
