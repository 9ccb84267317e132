"""Clients and servers of other people's making, each against ours.

Not here: their cases (`peer_*`), which are programs of their own and tell what they found in the
lines that `judge.py` reads.
"""

import json
import os

from judge import Row, judge_tap
from processes import stop, tail


def start_server(stage, engine, *flags):
    """ringwire with everything on; where it listens, as the peers want to know it."""
    unix = stage.directory / "socket"
    _, addresses = stage.server(
        engine, "--listen", "127.0.0.1:0", "--listen", f"unix:{unix}",
        *stage.tools.tls_flags()[2:], "--compression", "dedicated", "--compression-threshold", 0,
        "--max-message-size", "1m", "--max-backpressure", "16m", "--history-size", 1000,
        "--subprotocol", "first", "--subprotocol", "second", "--subprotocol", "ringwire.json.1",
        *flags, listeners=3,
    )
    plain, _, tls = addresses
    return {
        "ws": f"ws://{plain}", "http": f"http://{plain}", "wss": f"wss://{tls}",
        "https": f"https://{tls}", "unix": str(unix), "authority": str(stage.tools.authority),
    }


def python_client(engine, program):
    def run(stage, row):
        at = json.dumps(start_server(stage, engine))
        command = [stage.tools.python("python"), "-B", stage.tools.here / program, at]
        judge_tap(row, *stage.run("peer", command))

    return run


def node_client(engine, program, *flags):
    def run(stage, row):
        at = json.dumps(start_server(stage, engine, *flags))
        trusting = os.environ | {"NODE_EXTRA_CA_CERTS": str(stage.tools.authority)}
        judge_tap(row, *stage.run("peer", node(stage, program, at), env=trusting))

    return run


def foreign_server(engine, start):
    """`loadgen` against an echo server of somebody else's: what was sent comes back, each once,
    in order, unharmed."""

    def run(stage, row):
        plans = [
            ("small messages", {}, ["-c", 8]),
            ("messages of 100 KiB", {}, ["-c", 2, "--size", "100k"]),
            ("at a rate", {}, ["-c", 8, "-R", 400]),
            ("many in flight", {}, ["-c", 2, "--in-flight", 32]),
            ("compressed, small", {"compression": True}, ["-c", 8]),
            ("compressed, 100 KiB", {"compression": True}, ["-c", 2, "--size", "100k"]),
            ("compression offered, not taken", {}, ["-c", 2, "--compression", "on"]),
            ("a subprotocol", {"subprotocol": "second"},
             ["-c", 2, "--subprotocol", "first", "--subprotocol", "second"]),
            ("wss", {"tls": True}, ["-c", 4]),
            ("wss, compressed, 100 KiB", {"tls": True, "compression": True},
             ["-c", 2, "--size", "100k"]),
        ]
        row.cases = len(plans)
        for name, options, flags in plans:
            fault = measure(stage, engine, start, options, flags)
            if fault:
                row.failed += 1
                row.faults.append(f"{name}: {fault}")
            else:
                row.ok += 1

    return run


def measure(stage, engine, start, options, flags):
    """What is wrong with one run of the load generator; None if nothing is."""
    certificate = stage.tools.certificate if options.get("tls") else None
    compression = options.get("compression", False)
    command = start(stage, compression, options.get("subprotocol"), certificate)
    server, [address] = stage.start_listening("server", command)
    url = f"ws{'s' if certificate else ''}://{address}/echo"
    out = stage.directory / f"{len(stage.running)}.json"
    command = [stage.tools.release / "loadgen", "run", url, "--mode", "echo", "-d", "500ms",
               "--engine", engine, "--quiet", "--out", f"json={out}", *flags]
    if compression:
        command += ["--compression", "on", "--compression-threshold", 0]
    if certificate:
        command += ["--cacert", stage.tools.authority]
    code, said = stage.run("loadgen", command)
    stop(server)
    # 96 says that a machine this busy is not one to measure on, not that a byte is wrong.
    if code not in (0, 96) or not out.exists():
        return f"loadgen ended with {code}: {tail(stage.running[-1])}"
    run = json.loads(out.read_text())["runs"][0]
    harm = {key: run[key] for key in ("gaps", "duplicates", "reordered", "corrupted", "errors")}
    if any(harm.values()) or run["connection_counts"]["lost"]:
        return f"{harm}, {run['connection_counts']}"
    if run["messages_received"] == 0 or run["messages_received"] < run["messages_sent"]:
        return f"{run['messages_sent']} sent, {run['messages_received']} received"
    return None


def start_websockets(stage, compression, subprotocol, certificate):
    command = [stage.tools.python("python"), "-B", stage.tools.here / "server_websockets.py"]
    command += ["--compression"] if compression else []
    command += ["--subprotocol", subprotocol] if subprotocol else []
    return command + (["--certificate", certificate] if certificate else [])


def start_ws(stage, compression, subprotocol, certificate):
    options = {"compression": compression}
    if subprotocol:
        options["subprotocol"] = subprotocol
    if certificate:
        options["certificate"] = str(certificate)
    return node(stage, "server_ws.mjs", json.dumps(options))


def node(stage, program, *arguments):
    modules = stage.tools.cache / "node" / "node_modules"
    return ["node", stage.tools.here / program, modules, *arguments]


def suites(engine, _full):
    return [
        (Row("websockets", engine, "server"), 120, python_client(engine, "peer_websockets.py")),
        (Row("ws", engine, "server"), 120, node_client(engine, "peer_ws.mjs")),
        (Row("eventsource", engine, "server"), 60, node_client(engine, "peer_eventsource.mjs")),
        (Row("websocket-client, libcurl", engine, "server"), 60,
         python_client(engine, "peer_plain.py")),
        (Row("websockets", engine, "client"), 60, foreign_server(engine, start_websockets)),
        (Row("ws", engine, "client"), 60, foreign_server(engine, start_ws)),
    ]
