"""Checks what `prismq show RUN --json` says: `check_run.py --status completed --output report node=status ...`, JSON on standard input."""

import argparse
import json
import sys
from pathlib import Path


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--status", required=True)
    parser.add_argument("--output", help="an output of the run that must be the path of a file")
    parser.add_argument("nodes", nargs="*", metavar="NODE=STATUS")
    options = parser.parse_args()

    shown = json.load(sys.stdin)
    found = {entry["node"]: entry["status"] for entry in shown["nodes"]} | {"the run": shown["run"]["status"]}
    wanted = {"the run": options.status} | dict(pair.split("=", 1) for pair in options.nodes)
    wrong = [f"{name} is {found.get(name)}, not {status}" for name, status in wanted.items() if found.get(name) != status]
    if options.output:
        path = shown.get("outputs", {}).get(options.output)
        if not isinstance(path, str) or not Path(path).is_file():
            wrong.append(f"output {options.output} names no file: {path}")
    if wrong:
        sys.exit("; ".join(wrong))
    print(f"as expected: {', '.join(f'{name} {status}' for name, status in wanted.items())}")


if __name__ == "__main__":
    main()
