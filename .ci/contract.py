"""A real host for schemathesis: starts `serve` in a workspace of its own, runs the contract test against it, ends it.

    contract.py PRISMQ SCHEMATHESIS SCRATCH

Ends with the code of schemathesis. The host must be alive afterwards, and end cleanly.
"""

import json
import os
import signal
import subprocess
import sys

# Half of what is sent names things that there are, so that more than 404 is seen.
# 422 is no violation where the schema of a module has the last word, or where a number fits JSON and not 64 bits.
CONFIG = """\
[parameters]
"path.run" = "RUN"
"path.module" = "hello"
"path.node" = "hello"
"path.attempt" = 1
"path.path" = "report.html"

[generation]
allow-x00 = false  # refused everywhere

[[operations]]
include-operation-id = ["run_module", "run_pipeline", "save_config", "validate"]
checks.positive_data_acceptance.expected-statuses = ["2xx", 401, 403, 404, 409, 422, 429]
"""

MODULE = """\
import json, os
with open(os.environ["PRISMQ_PARAMS"], encoding="utf-8") as file:
    params = json.load(file)
with open(os.environ["PRISMQ_OUTPUT"], "w", encoding="utf-8") as file:
    json.dump({"said": params["who"]}, file)
with open(os.path.join(os.environ["PRISMQ_ARTIFACTS"], "report.html"), "w", encoding="utf-8") as file:
    file.write("<p>well</p>")
"""


def write(path, text):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


def workspace(root):
    write(f"{root}/modules/hello.py", MODULE)
    write(
        f"{root}/manifests/hello.yaml",
        "id: hello\nscript: ../modules/hello.py\nresources: {cpus: 0}\n"
        "params: {properties: {who: {type: string, default: you}, times: {type: integer, minimum: 1, maximum: 9, default: 2}}}\n",
    )
    write(f"{root}/manifests/broken.yaml", "id: broken\n")
    write(f"{root}/pipelines/two.yaml", "name: two\nnodes: {a: {module: hello}, b: {module: hello, needs: a}}\n")


def main():
    program, schemathesis, scratch = sys.argv[1:]
    root = os.path.join(scratch, "contract")
    workspace(root)
    host = subprocess.Popen([program, "--workspace", root, "serve", "--port", "0", "--on-exit", "kill"], stderr=subprocess.PIPE, text=True)
    try:
        for line in host.stderr:
            if "Ctrl-C ends it" in line:
                break
        with open(f"{root}/.prismq/host.json", encoding="utf-8") as file:
            port = json.load(file)["port"]
        with open(f"{root}/.prismq/token", encoding="utf-8") as file:
            token = file.read()
        done = subprocess.run([program, "--workspace", root, "run", "hello", "--json"], check=True, stdout=subprocess.PIPE, text=True)
        run = json.loads(done.stdout)["run"]["run_id"]
        write(f"{scratch}/schemathesis.toml", CONFIG.replace("RUN", run))
        url = f"http://127.0.0.1:{port}/api/openapi.json"
        code = subprocess.run(
            [
                schemathesis, "run", url, "--header", f"Authorization: Bearer {token}",
                # No DELETE here removes a thing for good: a run is ended and stays, saved values give way to defaults.
                "--checks", "all", "--exclude-checks", "use_after_free", "--max-examples", os.environ.get("CONTRACT_EXAMPLES", "15"), "--seed", "1",
                "--workers", "1", "--request-timeout", "20", "--max-time", os.environ.get("CONTRACT_SECONDS", "90"), "--suppress-health-check", "all",
            ],
            cwd=scratch,
        ).returncode
        if host.poll() is not None:
            sys.exit(f"the host ended by itself: {host.returncode}")
        return code
    finally:
        host.send_signal(signal.SIGINT)
        try:
            host.wait(60)
        except subprocess.TimeoutExpired:
            host.kill()
            sys.exit("the host did not end")


if __name__ == "__main__":
    sys.exit(main())
