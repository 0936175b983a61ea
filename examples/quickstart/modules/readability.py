"""How easy a text is to read: three well known formulas over counts that another module made.

Flesch reading ease (100 is easy, 0 is hard), Flesch-Kincaid grade (years of school) and LIX (works for many languages). The first
two are made for English and are a rough guide for anything else.
"""

import argparse
import json
import os
from pathlib import Path

# Lower bound of the reading ease and the word for it.
LEVELS = [(80, "easy"), (60, "plain"), (40, "fairly hard"), (20, "hard"), (float("-inf"), "very hard")]


def readability(words, sentences, syllables, long):
    """The three figures and a word for the first, rounded to one digit."""
    per_sentence = words / sentences
    per_word = syllables / words
    ease = 206.835 - 1.015 * per_sentence - 84.6 * per_word
    grade = 0.39 * per_sentence + 11.8 * per_word - 15.59
    return {
        "ease": round(ease, 1),
        "grade": round(grade, 1),
        "lix": round(per_sentence + 100 * long / words, 1),
        "words_per_sentence": round(per_sentence, 1),
        "level": next(word for bound, word in LEVELS if ease >= bound),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("words", "sentences", "syllables", "long"):
        parser.add_argument(f"--{name}", type=int, required=True)
    options = parser.parse_args()
    if options.words < 1 or options.sentences < 1:
        parser.error("a text without words or sentences has no readability")

    result = readability(options.words, options.sentences, options.syllables, options.long)
    print(f"reading ease {result['ease']}: {result['level']}")
    if "PRISMQ_OUTPUT" in os.environ:
        Path(os.environ["PRISMQ_OUTPUT"]).write_text(json.dumps(result), encoding="utf-8")


if __name__ == "__main__":
    main()
