#!/usr/bin/env python3
"""Modules that outlive their host: what the wrapper costs.

Many cheap nodes, beside the loop in C of run.py with a wrapper in C between it and each program (wrapper.c): both survive `kill -9` of whoever
started them. And floods of output, beside `cat` into a file: a module that writes as fast as it can, once through the wrapper's
pump, with time and order of each piece, and once with `capture: raw`.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from measure import measured, print_table, prismq, program, rounds, scratch
from run import TRUE, compiled_floor, wide

LINE = "x" * 99
MB = 1_000_000


def compiled_wrapper(folder):
    """The C wrapper, static where the system can; or None without a compiler."""
    compiler = program("cc") or program("gcc")
    if compiler is None:
        return None
    build = [compiler, "-O2", "-o", f"{folder}/wrapper", str(Path(__file__).with_name("wrapper.c"))]
    if subprocess.run([*build, "-static"], check=False, stderr=subprocess.DEVNULL).returncode:
        subprocess.run(build, check=True)
    return f"{folder}/wrapper"


def workspace(folder, manifest, nodes, in_flight):
    """A new workspace with one module."""
    folder = Path(tempfile.mkdtemp(prefix="workspace-", dir=folder))
    (folder / "manifests").mkdir()
    (folder / "prismq.yaml").write_text(f"host: {{max_concurrent: {in_flight}, capacity: {{cpus: {in_flight}}}}}\n")
    (folder / "manifests" / "noop.yaml").write_text(json.dumps({"id": "noop", **manifest}))
    (folder / "pipeline.json").write_text(json.dumps({"name": "bench", "nodes": nodes}))
    return folder


def ours(binary, folder, manifest, count, in_flight):
    """A function that runs `count` nodes of a module."""
    return lambda: measured([binary, "run", "pipeline.json"], workspace(folder, manifest, wide(count), in_flight))


def cheap_nodes(binary, folder, command, count, in_flight):
    """Name -> function."""
    floor, wrapper = compiled_floor(folder), compiled_wrapper(folder)
    found = {}
    if floor and wrapper:
        def bare():
            files = tempfile.mkdtemp(prefix="floor-", dir=folder)
            return measured([floor, str(count), str(in_flight), f"{files}/journal", wrapper, files, *command], folder)
        found["floor"] = bare
    found["prismq"] = ours(binary, folder, {"command": command}, count, in_flight)
    return found


def flood(folder, megabytes):
    """A program that writes so much in lines of a hundred bytes. It asks for nothing and waits for nobody."""
    path = Path(folder) / f"flood-{megabytes}.py"
    block = 1000 * 100
    path.write_text(f"import os\nblock = ({LINE!r} + '\\n').encode() * 1000\nfor _ in range({megabytes * MB // block}):\n"
                    "    left = memoryview(block)\n    while left:\n        left = left[os.write(1, left):]\n")
    return [os.path.realpath(sys.executable), "-I", "-S", str(path)]


def floods(binary, folder, count, megabytes):
    """Name -> function."""
    command = flood(folder, megabytes)
    line = " ".join(command)

    def cat():
        files = tempfile.mkdtemp(prefix="cat-", dir=folder)
        pipes = "".join(f"{line} | cat > {files}/{number} & " for number in range(count))
        return measured(["/bin/sh", "-c", f"{pipes}wait"], folder)

    return {
        "cat": cat,
        "prismq": ours(binary, folder, {"command": command}, count, count),
        "prismq, raw": ours(binary, folder, {"command": command, "capture": "raw"}, count, count),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prismq", help="the program; default: the release build")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="small counts, to see whether it works")
    options = parser.parse_args()
    binary = prismq(options.prismq)
    python = [os.path.realpath(sys.executable), "-c", "pass"]
    few = 10 if options.quick else 1
    with scratch() as name:
        for in_flight in (2, 8):
            results = rounds(cheap_nodes(binary, Path(name), [TRUE], 1_000 // few, in_flight), options.rounds)
            print_table(f"`true`, {1_000 // few:,} nodes, {in_flight} at a time, wrapped, median of {options.rounds}", results, next(iter(results)))
        results = rounds(cheap_nodes(binary, Path(name), python, 200 // few, 2), options.rounds)
        print_table(f"Python that does nothing, {200 // few} nodes, 2 at a time, wrapped, median of {options.rounds}", results, next(iter(results)))
    for count, megabytes in ((1, 1000 // few), (8, 100 // few)):
        # Each in a folder of its own: what was deleted a moment ago makes new files dear on some file systems.
        with scratch() as name:
            results = rounds(floods(binary, Path(name), count, megabytes), 3)
            print_table(f"{count} x {megabytes} MB of lines, median of 3", results, "cat")


if __name__ == "__main__":
    main()
