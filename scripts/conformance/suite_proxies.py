"""Requests that could be smuggled, through HAProxy, through nginx, and straight to the server.

Not here: the requests (`peer_smuggling.py`). The proxies are Debian's, unpacked beside the tree.
"""

import json
import time

from judge import Row, judge_tap
from processes import Broken, tail


def smuggle(engine, start_proxy):
    def run(stage, row):
        _, [address] = stage.server(engine)
        through = start_proxy(stage, address) if start_proxy else None
        at = {"ws": f"ws://{address}", "http": f"http://{address}", "through": through}
        program = stage.tools.here / "peer_smuggling.py"
        command = [stage.tools.python("python"), "-B", program, json.dumps(at)]
        judge_tap(row, *stage.run("peer", command))

    return run


def start_haproxy(stage, server):
    socket = stage.directory / "haproxy.socket"
    environment = stage.tools.with_libraries() | {"SOCKET": str(socket), "SERVER": server}
    binary = stage.tools.proxies / "usr" / "sbin" / "haproxy"
    command = [binary, "-db", "-f", stage.tools.here / "haproxy.cfg"]
    return wait_for_socket(stage.start("haproxy", command, env=environment), socket)


def start_nginx(stage, server):
    text = (stage.tools.here / "nginx.conf").read_text()
    configuration = stage.directory / "nginx.conf"
    configuration.write_text(
        text.replace("DIRECTORY", str(stage.directory)).replace("SERVER", server)
    )
    binary = stage.tools.proxies / "usr" / "sbin" / "nginx"
    command = [binary, "-e", "stderr", "-p", stage.directory, "-c", configuration]
    return wait_for_socket(stage.start("nginx", command), stage.directory / "nginx.socket")


def wait_for_socket(process, socket):
    for _ in range(500):
        if socket.exists():
            return str(socket)
        if process.poll() is not None:
            break
        time.sleep(0.02)
    raise Broken(f"{process.args[0]} does not listen: {tail(process)}")


def suites(engine, _full):
    proxies = {"straight": None, "HAProxy": start_haproxy, "nginx": start_nginx}
    return [
        (Row(f"smuggling, {name}", engine, "server"), 120, smuggle(engine, start))
        for name, start in proxies.items()
    ]
