"""Synthetic directory documents: random names and numbers, then questions whose answers stand only in the context.

They teach recall, and need care to do so. A question never comes without its pair, for that teaches
guessing. A name is always one token and a number always two. The loss sits on the answers. The first
directories are short and alone in what the model sees: among many numbers, linear attention, flat at first, would
learn nothing from their mean. In many of them the number follows the name at once, in the pair and in the question:
what stood after this token before is the first look-up that a model learns, and the others grow from it. Between a
directory and its questions there may be English text, so that an answer can be far away.

    directories.py --data DATA --rows N --length L --segments S.. --out FOLDER

writes for each S a file of uint16 [N, L + 1], rows of segments of S tokens: token ids, with the flag ANSWER on numbers
that the context determines and TEXT on English.
Imports no PyTorch, so that many processes start quickly.
"""

import argparse
import json
import math
import multiprocessing
import os
import random

import numpy as np

ANSWER, TEXT, TOKEN = 1 << 15, 1 << 14, (1 << 14) - 1
NUMBER_TOKENS = 2

NAMES = """James John Robert Michael William David Richard Joseph Thomas Charles Christopher Daniel Matthew Anthony Mark
Donald Steven Paul Andrew Joshua Kenneth Kevin Brian George Timothy Ronald Edward Jason Jeffrey Ryan Jacob Gary Nicholas
Eric Jonathan Stephen Larry Justin Scott Brandon Benjamin Samuel Gregory Alexander Patrick Frank Raymond Jack Dennis
Jerry Tyler Aaron Jose Adam Nathan Henry Peter Douglas Zachary Kyle Noah Ethan Jeremy Walter Christian Keith Roger Terry
Austin Sean Gerald Carl Harold Dylan Arthur Lawrence Jordan Jesse Bryan Billy Bruce Gabriel Joe Logan Alan Juan Albert
Willie Elijah Wayne Randy Vincent Mason Roy Ralph Bobby Russell Bradley Philip Eugene Oscar Hugo Felix Leo Max Oliver
Simon Martin Victor Mary Patricia Jennifer Linda Elizabeth Barbara Susan Jessica Karen Sarah Lisa Nancy Sandra Betty
Ashley Emily Kimberly Margaret Donna Michelle Carol Amanda Melissa Deborah Stephanie Rebecca Sharon Laura Cynthia
Dorothy Amy Kathleen Angela Shirley Emma Brenda Pamela Nicole Anna Samantha Katherine Christine Debra Rachel Carolyn
Janet Maria Olivia Heather Helen Catherine Diane Julie Victoria Joyce Lauren Kelly Christina Ruth Joan Virginia Judith
Evelyn Hannah Andrea Megan Cheryl Jacqueline Madison Teresa Abigail Sophia Martha Sara Gloria Janice Kathryn Ann
Isabella Judy Charlotte Julia Grace Amber Alice Jean Denise Frances Danielle Marilyn Natalie Beverly Diana Brittany
Theresa Kayla Alexis Doris Lori Tiffany Bob Eve Clara Daisy Edith Fiona Greta Holly Irene Ivan Jane June Kate Lena Lily
Lucy Luke Maya Mia Mike Nina Nora Olga Omar Paula Rita Rosa Ruby Sally Sam Sofia Stella Tim Tom Tony Vera Zoe""".split()

# Head, then each pair as before + name + between + number + after, then each question as ask + name + mark + number.
# A name follows a space everywhere, so that it is the same token in the pair and in the question.
TEMPLATES = (
    ("Directory\n", "-", ":", "\n", "What is the number of", "?"),
    ("Room list\n", "-", " is in room", ".\n", "Which room is", " in?"),
    ("Codes\n", "The code of", " is", ".\n", "What is the code of", "?"),
    ("Numbers\n", "-", ":", "\n", "-", ":"),
    ("Members\n", "Member", " has number", ".\n", "Member", " has number"),
    ("Phone book\n", "", ":", "\n", "", ":"),
    ("Seats\n", "", " has seat", ".\n", "Seat of", ":"),
    ("Keys\n", "", " has key", "\n", "Which key has", "?"),
    ("List\n", "", "", "\n", "", ""),
)
LOOSE = (2, 3, 3, 2)  # random words before a name, between name and number, before and after a question's name, at most
NEAR = 0.4  # share of the shortest directories in which the number follows the name at once
EVALUATED_TEMPLATES = 3  # the first ones ask in other words than the pairs


