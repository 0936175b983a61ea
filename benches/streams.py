#!/usr/bin/env python3
"""Streams of a host: many clients of one run of which some never read, a flood to one client, a long log looked at, and downloads.

One run writes lines with the time in them; what passes until a client has read one is its lag. The clients of a process share a loop of
sockets, so that with thousands of them the measuring costs as much as what is measured: read the lag as an upper bound.
"""

import argparse
import json
import multiprocessing
import os
import resource
import selectors
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from measure import prismq, scratch

TICK = "import sys, time\nfor n in range(int(sys.argv[1])):\n    print(f'T{time.time():.6f}', flush=True)\n    time.sleep(float(sys.argv[2]))\n"
FLOOD = "import sys\nline = 'x' * 79 + '\\n'\nfor n in range(int(sys.argv[1]) // 1000):\n    sys.stdout.write(line * 1000)\n"


class Host:
    """`prismq serve` in a new workspace."""

    def __init__(self, binary, folder, clients):
        self.binary = binary
        self.folder = Path(tempfile.mkdtemp(prefix="streams-", dir=folder))
        (self.folder / "manifests").mkdir()
        (self.folder / "prismq.yaml").write_text(f"host: {{sse_clients: {clients + 50}}}\n")
        for name, text, params in [("tick", TICK, ("count", "pause")), ("flood", FLOOD, ("count",))]:
            (self.folder / f"{name}.py").write_text(text)
            shape = {key: {"type": "number" if key == "pause" else "integer"} for key in params}
            command = [sys.executable, "-u", f"{self.folder}/{name}.py", *("${{ params.%s }}" % key for key in params)]
            manifest = {"id": name, "command": command, "params": {"type": "object", "properties": shape}, "resources": {"cpus": 0}}
            (self.folder / "manifests" / f"{name}.yaml").write_text(json.dumps(manifest))
        log = open(self.folder / "serve.log", "w")
        self.process = subprocess.Popen([binary, "serve"], cwd=self.folder, stdout=log, stderr=log)
        while not (self.folder / ".prismq" / "host.json").is_file():
            if self.process.poll() is not None:
                sys.exit((self.folder / "serve.log").read_text())
            time.sleep(0.01)
        self.port = json.loads((self.folder / ".prismq" / "host.json").read_text())["port"]
        self.token = (self.folder / ".prismq" / "token").read_text().strip()

    def run(self, module, **params):
        """Starts a module; its run."""
        given = [part for key, value in params.items() for part in ("-p", f"{key}={value}")]
        argv = [self.binary, "run", module, "--detach", *given]
        return subprocess.run(argv, cwd=self.folder, check=True, capture_output=True, text=True).stdout.strip()

    def wait(self, run):
        subprocess.run([self.binary, "wait", run], cwd=self.folder, check=True)

    def memory(self):
        """Resident memory now and at most, in MiB."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        lines = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
        return tuple(int(lines[key].split()[0]) / 1024 for key in ("VmRSS", "VmHWM"))

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def end(self):
        self.process.terminate()
        self.process.wait()


def ask(port, token, path, small=False):
    """A connection with a request on it."""
    sock = socket.socket()
    if small:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.connect(("127.0.0.1", port))
    sock.sendall(f"GET {path} HTTP/1.0\r\nHost: 127.0.0.1:{port}\r\nAuthorization: Bearer {token}\r\n\r\n".encode())
    return sock


def get(host, path):
    """Seconds to the whole answer, and its body."""
    begin = time.perf_counter()
    sock = ask(host.port, host.token, path)
    parts = []
    while part := sock.recv(1 << 20):
        parts.append(part)
    seconds = time.perf_counter() - begin
    head, body = b"".join(parts).split(b"\r\n\r\n", 1)
    if b" 200 " not in head[:20]:
        sys.exit(f"{path}: {head[:100]} {body[:300]}")
    return seconds, body


def readers(port, token, path, count, seconds, results):
    """Reads with many clients for a time; tells lags, lines and how many clients got them."""
    selector = selectors.DefaultSelector()
    for _ in range(count):
        sock = ask(port, token, path)
        sock.setblocking(False)
        selector.register(sock, selectors.EVENT_READ, [0])
    # What was there before is a replay and no lag.
    begin = time.time() + 2
    lags, end = [], begin + seconds
    while time.time() < end:
        for key, _ in selector.select(0.1):
            data = key.fileobj.recv(1 << 16)
            now = time.time()
            for part in data.split(b'"T')[1:]:
                printed = float(part.split(b'"', 1)[0])
                if printed >= begin:
                    lags.append(now - printed)
                    key.data[0] += 1
    served = sum(1 for key in selector.get_map().values() if key.data[0] > 0)
    lags.sort()
    results.put((len(lags), served, lags[len(lags) // 2] if lags else 0, lags[len(lags) * 99 // 100] if lags else 0, lags[-1] if lags else 0))


def many_clients(binary, folder, count, stuck, seconds, lines):
    host = Host(binary, folder, count)
    idle = host.memory()[0]
    run = host.run("tick", count=int((seconds + count / 500 + 20) * lines), pause=1 / lines)
    path = f"/api/runs/{run}/logs/stream"
    never = [ask(host.port, host.token, path, small=True) for _ in range(stuck)]
    results, processes = multiprocessing.Queue(), 2
    time.sleep(1)
    share = (count - stuck) // processes
    first = json.loads(get(host, f"/api/runs/{run}/logs?tail=1")[1])["total_lines"] + 1
    started = [
        multiprocessing.Process(target=readers, args=(host.port, host.token, f"{path}?from={first}", share, seconds, results))
        for _ in range(processes)
    ]
    [process.start() for process in started]
    told = [results.get() for _ in started]
    memory, descriptors = host.memory(), host.descriptors()
    [process.join() for process in started]
    [sock.close() for sock in never]
    subprocess.run([binary, "cancel", run], cwd=host.folder, check=False, capture_output=True)
    host.end()
    print(f"\n{count} clients, {stuck} of them never read, {lines} lines/s for {seconds} s\n")
    print(f"lines delivered {sum(one[0] for one in told)}, clients that got some {sum(one[1] for one in told)} of {2 * share}")
    print(f"lag: median {max(one[2] for one in told) * 1000:.0f} ms, p99 {max(one[3] for one in told) * 1000:.0f} ms, worst {max(one[4] for one in told) * 1000:.0f} ms")
    print(f"memory of the host: {idle:.0f} MiB idle, {memory[0]:.0f} MiB now, {memory[1]:.0f} MiB at most; descriptors {descriptors}", flush=True)


def flood(binary, folder, lines):
    host = Host(binary, folder, 10)
    run = host.run("flood", count=lines)
    begin = time.perf_counter()
    sock = ask(host.port, host.token, f"/api/runs/{run}/logs/stream?batch=1&end=close")
    count, total = 0, 0
    while part := sock.recv(1 << 20):
        count += part.count(b'"timestamp"')
        total += len(part)
    seconds = time.perf_counter() - begin
    print(f"\nA flood of {lines} lines to one client\n\n{count} lines in {seconds:.2f} s: {count / seconds:,.0f} lines/s, {total / seconds / 1e6:.0f} MB/s; at most {host.memory()[1]:.0f} MiB", flush=True)
    return host, run


def looks(host, run, lines):
    print(f"\nThat log of {lines} lines looked at, milliseconds\n\n| | first | median of 20 |\n|---|--:|--:|")
    for name, path in [
        ("last 200 lines", "?tail=200"),
        (f"200 lines from {lines * 7 // 10}", f"?from={lines * 7 // 10}&limit=200"),
        ("search without a hit", "/search?text=nothing+like+this"),
    ]:
        times = [get(host, f"/api/runs/{run}/logs{path}")[0] * 1000 for _ in range(20)]
        print(f"| {name} | {times[0]:.1f} | {statistics.median(times):.1f} |", flush=True)
    seconds, body = get(host, f"/api/runs/{run}/logs/download")
    print(f"| download of {len(body) / 1e6:.0f} MB | {seconds * 1000:.0f} | {len(body) / 1e6 / seconds:.0f} MB/s |")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prismq")
    parser.add_argument("--clients", type=int, default=5000)
    parser.add_argument("--stuck", type=int, default=500)
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--rate", type=int, default=5, help="lines a second to each client")
    parser.add_argument("--lines", type=int, default=1_000_000)
    options = parser.parse_args()
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    binary = prismq(options.prismq)
    with scratch() as folder:
        host, run = flood(binary, folder, options.lines)
        host.wait(run)
        looks(host, run, options.lines)
        host.end()
        # A host that never saw the log has to order it first.
        host.process = None
        again = subprocess.Popen([binary, "serve"], cwd=host.folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        (host.folder / ".prismq" / "runs" / run / "order").unlink()
        time.sleep(1)
        host.port = json.loads((host.folder / ".prismq" / "host.json").read_text())["port"]
        print(f"\nThe last 200 lines where nobody has ordered the log yet: {get(host, f'/api/runs/{run}/logs?tail=200')[0] * 1000:.0f} ms", flush=True)
        again.terminate()
        again.wait()
        many_clients(binary, folder, options.clients, options.stuck, options.seconds, options.rate)


if __name__ == "__main__":
    main()
