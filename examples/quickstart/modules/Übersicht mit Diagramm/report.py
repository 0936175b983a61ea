"""Draws the report: one HTML file with its style and its charts inside, readable by anybody, in light and dark.

All text from outside passes through `escape`. The page loads nothing and runs no script; its security policy says so.
"""

import json
import os
import shutil
import sys
from html import escape
from pathlib import Path
from string import Template

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from module_io import artifact, parameters, report  # noqa: E402  (the helper lies one folder up)

PAGE = Path(__file__).resolve().with_name("page.html")

# Charts are drawn in these units; the page scales them.
CHART_WIDTH = 720
LABEL_WIDTH = 220
# Room at the right for the figure behind the longest mark.
VALUE_WIDTH = 92
ROW = 26
BAR = 14
# Beyond this many rows a chart is no longer read, and the table has them all.
ROWS_MAX = 30


# Columns of the table: name and attributes.
COLUMNS = [
    ("Text", ""),
    ("Words", ' class="number"'),
    ("Sentences", ' class="number"'),
    ("Headings", ' class="number"'),
    ("Ease", ' class="number"'),
    ("Keywords", ""),
]


def count(number):
    """`12 345`: thousands apart by a thin space that does not break."""
    return f"{number:,}".replace(",", "\u202f")


def shortened(text, length):
    """At most `length` characters, the cut marked."""
    return text if len(text) <= length else text[: length - 1].rstrip() + "…"


def scale_end(largest):
    """The first round number (1, 2, 2.5 or 5 times a power of ten) that is not below `largest`."""
    power = 1
    while True:
        for step in (1, 2, 2.5, 5):
            if power * step >= max(largest, 4):
                return int(power * step) if float(power * step).is_integer() else power * step
        power *= 10


def label(row, text):
    """The name at the left of a row, whole in its tooltip."""
    y = row * ROW + ROW / 2
    return f'<text class="name" x="{LABEL_WIDTH - 12}" y="{y}"><title>{escape(text)}</title>{escape(shortened(text, 30))}</text>'


def axis(ticks, rows, to_x):
    """Thin vertical lines with their number below."""
    bottom = rows * ROW
    return "".join(
        f'<line class="grid" x1="{to_x(tick):.1f}" x2="{to_x(tick):.1f}" y1="0" y2="{bottom}"/>'
        f'<text class="tick" x="{to_x(tick):.1f}" y="{bottom + 18}">{count(round(tick))}</text>'
        for tick in ticks
    )


def chart(title, summary, rows, body):
    """The frame of a chart, with a title and a summary for those who do not see it."""
    key = title.lower().replace(" ", "-")
    return (
        f'<div class="plot" tabindex="0" role="group" aria-label="{escape(title)}">'
        f'<svg viewBox="0 0 {CHART_WIDTH} {rows * ROW + 26}" role="img" aria-labelledby="{key}-title {key}-summary">'
        f'<title id="{key}-title">{escape(title)}</title><desc id="{key}-summary">{escape(summary)}</desc>{body}</svg></div>'
    )


def length_chart(documents):
    """A bar for the words of each text."""
    end = scale_end(max(document["words"] for document in documents))

    def to_x(value):
        return LABEL_WIDTH + (CHART_WIDTH - LABEL_WIDTH - VALUE_WIDTH) * value / end

    marks = []
    for row, document in enumerate(documents):
        top = row * ROW + (ROW - BAR) / 2
        width = max(to_x(document["words"]) - LABEL_WIDTH, 1)
        marks.append(
            label(row, document["title"])
            + f'<rect class="bar" x="{LABEL_WIDTH}" y="{top}" width="{width:.1f}" height="{BAR}" rx="3"/>'
            + f'<text class="value" x="{LABEL_WIDTH + width + 8:.1f}" y="{row * ROW + ROW / 2}">{count(document["words"])}</text>'
        )
    longest = documents[0]
    summary = f"{len(documents)} bars. The longest text is {longest['title']} with {longest['words']} words."
    ticks = [end * step / 4 for step in range(5)]
    return chart("Words in each text", summary, len(documents), axis(ticks, len(documents), to_x) + "".join(marks))


