"""How a module talks to its host: four small functions over environment variables.

Nothing here is needed to write a module. Each function is a few lines that may as well stand in the script itself, as `collect.py`
shows. Run by hand, without a host, a module still works: outputs are printed and artifacts go to the current folder.
"""

import json
import os
import sys
from pathlib import Path


def parameters():
    """The checked, completed parameters: the JSON file that the host names (or the one given as the first argument)."""
    path = os.environ.get("PRISMQ_PARAMS") or (sys.argv[1] if len(sys.argv) > 1 else None)
    if path is None:
        raise SystemExit("no parameters: set PRISMQ_PARAMS or name a JSON file")
    return json.loads(Path(path).read_text(encoding="utf-8"))


def progress(done, total, message=""):
    """Appends one line to the progress file. A host shows the last one."""
    path = os.environ.get("PRISMQ_PROGRESS")
    if path:
        line = json.dumps({"done": done, "total": total, "message": message})
        with open(path, "a", encoding="utf-8") as stream:
            stream.write(line + "\n")


def artifact(name):
    """Path for a file that is kept with the run."""
    folder = Path(os.environ.get("PRISMQ_ARTIFACTS") or ".")
    folder.mkdir(parents=True, exist_ok=True)
    return folder.resolve() / name


def report(outputs):
    """Writes the module's outputs: what later nodes of a pipeline can refer to."""
    path = os.environ.get("PRISMQ_OUTPUT")
    text = json.dumps(outputs, ensure_ascii=False, indent=1)
    if path:
        Path(path).write_text(text + "\n", encoding="utf-8")
    else:
        print(text)
