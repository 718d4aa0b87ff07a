"""How much of the held-out text is known from the training text: the share of its sequences of 13 words.

    overlap.py CORPUS.txt[.xz]
"""

import sys

import numpy as np

from prepare import read_documents, split

WORDS = 13


def sequences(pieces: list[str]) -> list[np.ndarray]:
    """A hash of each sequence of WORDS words of each piece."""
    result = []
    for piece in pieces:
        words = np.array([hash(word) for word in piece.split()], np.int64)
        count = max(0, len(words) - WORDS + 1)
        hashes = np.zeros(count, np.int64)
        for i in range(WORDS):
            hashes = hashes * np.int64(1_000_003) + words[i : i + count]
        result.append(hashes)
    return result


def known(sorted_hashes: np.ndarray, hashes: np.ndarray) -> np.ndarray:
    at = np.searchsorted(sorted_hashes, hashes).clip(max=len(sorted_hashes) - 1)
    return sorted_hashes[at] == hashes


def main():
    train, held_out = split(read_documents(sys.argv[1]))
    training = np.unique(np.concatenate(sequences(train)))
    shares = [known(training, hashes) for hashes in sequences(held_out)]
    print(f"{np.concatenate(shares).mean():.2%} of {sum(map(len, shares)):,} sequences of {WORDS} words")
    half = sum(share.mean() > 0.5 for share in shares if len(share))
    print(f"{half} of {len(shares)} pieces with more than half of them")


if __name__ == "__main__":
    main()
