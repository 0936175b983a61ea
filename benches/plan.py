#!/usr/bin/env python3
"""Reading, checking and ordering a large graph: `prismq plan` beside `make -n` and `ninja -n`, which do the same duty.

Every node needs two earlier ones, chosen at random with a fixed seed. All contestants get the same graph.
"""

import argparse
import json
import random
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from measure import measured, print_table, prismq, program, rounds, scratch

# How far back a node's dependencies lie at most, so that the graph is deep as well as wide.
REACH = 5_000


def edges(nodes):
    """For each node the earlier ones that it needs: none, one or two."""
    choose = random.Random(1)
    return [sorted({choose.randrange(max(0, node - REACH), node) for _ in range(2)}) if node else [] for node in range(nodes)]


def write_graph(folder, nodes):
    """The same graph in four notations, in a workspace. Returns the number of edges."""
    graph = edges(nodes)
    manifests = folder / "manifests"
    manifests.mkdir(parents=True)
    (manifests / "noop.yaml").write_text("id: noop\ncommand: [/bin/true]\n")
    names = [[f"n{needed}" for needed in needs] for needs in graph]
    entries = {f"n{at}": {"module": "noop", "needs": needs} if needs else {"module": "noop"} for at, needs in enumerate(names)}
    (folder / "graph.json").write_text(json.dumps({"name": "graph", "nodes": entries}, separators=(",", ":")))
    with open(folder / "graph.yaml", "w") as out:
        out.write("name: graph\nnodes:\n")
        out.writelines(f"  n{at}: {{module: noop, needs: [{', '.join(needs)}]}}\n" for at, needs in enumerate(names))
    with open(folder / "Makefile", "w") as out:
        out.write(f"all: {' '.join(entries)}\n.PHONY: all {' '.join(entries)}\n")
        out.writelines(f"n{at}: {' '.join(needs)}\n\t@true\n" for at, needs in enumerate(names))
    with open(folder / "build.ninja", "w") as out:
        out.write("rule run\n  command = true\n")
        out.writelines(f"build n{at}: run {' '.join(needs)}\n" for at, needs in enumerate(names))
    return sum(map(len, graph))


def written(folder, nodes):
    """Writes the graph in a process of its own: what this one has held would count as the peak memory of what it starts."""
    with ProcessPoolExecutor(max_workers=1, mp_context=get_context("spawn")) as pool:
        return pool.submit(write_graph, folder, nodes).result()


def contestants(binary, folder):
    """Name -> function, for what is installed here."""
    found = {
        "prismq plan (JSON)": lambda: measured([binary, "plan", "graph.json"], folder),
        "prismq plan (YAML)": lambda: measured([binary, "plan", "graph.yaml"], folder),
    }
    if make := program("make"):
        found["make -n"] = lambda: measured([make, "-n", "-r", "-R"], folder)
    if ninja := program("ninja"):
        found["ninja -n"] = lambda: measured([ninja, "-n"], folder)
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prismq", help="the program; default: the release build")
    parser.add_argument("--nodes", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    binary = prismq(options.prismq)
    for nodes in options.nodes:
        with scratch() as folder:
            total = written(Path(folder), nodes)
            count = options.rounds if nodes < 1_000_000 else min(options.rounds, 3)
            results = rounds(contestants(binary, folder), count)
            print_table(f"{nodes:,} nodes, {total:,} edges, median of {count}", results, "prismq plan (JSON)")


if __name__ == "__main__":
    main()
