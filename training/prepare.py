"""From the corpus to what training reads: trains the tokenizer and encodes the text.

    prepare.py CORPUS.txt[.xz] DATA

Documents of the corpus are separated by a line that holds only <|endoftext|>. Writes to the folder DATA tokenizer.json,
train.npy and held-out.npy (uint16 ids, 0 before each document), directory-ids.json for directories.py, and data.json.
"""

import argparse
import hashlib
import json
import lzma
import os
import random
import time

import numpy as np
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

import directories

END_OF_TEXT = "<|endoftext|>"
VOCAB = 8192
PIECE_CHARACTERS = 20_000


def read_documents(file: str) -> list[str]:
    opener = lzma.open if file.endswith("xz") else open
    with opener(file, "rt", encoding="utf-8") as f:
        return [d.strip("\n") + "\n" for d in f.read().split(END_OF_TEXT) if d.strip()]


def split(documents: list[str]) -> tuple[list[str], list[str]]:
    """Pieces for training and held-out ones, 1 %. Long documents are cut first, so that every source is in both."""
    rng = random.Random(17)
    rng.shuffle(documents)
    pieces = [d[o : o + PIECE_CHARACTERS] for d in documents for o in range(0, len(d), PIECE_CHARACTERS)]
    rng.shuffle(pieces)
    held_out = max(8, len(pieces) // 100)
    return pieces[held_out:], pieces[:held_out]


def train_tokenizer(pieces: list[str]) -> Tokenizer:
    """Byte-level BPE in which every name of the directories is one token and a number goes by two digits a token.

    Merges of digits come last, in an order that makes " 4821" always " 48" and "21".
    """
    digits = "0123456789"
    numbers = (
        [("Ġ", d) for d in digits]
        + [("Ġ" + c, d) for c in digits for d in digits]
        + [(c, d) for c in digits for d in digits]
    )
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), byte_level])
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB - len(numbers),
        special_tokens=[END_OF_TEXT],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(pieces + ["".join(" " + name for name in directories.NAMES)] * 4000, trainer)
    state = json.loads(tokenizer.to_str())
    vocab, merges = state["model"]["vocab"], state["model"]["merges"]
    for left, right in numbers:
        merges.append([left, right] if isinstance(merges[0], list) else f"{left} {right}")
        vocab[left + right] = len(vocab)
    tokenizer = Tokenizer.from_str(json.dumps(state))
    tokenizer.pre_tokenizer = byte_level
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def encode(tokenizer: Tokenizer, pieces: list[str]) -> np.ndarray:
    ids = []
    for i in range(0, len(pieces), 2000):
        for encoding in tokenizer.encode_batch(pieces[i : i + 2000]):
            ids.append(np.array([0] + encoding.ids, np.uint16))
    return np.concatenate(ids)


def check(tokenizer: Tokenizer, writer: directories.Writer):
    """The ids that the writer puts together are those of the whole text."""
    for i, template in enumerate(writer.templates):
        rng = random.Random(i)
        document = writer.directory(rng, template, writer.names[:9], writer.names[:9])
        ids = [i & directories.TOKEN for i in document][1:]
        assert tokenizer.encode(tokenizer.decode(ids)).ids == ids, tokenizer.decode(ids)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus")
    parser.add_argument("data")
    parser.add_argument("--tokenizer", help="a tokenizer.json to use instead of training one")
    args = parser.parse_args()
    start = time.time()
    os.makedirs(args.data, exist_ok=True)
    train, held_out = split(read_documents(args.corpus))
    tokenizer = Tokenizer.from_file(args.tokenizer) if args.tokenizer else train_tokenizer(train)
    tokenizer.save(os.path.join(args.data, "tokenizer.json"), pretty=False)
    vocab = sorted(tokenizer.get_vocab(), key=tokenizer.get_vocab().get)
    parts = {part: tokenizer.encode(part).ids for part in directories.texts()}
    check(tokenizer, directories.Writer(parts.get, vocab))
    with open(os.path.join(args.data, "directory-ids.json"), "w", encoding="utf-8") as f:
        json.dump(dict(parts=parts, vocab=vocab), f)
    figures = dict(vocab=len(vocab))
    for name, pieces in ("train", train), ("held-out", held_out):
        ids = encode(tokenizer, pieces)
        np.save(os.path.join(args.data, name + ".npy"), ids)
        text = "".join(pieces).encode()
        figures[name] = dict(tokens=len(ids), bytes=len(text), sha256=hashlib.sha256(text).hexdigest())
    with open(os.path.join(args.data, "data.json"), "w", encoding="utf-8") as f:
        json.dump(figures, f, indent=1)
    print(json.dumps(figures), f"{time.time() - start:.0f} s")


if __name__ == "__main__":
    main()
