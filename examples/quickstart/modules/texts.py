"""Words, sentences and syllables of a text: what the analysing modules share."""

import re

WORD = re.compile(r"[^\W\d_]+(?:['’\-][^\W\d_]+)*")
SENTENCE_END = re.compile(r"[.!?…]+[\"'”’)\]]*(?:\s+|$)|\n\s*\n")
HEADING = re.compile(r"^ {0,3}(#{1,6})\s+(.+?)\s*#*\s*$")
FENCE = re.compile(r"^ {0,3}(```|~~~)")
VOWELS = re.compile(r"[aeiouyäöüáéíóúýàèìòùâêîôûæøåěů]+")
TABLE_ROW = re.compile(r"^\s*\|.*\|\s*$")

# Characters of a line beyond which it is data, not prose.
LINE_MAX = 20_000


def words(text):
    """The words of a text, in lower case."""
    return [word.lower() for word in WORD.findall(text)]


def sentences(text):
    """The parts of a text that end like a sentence and hold a word."""
    return [part for part in SENTENCE_END.split(text) if part and WORD.search(part)]


def syllables(word):
    """About how many syllables an English word has: groups of vowels, without a silent final e."""
    groups = len(VOWELS.findall(word))
    if word.endswith("e") and not word.endswith(("le", "ee")) and groups > 1:
        groups -= 1
    return max(groups, 1)


def headings_and_prose(lines):
    """Splits Markdown into its headings `(level, text)` and its prose: no code, no tables, no marks.

    A heading and a list item end a sentence even without a full stop.
    """
    headings, prose, fence = [], [], None
    for line in lines:
        mark = FENCE.match(line)
        if mark and fence in (None, mark.group(1)):
            fence = None if fence else mark.group(1)
            continue
        if fence or TABLE_ROW.match(line) or len(line) > LINE_MAX:
            continue
        heading = HEADING.match(line)
        if heading:
            headings.append((len(heading.group(1)), plain(heading.group(2))))
            prose.append("\n\n")
        else:
            item = re.match(r"\s*(?:[-*+]|\d+[.)])\s+", line)
            prose.append(("\n\n" if item else "") + plain(line[item.end() :] if item else line))
    return headings, "\n".join(prose)


def plain(text):
    """A line without Markdown's marks: links keep their words, code and addresses go."""
    text = re.sub(r"`[^`]*`", " ", text)
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", text)
    text = re.sub(r"https?://\S+|<[^>]*>", " ", text)
    return text.replace("**", "").replace("*", "").strip()
