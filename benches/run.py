#!/usr/bin/env python3
"""Running many cheap nodes: `prismq run` beside a bare loop in C with the same duties (floor.c), `xargs` and `make`.

The last two record nothing; the floor and prismq read both streams of every program and make three records of it durable.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from measure import measured, print_table, prismq, program, rounds, scratch

IN_FLIGHT = 2
TRUE = "/bin/true"


def compiled_floor(folder):
    """The C program, or None without a compiler."""
    compiler = program("cc") or program("gcc")
    if compiler is None:
        return None
    subprocess.run([compiler, "-O2", "-pthread", "-o", f"{folder}/floor", str(Path(__file__).with_name("floor.c"))], check=True)
    return f"{folder}/floor"


def workspace(folder, command, nodes):
    """A new workspace under `folder`, with one module and one pipeline, state and all thrown away afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="workspace-", dir=folder))
    (folder / "manifests").mkdir()
    (folder / "prismq.yaml").write_text(f"host: {{max_concurrent: {IN_FLIGHT}, capacity: {{cpus: {IN_FLIGHT}}}}}\n")
    (folder / "manifests" / "noop.yaml").write_text(json.dumps({"id": "noop", "command": command, "isolation": "direct"}))
    (folder / "pipeline.json").write_text(json.dumps({"name": "bench", "nodes": nodes}))
    return folder


def wide(count):
    """One node, `count` instances."""
    return {"all": {"module": "noop", "matrix": {"i": list(range(count))}}}


def chain(count):
    """Nodes of which each needs the one before."""
    return {f"n{at}": {"module": "noop", "needs": [f"n{at - 1}"] if at else []} for at in range(count)}


def contestants(binary, floor, folder, command, count, chained):
    """Name -> function. A fresh workspace for every run of ours: old state is another benchmark."""
    in_flight = "1" if chained else str(IN_FLIGHT)

    def ours():
        place = workspace(folder, command, chain(count) if chained else wide(count))
        return measured([binary, "run", "pipeline.json"], place)

    found = {}
    if floor:
        found["floor"] = lambda: measured([floor, str(count), in_flight, f"{folder}/journal", *command], folder)
    found["prismq"] = ours
    if xargs := program("xargs"):
        # With -I there is one start for each line, and the line itself is not passed on.
        lines = folder / "lines"
        lines.write_text("x\n" * count)
        found[f"xargs -P{in_flight}"] = lambda: measured([xargs, f"-P{in_flight}", "-I{}", *command], folder, lines)
    if make := program("make"):
        words = " ".join(command)
        before = "".join(f"n{at}: n{at - 1}\n" for at in range(1, count)) if chained else ""
        names = " ".join(f"n{at}" for at in range(count))
        (folder / "Makefile").write_text(f"all: {names}\n.PHONY: all {names}\n{before}{names}:\n\t@{words}\n")
        found[f"make -j{in_flight}"] = lambda: measured([make, "-s", "-r", "-R", f"-j{in_flight}"], folder)
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prismq", help="the program; default: the release build")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="small counts, to see whether it works")
    options = parser.parse_args()
    binary = prismq(options.prismq)
    python = os.path.realpath(sys.executable)
    few = 10 if options.quick else 1
    cases = [
        ("`true`, {count:,} nodes, {in_flight} at a time", [TRUE], 1_000 // few, False),
        ("`true`, {count:,} nodes, {in_flight} at a time", [TRUE], 10_000 // few, False),
        ("`true`, a chain of {count:,}", [TRUE], 1_000 // few, True),
        ("a Python program that does nothing, {count:,} nodes, {in_flight} at a time", [python, "-c", "pass"], 200 // few, False),
    ]
    with scratch() as name:
        folder = Path(name)
        floor = compiled_floor(folder)
        for title, command, count, chained in cases:
            results = rounds(contestants(binary, floor, folder, command, count, chained), options.rounds)
            title = f"{title.format(count=count, in_flight=IN_FLIGHT)}, median of {options.rounds}"
            print_table(title, results, "floor" if floor else "prismq")


if __name__ == "__main__":
    main()
