"""A module that fails on purpose: in its first attempts, or always, and in the way that it is told to.

It stands for what fails in real life: a server that is down for a moment, a download that hangs.
"""

import argparse
import json
import os
import sys
import time
from pathlib import Path

# What a program exits with to say "temporary failure, try again" (EX_TEMPFAIL of sysexits.h).
TEMPORARY_FAILURE = 75
# Longer than any limit in the example. A hanging module is stopped by its `timeout`, not by itself.
HANG_SECONDS = 600


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--name", required=True, help="what it pretends to fetch")
    parser.add_argument("--failures", type=int, default=0, help="attempts that fail before one succeeds")
    parser.add_argument("--how", choices=["exit", "hang"], default="exit", help="how an attempt fails")
    options = parser.parse_args()

    attempt = int(os.environ.get("PRISMQ_ATTEMPT", "1"))
    print(f"attempt {attempt} at {options.name}")
    if attempt <= options.failures:
        if options.how == "hang":
            print("no answer, waiting", file=sys.stderr)
            time.sleep(HANG_SECONDS)
        print("the other side is not there", file=sys.stderr)
        return TEMPORARY_FAILURE

    outputs = {"name": options.name, "attempts": attempt}
    if "PRISMQ_OUTPUT" in os.environ:
        Path(os.environ["PRISMQ_OUTPUT"]).write_text(json.dumps(outputs), encoding="utf-8")
    print("done")
    return 0


if __name__ == "__main__":
    sys.exit(main())
