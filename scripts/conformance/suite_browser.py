"""A page in headless Chromium against the server, from another origin than the server's.

Not here: what the page does (`peer_browser.mjs` and `page/`).
"""

import json
import shutil

from judge import Row, judge_tap
from processes import Broken, wait_for
from suite_peers import node, start_server


def browse(engine):
    def run(stage, row):
        chromium = shutil.which("chromium")
        if chromium is None:
            raise Broken("there is no chromium")
        pages = stage.start("pages", [
            stage.tools.python("python"), "-u", "-m", "http.server", "0",
            "--bind", "127.0.0.1", "--directory", stage.tools.here / "page",
        ])
        [origin] = wait_for(pages, r"\((http://[^/]+)/\)")
        at = start_server(stage, engine, "--allowed-origin", origin)
        at |= {
            "page": f"{origin}/index.html",
            "chromium": chromium,
            "profile": str(stage.directory / "profile"),
            "screenshot": str(stage.tools.cache / f"browser-{engine}.png"),
        }
        judge_tap(row, *stage.run("browser", node(stage, "peer_browser.mjs", json.dumps(at))))

    return run


def suites(engine, _full):
    return [(Row("Chromium", engine, "server"), 120, browse(engine))]
