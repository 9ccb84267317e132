"""Verdicts: from what a suite left behind to one row of the table.

Not here: how a suite is run. A row is only ever green when as many cases were judged as were
asked for: a server that died early looks perfect otherwise.
"""

import json
import re
from dataclasses import asdict, dataclass, field

# What the table counts, in its order.
COUNTS = ("ok", "informational", "non_strict", "unimplemented", "failed")


@dataclass
class Row:
    """One suite against one engine."""

    suite: str
    engine: str
    role: str
    cases: int = 0
    ok: int = 0
    informational: int = 0
    non_strict: int = 0
    unimplemented: int = 0
    failed: int = 0
    seconds: float = 0.0
    # What was not as it should be, in words.
    faults: list = field(default_factory=list)

    @property
    def is_green(self):
        return (
            self.cases > 0
            and self.ok + self.informational == self.cases
            and not self.faults
        )

    def as_dict(self):
        return asdict(self)

    def as_line(self):
        counts = "  ".join(f"{getattr(self, count):>4}" for count in COUNTS)
        line = f"{self.suite:<30} {self.engine:<5}  {self.role:<6} {self.cases:>5}  {counts}"
        return f"{line}  {self.seconds:>6.1f}"


HEADING = (
    f"{'suite':<30} {'engine':<5} {'role':<6} {'cases':>5}"
    f"    ok  info  n-st  unim  fail  seconds"
)


def judge_index(row, path, wanted):
    """Judges the `index.json` of the WebSocket suite; `wanted` is the set of case ids."""
    row.cases = len(wanted)
    try:
        agents = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        row.failed = row.cases
        row.faults.append(f"no report: {error}")
        return
    cases = {}
    for results in agents.values():
        cases.update(results)
    for case in sorted(wanted - cases.keys(), key=by_number):
        row.failed += 1
        row.faults.append(f"{case}[not run]")
    for case in sorted(cases.keys() - wanted, key=by_number):
        row.faults.append(f"{case}[not asked for]")
    for case in sorted(wanted & cases.keys(), key=by_number):
        judge_case(row, case, cases[case])


def judge_case(row, case, result):
    behaviour, close = result["behavior"], result["behaviorClose"]
    passing = ("OK", "INFORMATIONAL")
    if behaviour in passing and close in passing:
        if behaviour == "OK":
            row.ok += 1
        else:
            row.informational += 1
        return
    if close in passing and behaviour == "NON-STRICT":
        row.non_strict += 1
    elif behaviour == "UNIMPLEMENTED":
        row.unimplemented += 1
    else:
        row.failed += 1
    row.faults.append(f"{case}[{behaviour}/{close}/{result.get('remoteCloseCode')}]")


def by_number(case):
    return [int(part) for part in case.split(".")]


def judge_tap(row, code, said):
    """Judges what a peer program printed: a plan `1..N`, then `ok I - NAME` or
    `not ok I - NAME: WHY` per case."""
    plan = re.search(r"^1\.\.(\d+)$", said, re.MULTILINE)
    row.cases = int(plan.group(1)) if plan else 0
    verdicts = re.findall(r"^(not )?ok (\d+) - (.*)$", said, re.MULTILINE)
    for number in range(1, row.cases + 1):
        mine = [(bad, name) for bad, seen, name in verdicts if int(seen) == number]
        if len(mine) == 1 and not mine[0][0]:
            row.ok += 1
        else:
            row.failed += 1
            row.faults.append(mine[0][1] if mine else f"case {number}: not run")
    if not plan:
        row.faults.append("printed no plan")
    if code != (0 if row.failed == 0 and plan else 1):
        row.faults.append(f"ended with {code}")
