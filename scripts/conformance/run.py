"""Runs the suites, two at a time, and prints the table. Started by `scripts/conformance.sh`,
which has fetched and built what is needed.

Not here: what a suite asks (`suite_*.py`), nor what passes (`judge.py`). Ends with 0 only if every
row is green.
"""

import argparse
import json
import multiprocessing
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import time
from datetime import date
from importlib import metadata
from pathlib import Path
from traceback import format_exception

import trustme

import suite_browser
import suite_peers
import suite_proxies
import suite_websocket
from judge import HEADING
from processes import Broken, Deadline, Stage

# Suites that run side by side: what the smallest machine has processors.
AT_ONCE = 2


class Tools:
    """Where things are."""

    def __init__(self, flags):
        self.release = Path(flags.release)
        self.cache = Path(flags.cache)
        self.scratch = Path(flags.scratch)
        self.here = Path(__file__).parent
        self.proxies = self.cache / "proxies"

    def python(self, name):
        return self.cache / "python" / "bin" / name

    def with_libraries(self):
        """The environment in which the unpacked proxies find what they are linked with."""
        libraries = (str(path) for path in self.proxies.glob("usr/lib/*-linux-gnu"))
        return os.environ | {"LD_LIBRARY_PATH": ":".join(libraries)}

    @property
    def authority(self):
        return self.scratch / "authority.pem"

    @property
    def certificate(self):
        """Certificate chain and key of this machine's names, in one file."""
        return self.scratch / "certificate.pem"

    def make_certificates(self):
        """An authority of this run, and what it says of the loopback address."""
        authority = trustme.CA()
        names = authority.issue_cert("127.0.0.1", "localhost")
        chain = names.cert_chain_pems
        names.private_key_pem.write_to_path(str(self.scratch / "key.pem"))
        for link in chain:
            link.write_to_path(str(self.scratch / "chain.pem"), append=True)
        names.private_key_and_cert_chain_pem.write_to_path(str(self.scratch / "certificate.pem"))
        authority.cert_pem.write_to_path(str(self.scratch / "authority.pem"))

    def tls_flags(self):
        return ["--listen", "127.0.0.1:0", "--tls-listen", "127.0.0.1:0",
                "--tls-cert", self.scratch / "chain.pem",
                "--tls-key", self.scratch / "key.pem"]


def versions(tools):
    """What judged, and on what it ran."""
    found = {"python": platform.python_version(), "kernel": platform.release().split("-")[0]}
    for package in (tools.here / "requirements.txt").read_text().split():
        name = package.split("==")[0]
        found[name] = metadata.version(name)
    for name, command in (("chromium", ["chromium", "--version"]),
                          ("haproxy", [tools.proxies / "usr/sbin/haproxy", "-v"]),
                          ("nginx", [tools.proxies / "usr/sbin/nginx", "-v"])):
        ran = subprocess.run(command, capture_output=True, text=True, env=tools.with_libraries())
        found[name] = re.search(r"\d+(\.\d+)+", ran.stdout + ran.stderr).group()
    wanted = json.loads((tools.here / "package.json").read_text())["dependencies"]
    for name in wanted:
        package = tools.cache / "node" / "node_modules" / name / "package.json"
        found[name] = json.loads(package.read_text())["version"]
    return found


def run_suite(tools, number, row, seconds, fill):
    """Fills one row, whatever happens in it."""
    began = time.monotonic()
    try:
        with Stage(tools, f"{number:02}") as stage, Deadline(seconds):
            fill(stage, row)
            stage.check_servers()
    except Exception as error:
        what = str(error) if isinstance(error, Broken) else "".join(format_exception(error))
        row.faults.append(what)
        judged = row.ok + row.informational + row.non_strict + row.unimplemented
        row.failed = max(1, row.cases - judged)
    row.seconds = round(time.monotonic() - began, 1)
    if not row.is_green:
        kept = tools.cache / "failed" / f"{number:02}"
        shutil.rmtree(kept, ignore_errors=True)
        shutil.copytree(stage.directory, kept, ignore=shutil.ignore_patterns("*socket", "profile"))
        row.faults.append(f"its files: {kept}")


