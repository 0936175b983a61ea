"""Checks what `prismq show RUN --json` says: `check_run.py --status completed --output report node=status ...`, JSON on standard input."""

import argparse
import json
import sys
from pathlib import Path


def objects(value):
    """All objects in a JSON value, outer ones first."""
    if isinstance(value, dict):
        yield value
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from objects(inner)


def status_of(run, node):
    """The status of the first object that names this node."""
    return next((entry["status"] for entry in objects(run) if "status" in entry and node in (entry.get("node"), entry.get("id"))), None)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--status", required=True)
    parser.add_argument("--output", help="an output of the run that must be the path of a file")
    parser.add_argument("nodes", nargs="*", metavar="NODE=STATUS")
    options = parser.parse_args()

    run = json.load(sys.stdin)
    found = {"run": run.get("status")}
    wanted = {"run": options.status}
    for pair in options.nodes:
        node, _, status = pair.partition("=")
        wanted[node], found[node] = status, status_of(run, node)
    wrong = [f"{name} is {found[name]}, not {status}" for name, status in wanted.items() if found[name] != status]
    if options.output:
        path = next((entry[options.output] for entry in objects(run) if isinstance(entry.get(options.output), str)), None)
        if path is None or not Path(path).is_file():
            wrong.append(f"output {options.output} names no file: {path}")
    if wrong:
        sys.exit("; ".join(wrong))
    print(f"as expected: {', '.join(f'{name} {status}' for name, status in wanted.items())}")


if __name__ == "__main__":
    main()