class Writer:
    """Writes documents as token ids."""

    def __init__(self, encode, vocab: list[str]):
        """`encode` gives the ids of a text, `vocab` holds the tokens by id, in the tokenizer's byte characters."""
        self.templates = [[encode(part) for part in t] for t in TEMPLATES]
        self.names = [encode(" " + name) for name in NAMES]
        self.first = [encode(f" {i:02}") for i in range(100)]
        self.second = [encode(f"{i:02}") for i in range(100)]
        for ids in self.names + self.first + self.second:
            assert len(ids) == 1, ids
        self.newline = encode("\n")
        taken = {ids[0] for ids in self.names}
        self.words = [
            [i] for i, t in enumerate(vocab) if t[:1] == "Ġ" and t[1:].isalpha() and len(t) > 3 and i not in taken
        ]
        self.spaced = {word[0] for word in self.words}
        self.text = np.zeros(0, np.uint16)

    def number(self, rng) -> list[int]:
        return self.first[rng.randrange(100)] + self.second[rng.randrange(100)]

    def answer(self, rng, words: int) -> list[int]:
        """What a key stands for: so many random words, or a number."""
        return [i for _ in range(words) for i in rng.choice(self.words)] if words else self.number(rng)

    def template(self, rng, near: float) -> list[list[int]]:
        """A template; with the probability `near` one in which the number follows the name at once."""
        if rng.random() < near:
            return self.templates[-1]
        if rng.random() < 0.6:
            return rng.choice(self.templates)
        before, between, ask, mark = (
            [i for _ in range(rng.randint(0, most)) for i in rng.choice(self.words)] for most in LOOSE
        )
        if rng.random() < 0.5:
            ask, mark = before, between
        return [[], before, between, self.newline, ask, mark]

    def directory(self, rng, template, keys, asked, text_tokens: int = 0, words: int = 0) -> list[int]:
        head, before, between, after, ask, mark = template
        answer = {key[0]: self.answer(rng, words) for key in keys}
        out = [0] + head
        for key in keys:
            out += before + key + between + answer[key[0]] + after
        if not ask or ask[0] in self.spaced:
            text_tokens = 0  # nor an empty line, which would be one token with the line's end before a space
        else:
            out += self.newline
        if text_tokens:
            at = rng.randrange(len(self.text) - text_tokens)
            out += [int(i) | TEXT for i in self.text[at : at + text_tokens]] + self.newline + self.newline
        for key in asked:
            out += ask + key + mark + [i | ANSWER for i in answer[key[0]]] + self.newline
        return out

    def stream(self, rng, template, keys, lines: int, words: int = 0) -> list[int]:
        """Lines about few keys, in random order: from its second line on, a key's number is known."""
        head, before, between, after, _, _ = template
        answer = {}
        out = [0] + head
        for key in rng.choices(keys, k=lines):
            known = answer.get(key[0])
            if known is None:
                answer[key[0]] = known = self.answer(rng, words)
                out += before + key + between + known + after
            else:
                out += before + key + between + [i | ANSWER for i in known] + after
        return out

    def segment(self, rng, length: int) -> list[int]:
        """Documents that fill a segment, no key in two of them; the last one may be cut off.

        Questions are drawn with repetition: were each key asked once, the last answers would follow from what is left.
        """
        names = rng.sample(self.names, min(len(self.names), length // 6))
        words, out = rng.sample(self.words, min(300, length // 6)), []
        near = NEAR if length <= 128 else NEAR / 4
        while len(out) < length:
            room = (length - len(out)) // 17  # pairs that can all be asked once
            n = rng.randint(room // 4, room) if not out else round(math.exp(rng.uniform(1, math.log(max(3, room)))))
            n = max(2, min(n, 130))
            left = words if rng.random() < 0.3 else names
            left = left if len(left) >= n else names
            if len(left) < n:
                filler = self.stream(rng, self.templates[0], words[:1] + self.words[:3], length)
                return out + filler[: length - len(out)]
            keys = [left.pop() for _ in range(n)]
            template, answer_words = self.template(rng, near), rng.choice((0, 0, 0, 1))
            if rng.random() < 0.15:
                out += self.stream(rng, template, keys, rng.randint(2, 4) * n, answer_words)
            else:
                asked = rng.choices(keys, k=rng.randint(n, 2 * n))
                text_tokens = rng.randint(10, length // 4) if length >= 512 and rng.random() < 0.25 else 0
                out += self.directory(rng, template, keys, asked, text_tokens, answer_words)
        if rng.random() < 0.3:
            out = out[1:] + self.newline  # a document does not need the token between documents before it
        return out[:length]

    def row(self, rng, length: int, segment: int) -> list[int]:
        """A training row of length + 1 tokens, in segments that are to be read alone."""
        out = []
        for _ in range(length // segment):
            out += self.segment(rng, segment)
        return out + [0]


def writer(folder: str) -> Writer:
    """A writer for the tokenizer of a data folder (see prepare.py)."""
    with open(os.path.join(folder, "directory-ids.json"), encoding="utf-8") as f:
        ids = json.load(f)
    w = Writer(lambda part: ids["parts"][part], ids["vocab"])
    w.text = np.load(os.path.join(folder, "train.npy"), mmap_mode="r")
    return w


def texts() -> list[str]:
    """All parts that a writer asks the ids of."""
    parts = {part for t in TEMPLATES for part in t} | {" " + name for name in NAMES} | {"\n"}
    return sorted(parts | {f" {i:02}" for i in range(100)} | {f"{i:02}" for i in range(100)})


def make_rows(job) -> np.ndarray:
    folder, first, last, length, segment = job
    w = writer(folder)
    return np.array([w.row(random.Random(f"{segment} {i}"), length, segment) for i in range(first, last)], np.uint16)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--rows", type=int, required=True)
    parser.add_argument("--length", type=int, default=2048)
    parser.add_argument("--segments", type=int, nargs="+", required=True)
    parser.add_argument("--out", required=True)
    args = parser.parse_args()
    os.makedirs(args.out, exist_ok=True)
    size = 500
    with multiprocessing.Pool() as pool:
        for segment in args.segments:
            jobs = [(args.data, i, min(i + size, args.rows), args.length, segment) for i in range(0, args.rows, size)]
            rows = np.concatenate(pool.map(make_rows, jobs, chunksize=1))
            np.save(os.path.join(args.out, f"directories-{segment}.npy"), rows)


if __name__ == "__main__":
    main()