def show(row):
    print(row.as_line(), flush=True)
    for fault in row.faults[:40]:
        print(f"  {fault}", flush=True)
    if len(row.faults) > 40:
        print(f"  and {len(row.faults) - 40} more", flush=True)


def exit_on_signals():
    """A signal becomes an exception, so that what a suite has started is stopped."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda number, _: sys.exit(128 + number))


def work(tools, planned, numbers, done):
    """One of the processes that run suites: takes the next until there is none."""
    exit_on_signals()
    while (number := numbers.get()) is not None:
        row, seconds, fill = planned[number]
        run_suite(tools, number, row, seconds, fill)
        done.put((number, row))


def run_all(tools, planned):
    """Runs the suites, two at a time, and shows each as it is done; the rows in order."""
    fork = multiprocessing.get_context("fork")
    numbers, done = fork.SimpleQueue(), fork.SimpleQueue()
    workers = [
        fork.Process(target=work, args=(tools, planned, numbers, done)) for _ in range(AT_ONCE)
    ]
    for number in [*range(len(planned)), *[None] * AT_ONCE]:
        numbers.put(number)
    rows = {}
    try:
        for worker in workers:
            worker.start()
        while len(rows) < len(planned):
            # A worker that is killed tells nobody.
            while done.empty() and any(worker.is_alive() for worker in workers):
                time.sleep(0.05)
            if done.empty():
                break
            number, rows[number] = done.get()
            show(rows[number])
    finally:
        for worker in workers:
            if worker.is_alive():
                worker.terminate()
        for worker in workers:
            if worker.pid is not None:
                worker.join()
    for number, (row, _, _) in enumerate(planned):
        if number not in rows:
            row.faults.append("its process ended without a word")
            row.failed = row.cases
            rows[number] = row
            show(row)
    return [rows[number] for number in range(len(planned))]


def read_flags():
    flags = argparse.ArgumentParser()
    for name in ("--release", "--cache", "--scratch", "--out"):
        flags.add_argument(name, required=True)
    flags.add_argument("--full", action="store_true")
    flags.add_argument("--list", action="store_true")
    flags.add_argument("--only", action="append", default=[])
    flags.add_argument("--engine", choices=("uring", "epoll"))
    return flags.parse_args()


def main():
    flags = read_flags()
    tools = Tools(flags)
    exit_on_signals()
    planned = []
    for engine in (flags.engine,) if flags.engine else ("uring", "epoll"):
        planned += suite_websocket.suites(engine, flags.full)
        planned += suite_peers.suites(engine, flags.full)
        planned += suite_browser.suites(engine, flags.full)
        planned += suite_proxies.suites(engine, flags.full)
    wanted = tuple(flags.only) or ("",)
    planned = [plan for plan in planned if plan[0].suite.startswith(wanted)]
    if flags.list or not planned:
        print("\n".join(dict.fromkeys(plan[0].suite for plan in planned)))
        return 0 if planned else 2
    began = time.monotonic()
    print(HEADING, flush=True)
    tools.make_certificates()
    rows = run_all(tools, planned)
    red = [row for row in rows if not row.is_green]
    result = {
        "schema": "ringwire.conformance/1",
        "date": date.today().isoformat(),
        "full": flags.full,
        "seconds": round(time.monotonic() - began),
        "versions": versions(tools),
        "rows": [row.as_dict() for row in rows],
    }
    Path(flags.out).write_text(json.dumps(result, indent=2) + "\n")
    print(f"{len(rows) - len(red)} of {len(rows)} suites as they should be, "
          f"{sum(row.cases for row in rows)} cases, {result['seconds']} s")
    return 1 if red else 0


sys.exit(main())
