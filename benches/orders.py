#!/usr/bin/env python3
"""How close the order of nodes comes to the best there can be: makespan over the lower bound, for measured workflows.

The workflows are WfFormat files (https://github.com/wfcommons/WfInstances); a folder of them is the argument. Nothing is started: `prismq
simulate` plays each of them through the scheduler.
"""

import argparse
import json
import subprocess
from pathlib import Path
from statistics import mean

from measure import prismq, scratch

ORDERS = {"first come": "fifo", "longest path": "longest-path", "ours": "portfolio"}


def ran(binary, workspace, *words):
    """What the program says, as JSON."""
    command = [binary, "--workspace", str(workspace), *map(str, words), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)}: {done.stderr.strip()}")
    return json.loads(done.stdout)


def imported(binary, folder, file, with_memory):
    """The workflow as a pipeline in a workspace of its own."""
    workspace = folder / f"{file.stem}{'-memory' if with_memory else ''}"
    workspace.mkdir()
    (workspace / "manifests").mkdir()
    output = workspace / "pipeline.json"
    words = ["--with-memory"] if with_memory else []
    ran(binary, workspace, "import", "wfformat", file, "--output", output, *words)
    return workspace, output


def largest_request(pipeline):
    """The most memory that one node asks for, in bytes."""
    sizes = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}

    def size(value):
        if isinstance(value, int):
            return value
        unit = value.lstrip("0123456789. ")
        return int(float(value[: len(value) - len(unit)]) * sizes[unit or "B"])

    nodes = json.loads(pipeline.read_text())["nodes"].values()
    return max((size(node.get("resources", {}).get("memory", 0)) for node in nodes), default=0)


def ratio(binary, workspace, pipeline, order, machine, spread, seeds):
    """Makespan over the lower bound, the mean of all seeds."""
    ratios = []
    for seed in range(1, seeds + 1):
        words = ["--spread", spread, "--seed", seed] if spread else []
        found = ran(binary, workspace, "simulate", pipeline, "--order", order, *machine, *words)
        ratios.append(found["makespan_seconds"] / max(found["lower_bound_seconds"], 0.001))
    return mean(ratios)


def table(title, rows, mark):
    print(f"\n### {title}\n\n| instance | {' | '.join(ORDERS)} |\n|---|{'---:|' * len(ORDERS)}")
    for name, ratios in rows:
        print(f"| {name} | {' | '.join(f'{ratio:.3f}' for ratio in ratios)} |")
    means = [mean(column) for column in zip(*(ratios for _, ratios in rows))]
    print(f"| **mean** | {' | '.join(f'**{ratio:.3f}**' for ratio in means)} |")
    above = [name for name, (_, path, ours) in rows if ours > path + 0.0005]
    marks = f"mean at most {mark}; " if mark else ""
    print(f"\n{marks}above longest path first: {', '.join(above) or 'none'}")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("instances", type=Path, help="a folder of WfFormat files")
    parser.add_argument("--prismq", help="the program; default: the release build")
    parser.add_argument("--cpus", type=int, default=8)
    parser.add_argument("--spread", type=int, default=30, help="percent by which real durations differ from the known ones")
    parser.add_argument("--seeds", type=int, default=10, help="plays with such durations")
    parser.add_argument("--memory", type=float, default=2.0, help="memory of the machine in the largest request of one node")
    options = parser.parse_args()
    binary = prismq(options.prismq)
    files = sorted(options.instances.rglob("*.json"))
    if not files:
        parser.error(f"there is no .json file in {options.instances}")
    with scratch() as scratch_folder:
        folder = Path(scratch_folder)
        pipelines = {file.stem: imported(binary, folder, file, False) for file in files}
        with_memory = {file.stem: imported(binary, folder, file, True) for file in files}

        def rows(which, machine_of, spread=0, seeds=1):
            return [
                (name, [ratio(binary, workspace, file, order, machine_of(file), spread, seeds) for order in ORDERS.values()])
                for name, (workspace, file) in which.items()
            ]

        # Nothing but processors is scarce.
        plain = ["--cpus", options.cpus, "--max-concurrent", 100_000]
        table(f"{options.cpus} cores, durations known", rows(pipelines, lambda _: plain), "1.022")
        spread = rows(pipelines, lambda _: plain, options.spread, options.seeds)
        table(f"{options.cpus} cores, durations known to ±{options.spread} %, mean of {options.seeds} seeds", spread, "1.045")

        def scarce(file):
            return [*plain, "--memory", f"{max(1, int(largest_request(file) * options.memory))}B"]

        known = {name: pair for name, pair in with_memory.items() if largest_request(pair[1]) > 0}
        if known:
            title = f"{options.cpus} cores, memory {options.memory:g} times the largest request"
            table(title, rows(known, scarce), None)
        unknown = sorted(set(with_memory) - set(known))
        if unknown:
            print(f"\nwithout measured memory: {', '.join(unknown)}")


if __name__ == "__main__":
    main()
