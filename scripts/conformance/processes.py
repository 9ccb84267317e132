"""Programs under test and their companions: started, found, stopped.

Not here: what is asked of them. Every process started here is in a `Stage`, which ends exactly
those, by number, when it is left, however that comes. Nobody chooses a port: each program takes a
free one and says which.
"""

import re
import signal
import subprocess
import time
from pathlib import Path


class Broken(Exception):
    """A suite could not be judged: a program did not start, or did not end."""


class Deadline:
    """Ends a suite that takes too long, wherever in it the time is lost."""

    def __init__(self, seconds):
        self.seconds = seconds

    def __enter__(self):
        def ring(_signal, _frame):
            raise Broken(f"not done in {self.seconds} s")

        signal.signal(signal.SIGALRM, ring)
        signal.alarm(self.seconds)

    def __exit__(self, *_):
        signal.alarm(0)


class Stage:
    """What one suite runs: a directory for its files, and its processes."""

    def __init__(self, tools, name):
        self.tools = tools
        self.name = name
        self.directory = Path(tools.scratch) / name
        self.directory.mkdir(parents=True)
        self.running = []
        self.servers = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in reversed(self.running):
            stop(process)

    def start(self, name, command, **options):
        """Starts a program whose output goes to files, and returns it with their paths."""
        number = len(self.running)
        out = self.directory / f"{number}-{name}.out"
        err = self.directory / f"{number}-{name}.err"
        with open(out, "wb") as stdout, open(err, "wb") as stderr:
            process = subprocess.Popen(
                [str(word) for word in command],
                stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr, **options,
            )
        process.out, process.err = out, err
        self.running.append(process)
        return process

    def start_listening(self, name, command, listeners=1, **options):
        """Starts a program that prints a line `listening on ADDRESS` per listener; returns it
        and the addresses, without what stands after them."""
        process = self.start(name, command, **options)
        return process, wait_for(process, r"listening on (?:\w+://)?(\S+)", listeners)

    def server(self, engine, *flags, listeners=1):
        """ringwire on a free port."""
        command = [self.tools.release / "ringwire", "--engine", engine, *flags]
        if not any(str(flag).startswith("--listen") for flag in flags):
            command += ["--listen", "127.0.0.1:0"]
        process, addresses = self.start_listening("ringwire", command, listeners)
        self.servers.append(process)
        return process, addresses

    def check_servers(self):
        """A server that has been asked anything at all is still there, and ends as it should."""
        for server in self.servers:
            if server.poll() is not None:
                raise Broken(f"ringwire ended by itself, {server.returncode}: {tail(server)}")
            stop(server)
            if server.returncode != 0:
                raise Broken(f"ringwire was stopped, {server.returncode}: {tail(server)}")

    def run(self, name, command, **options):
        """Runs a program to its end; returns its exit code and what it printed."""
        process = self.start(name, command, **options)
        code = process.wait()
        return code, process.out.read_text(errors="replace")


def stop(process):
    """Asks a process to end, then insists."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_for(process, pattern, count=1, seconds=20):
    """The first groups of the first `count` matches of `pattern` in what a process prints."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        said = process.out.read_text(errors="replace") + process.err.read_text(errors="replace")
        found = re.findall(pattern, said)
        if len(found) >= count:
            return found[:count]
        if process.poll() is not None:
            raise Broken(f"{process.args[0]} ended with {process.returncode}: {tail(process)}")
        time.sleep(0.02)
    raise Broken(f"{process.args[0]} did not say {pattern!r}, but: {tail(process)}")


def tail(process):
    """The last lines of what a process said, on one."""
    said = process.err.read_text(errors="replace") + process.out.read_text(errors="replace")
    return " / ".join(said.strip().splitlines()[-6:])

