"""Puts the extracted sources together, in the order of sources.tsv.

    assemble.py FOLDER OUT.txt

FOLDER holds one text a source, as extract.py wrote them. Says where a source's size is not the one in sources.tsv:
the distribution then ships another version, and figures will differ a little.
"""

import csv
import os
import sys


def main():
    folder, out = sys.argv[1:]
    with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "sources.tsv"), encoding="utf-8") as f:
        sources = list(csv.DictReader(f, delimiter="\t"))
    with open(out, "wb") as corpus:
        for source in sources:
            with open(os.path.join(folder, source["name"] + ".txt"), "rb") as f:
                text = f.read()
            corpus.write(text)
            if len(text) != int(source["bytes"]):
                print(f"{source['name']}: {len(text)} bytes, {source['bytes']} when the model was trained")
        print(f"{out}: {corpus.tell()} bytes")


if __name__ == "__main__":
    main()
