"""Checks that a report is whole: well-formed, with its charts and its table, without a script, and with the sample texts in it."""

import sys
from html.parser import HTMLParser
from pathlib import Path

VOID = {"meta", "link", "br", "img", "input", "hr"}


class Reader(HTMLParser):
    """Follows the nesting and counts the elements."""

    def __init__(self):
        super().__init__()
        self.open, self.count, self.text = [], {}, []

    def handle_starttag(self, tag, attrs):
        self.count[tag] = self.count.get(tag, 0) + 1
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.count[tag] = self.count.get(tag, 0) + 1

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            sys.exit(f"</{tag}> at {self.getpos()} closes what is not open")

    def handle_data(self, data):
        self.text.append(data)


def main():
    reader = Reader()
    reader.feed(Path(sys.argv[1]).read_text(encoding="utf-8"))
    text = "".join(reader.text)
    problems = [f"<{tag}> is left open" for tag in reader.open]
    problems += [f"no <{tag}>" for tag in ("svg", "table", "circle", "rect") if not reader.count.get(tag)]
    problems += [f"{word} is missing" for word in ("Überblick", "A walk by the river") if word not in text]
    problems += ["there is a script in it"] if reader.count.get("script") else []
    if problems:
        sys.exit("; ".join(problems))
    print(f"report: {reader.count['tr'] - 1} texts, {reader.count['svg']} charts")


if __name__ == "__main__":
    main()
