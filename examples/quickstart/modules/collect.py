"""Lists the text files of a folder.

A module in its plainest form: parameters come as command line flags, the outputs go to the file named by PRISMQ_OUTPUT.
"""

import argparse
import fnmatch
import json
import os
import sys
from pathlib import Path

# Folders that hold what programs made. Hidden ones are passed over too.
GENERATED = {"target", "node_modules", "__pycache__", "output"}


def text_files(folder, patterns):
    """Yields the files under `folder` that match one of `patterns`, in a stable order."""
    for root, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name not in GENERATED)
        for name in sorted(names):
            if any(fnmatch.fnmatch(name.lower(), pattern.lower()) for pattern in patterns):
                yield Path(root, name)


def is_text(path):
    """Whether a path can be written as JSON. On Linux a file's name may be any bytes."""
    try:
        str(path).encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--patterns", action="append", help="may be given more than once")
    parser.add_argument("--limit", type=int, default=200, help="most files to take")
    options = parser.parse_args()

    folder = options.folder.resolve()
    if not folder.is_dir():
        sys.exit(f"not a folder: {folder}")
    found = list(text_files(folder, options.patterns or ["*.md", "*.txt"]))
    named = [str(path) for path in found if is_text(path)]
    taken = named[: options.limit]
    for path in taken:
        print(os.path.relpath(path, folder))
    if len(found) > len(named):
        print(f"left out: {len(found) - len(named)} files whose names are no UTF-8", file=sys.stderr)
    if len(named) > len(taken):
        print(f"left out: {len(named) - len(taken)} files beyond the limit of {options.limit}", file=sys.stderr)

    outputs = json.dumps({"folder": str(folder), "files": taken, "left_out": len(found) - len(taken)})
    if "PRISMQ_OUTPUT" in os.environ:
        Path(os.environ["PRISMQ_OUTPUT"]).write_text(outputs, encoding="utf-8")


if __name__ == "__main__":
    # File names may hold any letter, whatever the terminal's encoding is.
    sys.stdout.reconfigure(errors="replace")
    main()
