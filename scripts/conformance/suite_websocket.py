"""The WebSocket suite (the Autobahn cases, run by kosoku), against the server and the client.

Not here: the verdict on a case (`judge.py`). The cases are spelled out in numbers, so that what
the runner happens to know cannot shrink the suite unseen.
"""

from judge import Row, judge_index
from processes import wait_for

# The protocol's cases: how many each group has. There are no groups 8 and 11.
GROUPS = {
    "1.1": 8, "1.2": 8, "2": 11, "3": 7, "4.1": 5, "4.2": 5, "5": 20,
    "6.1": 3, "6.2": 4, "6.3": 2, "6.4": 4, "6.5": 5, "6.6": 11, "6.7": 4, "6.8": 2, "6.9": 4,
    "6.10": 3, "6.11": 5, "6.12": 8, "6.13": 5, "6.14": 10, "6.15": 1, "6.16": 3, "6.17": 5,
    "6.18": 5, "6.19": 5, "6.20": 7, "6.21": 8, "6.22": 34, "6.23": 7,
    "7.1": 6, "7.3": 6, "7.5": 1, "7.7": 13, "7.9": 9, "7.13": 2,
    "9.1": 6, "9.2": 6, "9.3": 9, "9.4": 9, "9.5": 6, "9.6": 6, "9.7": 6, "9.8": 6, "10.1": 1,
}
# Sets of compression parameters, each with 18 sizes of message.
COMPRESSION = [f"12.{number}" for number in range(1, 6)] + [f"13.{n}" for n in range(1, 8)]
SIZES = range(1, 19)
# Every set of parameters and every way of cutting a message; the sizes left out take four fifths
# of the time.
SIZES_QUICK = (1, 2, 3, 4, 5, 6, 11)
# 9.1.6 sends 16 MiB in one message and wants it back.
SERVER_FLAGS = ("--max-message-size", "16m", "--max-backpressure", "32m")


def protocol_cases():
    cases = {f"{group}.{n}" for group, count in GROUPS.items() for n in range(1, count + 1)}
    assert len(cases) == 301
    return cases


def compression_cases(full):
    sizes = SIZES if full else SIZES_QUICK
    return {f"{parameters}.{size}" for parameters in COMPRESSION for size in sizes}


def selection(cases):
    """The flags that select `cases`."""
    if "1.1.1" in cases:
        return ["-x", "12.*", "-x", "13.*"]
    return [word for case in sorted(cases) for word in ("-i", case)]


def judge_server(stage, row, address, cases):
    """The suite as a client of a server that listens on `address`."""
    reports = stage.directory / "reports"
    command = [stage.tools.python("kosoku"), "-m", "fuzzingclient", f"ws://{address}/echo"]
    stage.run("kosoku", [*command, "-o", reports, "-p", 2, *selection(cases)])
    judge_index(row, reports / "index.json", cases)


def plain_server(engine, cases, *flags):
    def run(stage, row):
        _, [address] = stage.server(engine, *SERVER_FLAGS, *flags)
        judge_server(stage, row, address, cases)

    return run


def tls_server(engine, cases, *flags):
    def run(stage, row):
        tls = stage.tools.tls_flags()
        _, addresses = stage.server(engine, *SERVER_FLAGS, *flags, *tls, listeners=2)
        forward = [stage.tools.python("python"), "-B", stage.tools.here / "forward.py"]
        forward += ["--to-tls", addresses[1], "--authority", stage.tools.authority]
        _, [address] = stage.start_listening("forward", forward)
        judge_server(stage, row, address, cases)

    return run


def judge_client(stage, row, engine, cases, tls):
    """The suite as a server that our client visits case by case."""
    reports = stage.directory / "reports"
    command = [stage.tools.python("kosoku"), "-m", "fuzzingserver", "127.0.0.1:0"]
    suite, [address] = stage.start_listening(
        "kosoku", [*command, "-o", reports, *selection(cases)]
    )
    url = f"ws://{address}"
    flags = ["--engine", engine]
    if tls:
        forward = [stage.tools.python("python"), "-B", stage.tools.here / "forward.py"]
        forward += ["--to-plain", address, "--certificate", stage.tools.certificate]
        _, [address] = stage.start_listening("forward", forward)
        url = f"wss://{address}"
        flags += ["--cacert", stage.tools.authority]
    code, said = stage.run("loadgen", [stage.tools.release / "loadgen", "testee", url, *flags])
    if code != 0:
        row.faults.append(f"loadgen ended with {code}")
    wait_for(suite, r"(wrote reports)")
    judge_index(row, reports / "index.json", cases)


def client(engine, cases, tls=False):
    return lambda stage, row: judge_client(stage, row, engine, cases, tls)


def suites(engine, full):
    """Rows with what fills them and how long they may take."""
    compression = compression_cases(full)
    slow = 1800 if full else 300
    protocol = protocol_cases()
    dedicated = ("--compression", "dedicated")
    shared = ("--compression", "shared")
    plans = [
        ("kosoku 1-10", "server", protocol, plain_server(engine, protocol)),
        ("kosoku 1-10, deflate", "server", protocol, plain_server(engine, protocol, *dedicated)),
        ("kosoku 12-13, dedicated", "server", compression,
         plain_server(engine, compression, *dedicated)),
        ("kosoku 12-13, shared", "server", compression,
         plain_server(engine, compression, *shared)),
        ("kosoku 1-10, wss", "server", protocol, tls_server(engine, protocol)),
        ("kosoku 12-13, wss", "server", compression,
         tls_server(engine, compression, *dedicated)),
        ("kosoku 1-10", "client", protocol, client(engine, protocol)),
        ("kosoku 12-13", "client", compression, client(engine, compression)),
        ("kosoku 1-10, wss", "client", protocol, client(engine, protocol, tls=True)),
        ("kosoku 12-13, wss", "client", compression, client(engine, compression, tls=True)),
    ]
    return [
        (Row(suite, engine, role, cases=len(cases)), 120 if cases is protocol else slow, fill)
        for suite, role, cases, fill in plans
    ]
