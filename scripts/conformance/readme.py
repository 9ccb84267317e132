"""Puts the table of a result between its marks in the README.

    readme.py RESULT.json README.md DIRECTORY    (DIRECTORY: where the result lies, for the link)

Not here: any verdict. Engines with the same counts share a row.
"""

import json
import sys
from pathlib import Path

MARKS = ("<!-- conformance:begin -->", "<!-- conformance:end -->")
COUNTS = ("cases", "ok", "informational", "non_strict", "unimplemented", "failed")
# What judged, in the order of the table, under its name in the result.
JUDGES = ("kosoku", "websockets", "websocket-client", "curl_cffi", "ws", "eventsource",
          "chromium", "haproxy", "nginx")


def rows(result):
    """Rows of Markdown cells."""
    found = {}
    for row in result["rows"]:
        key = (row["suite"], row["role"], *(row[count] for count in COUNTS))
        found.setdefault(key, []).append(row["engine"])
    for (suite, role, *counts), engines in found.items():
        yield [suite, role, ", ".join(engines), *(f"{count:,}" for count in counts)]


def block(result, directory):
    versions = result["versions"]
    judges = ", ".join(f"{name} {versions[name]}" for name in JUDGES)
    total = sum(row["cases"] for row in result["rows"])
    extent = "all 517 WebSocket cases" if result["full"] else "385 of the 517 WebSocket cases"
    yield from wrap(
        f"{result['date']}, Linux {versions['kernel']}, `scripts/conformance.sh"
        f"{' --full' if result['full'] else ''}` ([raw data]({directory})): {extent}, "
        f"{total:,} cases in all, {result['seconds']} s. Judged by {judges}."
    )
    yield ""
    yield "| Suite | We are | Engine | Cases | OK | Informational | Non-strict | Unimplemented | " \
          "Failed |"
    yield "|---|---|---|---|---|---|---|---|---|"
    for row in rows(result):
        yield f"| {' | '.join(row)} |"


def wrap(text, columns=100):
    line = ""
    for word in text.split():
        if line and len(line) + 1 + len(word) > columns:
            yield line
            line = word
        else:
            line = f"{line} {word}".strip()
    yield line


def main():
    result, readme, directory = sys.argv[1:]
    lines = block(json.loads(Path(result).read_text()), directory)
    readme = Path(readme)
    before, rest = readme.read_text().split(MARKS[0])
    _, after = rest.split(MARKS[1])
    body = "\n".join(lines)
    readme.write_text(f"{before}{MARKS[0]}\n{body}\n{MARKS[1]}{after}")


main()
