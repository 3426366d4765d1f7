"""Programs that try to look cheap (`efficiency_hacks.toml`), and what each gains by every way of measuring."""

import random
import textwrap
import tomllib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from lib.judge import Judge
from lib.judge.cost import Meter
from lib.problems import Problem, Test

N = 300
_PARTS = {
    "read": "n = int(input())\na = list(map(int, input().split()))\n",
    "fast": "c = {}\nfor x in a:\n    c[x] = c.get(x, 0) + 1\ns = sum(c[x] for x in a)\n",
    "slow": "s = 0\nfor x in a:\n    for y in a:\n        if x == y:\n            s += 1\n",
}
# Counts the bytecodes of a program as a trace function sees them, and prints the count in place of the output.
_TRACED = """
import io, sys
code, out, count = compile({source!r}, "program.py", "exec"), sys.stdout, [0]
def trace(frame, event, _):
    if event == "call":
        frame.f_trace_lines, frame.f_trace_opcodes = False, True
    count[0] += event == "opcode"
    return trace
sys.stdout = io.StringIO()
sys.settrace(trace)
try:
    exec(code, {{"__name__": "__main__"}})
finally:
    sys.settrace(None)
    print(count[0], file=out)
"""


def problem(seed: int) -> Problem:
    """Print how many ordered pairs of N numbers are equal; the numbers come from the seed."""
    draw = random.Random(seed)
    a = [draw.randint(0, N) for _ in range(N)]
    test = Test(f"{N}\n{' '.join(map(str, a))}\n", f"{sum(map(a.count, a))}\n")
    return Problem(f"hacks/{seed}", "tiny", "test", "stdio", "", (test,), time_limit=5.0)


def programs(known: Problem) -> dict[str, tuple[str, dict]]:
    """Name -> program and its entry of the gallery; `known`: the problem whose input a program may know by heart."""
    entries = tomllib.loads(Path(__file__).with_suffix(".toml").read_text())
    [test] = known.tests
    parts = _PARTS | {"known": test.output.strip(), "length": str(len(test.input))}
    parts |= {f"indented_{name}": textwrap.indent(_PARTS[name], "    ") for name in ("fast", "slow")}
    written = {}
    for name, entry in entries.items():
        program = entry["program"].lstrip("\n")
        for part, text in parts.items():
            program = program.replace(f"{{{part}}}", text)
        written[name] = program, entry
    return written


def measure_hacks(judge: Judge, meters: Sequence[Meter], known: Problem, hidden: Problem) -> pd.DataFrame:
    """A row per program: what it costs by each measure, as a multiple of the honest fast program's (missing if it has
    no cost by that measure), whether it is right on the hidden input, and what catches it."""
    gallery = programs(known)
    sources = [program for program, _ in gallery.values()]
    traced = [_TRACED.format(source=source) for source in sources]
    columns: dict[str, list] = {
        "bytecodes": [_number(verdict) for verdict in judge.judge_many([(source, known) for source in traced])],
        "CPU time": [verdict.judge_time for verdict in judge.judge_many([(source, known) for source in sources])],
    }
    for meter in meters:
        columns[meter.tier] = [cost.count for cost in meter.measure_many([(source, known) for source in sources])]
    table = pd.DataFrame(columns, index=list(gallery)).astype(float)
    table /= table.loc["honest_fast"]
    verdicts = judge.judge_many([(source, replace(hidden, id=known.id)) for source in sources])
    table["right on hidden input"] = [verdict.accepted for verdict in verdicts]
    return table.assign(caught=[entry["caught"] for _, entry in gallery.values()])


def _number(verdict) -> int | None:
    """The count that a traced program printed, which is a wrong answer."""
    text = verdict.tests[0].got.strip() if verdict.tests else ""
    return int(text) if text.isdigit() else None
