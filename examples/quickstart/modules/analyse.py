"""Counts the words, sentences and headings of one text.

Parameters come from the JSON file named by PRISMQ_PARAMS. The small figures are outputs; the word counts, which may be long, are an
artifact whose path is an output: large data goes by file.
"""

import json
from collections import Counter
from pathlib import Path

from module_io import artifact, parameters, progress, report
from texts import headings_and_prose, sentences, syllables, words

# A file of 2 GB must not become a list of words in memory: the head is enough to characterise it.
BYTES_MAX = 8_000_000


def read_text(path):
    """The text of a file and whether it was cut. Bytes that are no UTF-8 become a mark instead of an error."""
    with open(path, "rb") as stream:
        data = stream.read(BYTES_MAX + 1)
    return data[:BYTES_MAX].decode("utf-8-sig", errors="replace"), len(data) > BYTES_MAX


def analyse(text, fallback_title):
    """All figures of a text. Keys `terms` (word counts) and `outline` are the long ones."""
    headings, prose = headings_and_prose(text.splitlines())
    found = words(prose)
    return {
        "title": headings[0][1] if headings and headings[0][1] else fallback_title,
        "words": len(found),
        "distinct_words": len(set(found)),
        "sentences": len(sentences(prose)),
        "syllables": sum(syllables(word) for word in found),
        "long_words": sum(1 for word in found if len(word) > 6),
        "headings": len(headings),
        "outline": headings,
        "terms": Counter(found),
    }


def main():
    path = Path(parameters()["file"])
    progress(0, 1, path.name)
    text, cut = read_text(path)
    figures = analyse(text, path.stem)

    details = artifact("analysis.json")
    long_ones = {"outline": figures.pop("outline"), "terms": figures.pop("terms")}
    details.write_text(json.dumps(long_ones, ensure_ascii=False), encoding="utf-8")
    report({"file": str(path), "details": str(details), "bytes": path.stat().st_size, "cut": cut, **figures})
    progress(1, 1, f"{figures['words']} words")


if __name__ == "__main__":
    main()
