"""What a peer program written in Python is made of: cases with names, run one after another, told
in the lines that `judge.py` reads.

Not here: any case. A case fails by raising; one that hangs fails after `SECONDS`.
"""

import asyncio
import json
import sys

SECONDS = 20
CASES = []


def case(name):
    """Makes an async function of the endpoints a case."""

    def add(check):
        CASES.append((name, check))
        return check

    return add


class Endpoints:
    """Where the server under test is, as the caller says in JSON: `ws`, `wss`, `http`, `https`
    and `unix` if it listens there, `authority`."""

    def __init__(self, given):
        self.__dict__.update(json.loads(given))


def expect(what, found, wanted):
    """Fails the case unless `found` is `wanted`."""
    if found != wanted:
        raise AssertionError(f"{what}: {shorten(found)} instead of {shorten(wanted)}")


def shorten(value):
    said = repr(value)
    return said if len(said) <= 120 else f"{said[:100]}... ({len(value)} long)"


async def run_all(endpoints):
    print(f"1..{len(CASES)}", flush=True)
    failed = 0
    for number, (name, check) in enumerate(CASES, 1):
        try:
            async with asyncio.timeout(SECONDS):
                await check(endpoints)
            print(f"ok {number} - {name}", flush=True)
        except Exception as error:
            failed += 1
            said = " ".join(f"{type(error).__name__}: {error}".split())
            print(f"not ok {number} - {name}: {said}", flush=True)
    return 1 if failed else 0


def main():
    sys.exit(asyncio.run(run_all(Endpoints(sys.argv[1]))))
