#!/usr/bin/env python3
"""A host that many talk to: what it costs when nothing happens, and how it takes a storm.

Idle: a workspace of 1,000 modules, how soon its host answers, its memory, and the processor time of a quiet minute. Storm: so many launches a
second through `POST /api/modules/{id}/run` for ten seconds, each durable before it is answered, while somebody asks for single runs all the
time. There is no peer for either; the floor of a launch is one `fdatasync` of the same disk, taken in the same minute, one after another: what
waits for it together shares it.
"""

import argparse
import http.client
import json
import os
import queue
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from measure import prismq, scratch

READY_LIMIT = 30
TICKS = os.sysconf("SC_CLK_TCK")


class Connection:
    """One connection that is kept. Python's own client takes as much processor time for a request as the host does for its answer, and here
    both share the machine: this one knows no more of HTTP than an answer with its length needs."""

    def __init__(self, port, token):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=30)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.head = f"Host: 127.0.0.1:{port}\r\nAuthorization: Bearer {token}\r\n"
        self.rest = b""

    def ask(self, method, path, body=None):
        """Status and body of one request."""
        given = "" if body is None else f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        self.socket.sendall(f"{method} {path} HTTP/1.1\r\n{self.head}{given}\r\n{body or ''}".encode())
        while (end := self.rest.find(b"\r\n\r\n")) < 0:
            self.read()
        head, self.rest = self.rest[:end].lower(), self.rest[end + 4:]
        length = int(head.split(b"content-length:", 1)[1].split(b"\r", 1)[0])
        while len(self.rest) < length:
            self.read()
        answer, self.rest = self.rest[:length], self.rest[length:]
        return int(head[9:12]), answer

    def read(self):
        if not (more := self.socket.recv(65536)):
            sys.exit("the host closed the connection")
        self.rest += more


