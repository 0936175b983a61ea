"""Says what arrived and what did not. Reads its parameters from standard input."""

import json
import os
import sys
from pathlib import Path


def described(source):
    """One line about a source: null stands for one that failed."""
    if source is None:
        return "failed"
    times = "time" if source["attempts"] == 1 else "times"
    return f"{source['name']}: tried {source['attempts']} {times}"


def main():
    given = json.load(sys.stdin.buffer)
    sources = given["sources"]
    for source in sources:
        print(described(source))
    if given.get("note"):
        print(f"note: {given['note']}")
    arrived = sum(1 for source in sources if source is not None)
    if "PRISMQ_OUTPUT" in os.environ:
        text = json.dumps({"arrived": arrived, "failed": len(sources) - arrived})
        Path(os.environ["PRISMQ_OUTPUT"]).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
