"""What the benchmarks share: time and memory of a program, rounds in which all contestants take turns, a table of medians."""

import os
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))


def program(name):
    """Path of a program on PATH, or None."""
    return shutil.which(name)


def prismq(given):
    """The program under test: as given, else the release build."""
    path = Path(given) if given else TARGET / "release" / "prismq"
    if not path.is_file():
        sys.exit(f"{path} is not there: cargo build --release")
    return str(path.resolve())


def scratch():
    """A folder on the disk of the build: a file system in memory would make every sync free."""
    TARGET.mkdir(exist_ok=True)
    return tempfile.TemporaryDirectory(prefix="bench-", dir=TARGET)


def measured(argv, cwd, stdin=os.devnull):
    """Runs a program, its output thrown away. Returns seconds and peak memory in MiB; ends everything if it fails."""
    with open(stdin, "rb") as source, open(os.devnull, "wb") as sink, tempfile.TemporaryFile() as errors:
        begin = time.perf_counter()
        actions = [(os.POSIX_SPAWN_DUP2, source.fileno(), 0), (os.POSIX_SPAWN_DUP2, sink.fileno(), 1)]
        actions.append((os.POSIX_SPAWN_DUP2, errors.fileno(), 2))
        here = os.getcwd()
        os.chdir(cwd)
        pid = os.posix_spawn(argv[0], argv, os.environ, file_actions=actions)
        os.chdir(here)
        _, status, usage = os.wait4(pid, 0)
        seconds = time.perf_counter() - begin
        if status:
            errors.seek(0)
            sys.exit(f"{' '.join(argv[:6])} failed ({status}):\n{errors.read().decode(errors='replace')[-2000:]}")
    return seconds, usage.ru_maxrss / 1024


def rounds(contestants, count):
    """Measures all contestants (name -> function) in turn, `count` times. Returns name -> list of (seconds, MiB)."""
    results = {name: [] for name in contestants}
    for _ in range(count):
        for name, contestant in contestants.items():
            results[name].append(contestant())
    return results


def print_table(title, results, base):
    """Medians; the ratio is the median over the rounds of the ratio to `base` in the same round."""
    print(f"\n{title}\n\n| | s | x {base} | peak MiB |\n|---|--:|--:|--:|")
    for name, values in results.items():
        seconds = statistics.median(value[0] for value in values)
        ratio = statistics.median(value[0] / basis[0] for value, basis in zip(values, results[base]))
        memory = statistics.median(value[1] for value in values)
        print(f"| {name} | {seconds:.3f} | {ratio:.2f} | {memory:.0f} |", flush=True)