class Host:
    """A `serve` of its own, until `end`."""

    def __init__(self, binary, folder, modules, settings="", manifest=None):
        self.folder = Path(tempfile.mkdtemp(prefix="serve-", dir=folder))
        (self.folder / "manifests").mkdir()
        (self.folder / "prismq.yaml").write_text(settings)
        for number in range(modules):
            given = {"id": f"m{number}", "command": ["/bin/true"], **(manifest or {})}
            (self.folder / "manifests" / f"m{number}.yaml").write_text(json.dumps(given))
        begin = time.perf_counter()
        self.process = subprocess.Popen([binary, "serve", "--port", "0"], cwd=self.folder, stdin=subprocess.DEVNULL,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.port = self.answering_port(begin + READY_LIMIT)
        self.ready = time.perf_counter() - begin
        self.token = (self.folder / ".prismq" / "token").read_text().strip()

    def answering_port(self, limit):
        while time.perf_counter() < limit:
            try:
                port = json.loads((self.folder / ".prismq" / "host.json").read_text())["port"]
                connection = http.client.HTTPConnection("127.0.0.1", port, timeout=1)
                connection.request("GET", "/api/health")
                if connection.getresponse().status == 200:
                    return port
            except (OSError, ValueError, KeyError):
                pass
            time.sleep(0.001)
        self.process.kill()
        sys.exit("the host did not answer")

    def connection(self):
        return Connection(self.port, self.token)

    def cpu(self):
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def memory(self):
        """Resident MiB."""
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS"):
                return int(line.split()[1]) / 1024
        return 0.0

    def end(self):
        self.process.send_signal(signal.SIGINT)
        time.sleep(0.2)
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def idle(binary, folder, modules, seconds):
    host = Host(binary, folder, modules)
    try:
        time.sleep(1)
        before = host.cpu()
        time.sleep(seconds)
        used = (host.cpu() - before) * 60 / seconds
        return host.ready * 1000, host.memory(), used
    finally:
        host.end()


def sync_floor(folder):
    """Median ms of writing 200 bytes to the end of a file and syncing it."""
    times = []
    with tempfile.NamedTemporaryFile(dir=folder) as file:
        for _ in range(200):
            begin = time.perf_counter()
            os.write(file.fileno(), b"x" * 200)
            os.fdatasync(file.fileno())
            times.append((time.perf_counter() - begin) * 1000)
    return statistics.median(times)


class Storm:
    """Launches at a steady pace from several threads, and looks at runs meanwhile."""

    def __init__(self, host, rate, seconds, threads):
        self.host, self.rate, self.seconds = host, rate, seconds
        self.due = queue.Queue()
        self.launches, self.looks, self.refused = [], [], []
        self.runs = []
        self.over = threading.Event()
        self.workers = [threading.Thread(target=self.launch) for _ in range(threads)]
        self.looker = threading.Thread(target=self.look)

    def launch(self):
        connection = self.host.connection()
        while (at := self.due.get()) is not None:
            status, body = connection.ask("POST", "/api/modules/m0/run", "{}")
            # From the moment at which it was due: a queue before us is part of the answer.
            self.launches.append((time.perf_counter() - at) * 1000)
            if status == 202:
                self.runs.append(json.loads(body)["run_id"])
            else:
                self.refused.append((status, body[:200]))

    def look(self):
        connection = self.host.connection()
        while not self.over.is_set():
            if not self.runs:
                time.sleep(0.005)
                continue
            run = self.runs[len(self.looks) * 7919 % len(self.runs)]
            begin = time.perf_counter()
            status, body = connection.ask("GET", f"/api/runs/{run}")
            self.looks.append((time.perf_counter() - begin) * 1000)
            if status != 200:
                self.refused.append((status, body[:200]))
            time.sleep(0.005)

    def play(self):
        for thread in [*self.workers, self.looker]:
            thread.start()
        begin = time.perf_counter()
        for number in range(self.rate * self.seconds):
            at = begin + number / self.rate
            pause = at - time.perf_counter()
            if pause > 0:
                time.sleep(pause)
            self.due.put(at)
        for _ in self.workers:
            self.due.put(None)
        for thread in self.workers:
            thread.join()
        took = time.perf_counter() - begin
        self.over.set()
        self.looker.join()
        return took


def quantile(values, part):
    values = sorted(values)
    return values[min(len(values) - 1, int(len(values) * part))] if values else float("nan")


def storm(binary, folder, rate, seconds, threads):
    # One attempt at a time: what is measured is taking runs in, and not running them.
    settings = "host: {max_concurrent: 1, max_queued: 1000000}\n"
    host = Host(binary, folder, 1, settings, {"isolation": "direct", "resources": {"cpus": 0}})
    try:
        played = Storm(host, rate, seconds, threads)
        took = played.play()
        if played.refused:
            print(f"!!! {len(played.refused)} were refused, the first: {played.refused[0]}")
        return played, took, host.memory()
    finally:
        host.end()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--prismq", help="the program (default: the release build)")
    parser.add_argument("--modules", type=int, default=1000)
    parser.add_argument("--idle-seconds", type=int, default=60)
    parser.add_argument("--rate", type=int, default=1000, help="launches a second")
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--threads", type=int, default=16, help="connections that launch")
    parser.add_argument("--only", choices=["idle", "storm"])
    given = parser.parse_args()
    binary = prismq(given.prismq)
    with scratch() as folder:
        if given.only != "storm":
            ready, memory, cpu = idle(binary, folder, given.modules, given.idle_seconds)
            print(f"idle, {given.modules} modules: answers after {ready:.0f} ms, {memory:.1f} MiB, {cpu:.3f} s of CPU a minute", flush=True)
        if given.only != "idle":
            floor = sync_floor(folder)
            played, took, memory = storm(binary, folder, given.rate, given.seconds, given.threads)
            print(f"storm, {given.rate} launches a second for {given.seconds} s: {len(played.runs)} taken in {took:.2f} s "
                  f"({len(played.runs) / took:.0f} a second), one sync takes {floor:.2f} ms")
            print(f"  a launch: median {quantile(played.launches, 0.5):.1f} ms, p99 {quantile(played.launches, 0.99):.1f} ms")
            print(f"  GET of a run: {len(played.looks)} times, median {quantile(played.looks, 0.5):.1f} ms, p99 {quantile(played.looks, 0.99):.1f} ms")
            print(f"  host: {memory:.0f} MiB with {len(played.runs)} runs")


if __name__ == "__main__":
    main()