def ease_chart(documents):
    """A dot for the reading ease of each text, on a line from hard to easy. Dots beyond the scale stand at its end."""

    def to_x(value):
        return LABEL_WIDTH + (CHART_WIDTH - LABEL_WIDTH - VALUE_WIDTH) * min(max(value, 0), 100) / 100

    marks = []
    for row, document in enumerate(documents):
        y = row * ROW + ROW / 2
        ease, level = document["readability"]["ease"], document["readability"]["level"]
        marks.append(
            label(row, document["title"])
            + f'<line class="stem" x1="{LABEL_WIDTH}" x2="{to_x(ease):.1f}" y1="{y}" y2="{y}"/>'
            + f'<circle class="dot" cx="{to_x(ease):.1f}" cy="{y}" r="5.5"/>'
            + f'<text class="value" x="{to_x(ease) + 12:.1f}" y="{y}">{round(ease)}<tspan class="word"> {escape(level)}</tspan></text>'
        )
    easiest = documents[0]
    best = f"{easiest['title']} with {easiest['readability']['ease']}"
    summary = f"{len(documents)} dots from 0, hard, to 100, easy. The easiest text is {best}."
    return chart("Reading ease", summary, len(documents), axis(range(0, 101, 20), len(documents), to_x) + "".join(marks))


def figures(totals):
    """The line of large numbers."""
    shown = [
        (count(totals["documents"]), "texts"),
        (count(totals["words"]), "words"),
        (count(totals["sentences"]), "sentences"),
        (count(totals["headings"]), "headings"),
        (f"{count(totals['minutes'])}\u202fmin", "of reading"),
    ]
    return "".join(f"<div><dt>{escape(unit)}</dt><dd>{escape(number)}</dd></div>" for number, unit in shown)


def table(documents):
    """Every text with all its figures."""
    rows = []
    for document in documents:
        ease = document["readability"]
        words = "".join(f"<li>{escape(term)}</li>" for term in document["keywords"])
        cut = ' <span class="note">only its head was read</span>' if document["cut"] else ""
        rows.append(
            f'<tr><th scope="row">{escape(document["title"])}<span class="path">{escape(document["path"])}</span>{cut}</th>'
            f'<td class="number">{count(document["words"])}</td><td class="number">{count(document["sentences"])}</td>'
            f'<td class="number">{count(document["headings"])}</td>'
            + (
                f'<td class="number">{ease["ease"]:.0f}<span class="path">{escape(ease["level"])}</span></td>'
                if ease
                else '<td class="number"><span class="path">too short</span></td>'
            )
            + f'<td><ul class="terms">{words}</ul></td></tr>'
        )
    return "".join(rows)


def section(title, explanation, content):
    """A part of the page."""
    return f"<section><h2>{escape(title)}</h2><p>{escape(explanation)}</p>{content}</section>"


def sections(documents):
    """The charts and the table, or what to do where there is nothing to show."""
    if not documents:
        return section("Nothing to read", "No text was found. Name another folder with -p folder=PATH.", "")
    longest = documents[:ROWS_MAX]
    rated = sorted((document for document in longest if document["readability"]), key=lambda document: -document["readability"]["ease"])
    more = f" The {ROWS_MAX} longest are drawn; the table has all." if len(documents) > ROWS_MAX else ""
    parts = [section("Words in each text", "Code, tables and addresses are not counted." + more, length_chart(longest))]
    if rated:
        explanation = "Flesch reading ease: 0 is very hard, 100 is easy. Made for English; other languages come out too hard."
        parts.append(section("Reading ease", explanation, ease_chart(rated)))
    head = "".join(f'<th scope="col"{kind}>{name}</th>' for name, kind in COLUMNS)
    rows = table(documents)
    grid = (
        '<div class="scroll" tabindex="0" role="region" aria-label="All texts">'
        f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
    )
    parts.append(section("All texts", "Keywords are frequent in a text and rare in the others.", grid))
    return "".join(parts)


def page(corpus, title):
    """The whole page."""
    missing = corpus["totals"]["missing"]
    return Template(PAGE.read_text(encoding="utf-8")).substitute(
        title=escape(title),
        folder=escape(corpus["folder"]),
        missing=f"<p class='note'>{missing} could not be analysed.</p>" if missing else "",
        figures=figures(corpus["totals"]),
        sections=sections(corpus["documents"]),
        run=escape(os.environ.get("PRISMQ_RUN_ID", "by hand")),
    )


def main():
    given = parameters()
    corpus = json.loads(Path(given["corpus"]).read_text(encoding="utf-8"))
    file = artifact("report.html")
    file.write_text(page(corpus, given["title"]), encoding="utf-8")
    outputs = {"file": str(file), "documents": corpus["totals"]["documents"]}
    if given.get("copy"):
        copy = Path(given["copy"])
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, copy)
        outputs["copy"] = str(copy)
    print(f"report: {outputs.get('copy', outputs['file'])}")
    report(outputs)


if __name__ == "__main__":
    sys.stdout.reconfigure(errors="replace")
    main()
