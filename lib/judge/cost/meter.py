"""What an accepted program costs, in instructions: the same number every time, whatever else the machine does.

    meter = Meter()                                        # the best tier that this machine has; measures its own noise
    cost = meter.measure(program, problem, judge.judge(program, problem))

A cost names its tier: `counter`, `cachegrind` or `bytecode`; costs of two tiers must never be compared. README.md says
what each tier counts and how a program can cheat it. A program is as isolated as in a submission. Its cost counts only
if it gives the right answer once more where it is measured, so that doing less work there does not pay. All runs of a
measurement are forked from one process, between runs of an empty program, whose cost is subtracted (the interpreter's
start, the transfer of a test's arguments). Compiling is not counted.
"""

import itertools
import json
import os
import re
import shutil
import statistics
import subprocess
from dataclasses import dataclass
from pathlib import Path

from ..host.cases import plan
from ..host.compare import comparison
from ..host.prepared import PreparedProblem, check_problem, encoded, memory_file
from ..problem import Problem, Test
from ..sandbox import DETACHED, PYTHON, ZYGOTE
from ..verdict import Verdict

TIERS = ("counter", "cachegrind", "bytecode")
HARDWARE_INSTRUCTIONS = (0, 1)  # kind and number of the event, see perf_event_open(2)
SLOWDOWN = {"counter": 2, "cachegrind": 100, "bytecode": 60}  # generous: only ends what would not end
START_SECONDS = 120
WARM_UPS = 8  # empty runs: the process that forks specializes its own bytecode first, and children inherit its count
OPEN_FILES = 256  # as in `sandbox/program.py`
_COUNTING = Path(__file__).with_name("counting.py")
_SMALL = Problem("cost/small", "cost", "test", "stdio", "", (Test("20000", "39998"),), time_limit=5.0)
_SMALL_PROGRAM = b"n = 0\nfor i in range(int(input())):\n    n += i * i % 7\nprint(n)\n"


class CostError(RuntimeError):
    """This program, or this machine, has no cost."""


@dataclass(frozen=True)
class Cost:
    """What one program costs. `tests`: number of a test -> instructions (bytecodes in that tier), the empty program's
    subtracted, at least 1. `noise`: of the tier on this machine, see `Meter`."""

    tier: str
    tests: dict[int, int]
    noise: float

    @property
    def total(self) -> int:
        """Over the tests that were measured."""
        return sum(self.tests.values())


class Meter:
    """Measures costs by the first of `tiers` that works here.

    `tier`: its name. `noise`: spread of repeated measurements of a small program (two starts, `repeats` each), as
    (max - min) / median; `floor`: of the empty program, max - min in instructions. `skipped`: tier -> why it does not
    work. `isolation`: "namespaces", or "none" for machines that can't provide them. Raises CostError if no tier works.
    """

    def __init__(self, tiers: tuple[str, ...] = TIERS, isolation: str = "namespaces", repeats: int = 3):
        self.skipped: dict[str, str] = {}
        self._namespaces = isolation == "namespaces"
        for self.tier in tiers:
            try:
                self.noise, self.floor = self._measure_noise(repeats)
                return
            except CostError as error:
                self.skipped[self.tier] = str(error)
        raise CostError(f"nothing here counts instructions: {self.skipped}")

    def measure(self, program: str, problem: Problem, verdict: Verdict, largest: int = 3) -> Cost:
        """The cost of a program on its `largest` tests, by the length of their inputs.

        `verdict`: the judge's verdict on this program. Raises ValueError if it was not accepted, CostError if it can't
        be measured: it fails in this tier, or takes too long.
        """
        if not verdict.accepted:
            raise ValueError(f"only an accepted program has a cost; the verdict on it is {verdict.error_type}")
        check_problem(problem)
        lengths = [len(test.input) for test in problem.tests]
        tests = sorted(sorted(range(len(lengths)), key=lambda test: -lengths[test])[:largest])
        [runs] = self._count([encoded(program)], problem, tests)
        for test, (_, output) in zip(tests, runs, strict=True):
            self._check_answer(test, output, problem)
        return Cost(self.tier, {test: max(1, count) for test, (count, _) in zip(tests, runs, strict=True)}, self.noise)

    def _measure_noise(self, repeats: int) -> tuple[float, int]:
        starts = [self._count([_SMALL_PROGRAM, b"pass\n"], _SMALL, [0] * repeats) for _ in range(2)]
        small, empty = ([count for start in starts for count, _ in start[program]] for program in (0, 1))
        return (max(small) - min(small)) / statistics.median(small), max(empty) - min(empty)

    def _count(self, programs: list[bytes], problem: Problem, tests: list[int]) -> list[list[tuple[int, bytes]]]:
        """For each program and test: the count, the empty program's subtracted, and the output."""
        prepared = PreparedProblem(problem)
        files: list[int] = []

        def new_file(content: bytes = b"") -> int:
            files.append(memory_file(content))
            os.lseek(files[-1], 0, os.SEEK_SET)
            return files[-1]

        try:
            offsets = itertools.accumulate(prepared.sizes, initial=0)
            places = list(zip(prepared.sizes, offsets, strict=False))
            texts = [os.pread(prepared.inputs, size, offset) for size, offset in places]
            empty, *sources = [new_file(source) for source in (_empty_program(problem, texts), *programs)]
            runs: list[list] = [[empty, new_file(), new_file(), None] for _ in range(WARM_UPS)]
            for source, test in itertools.product(sources, tests):
                place = [test, 0, *places[test]] if problem.kind == "function" else None
                runs += [[run, new_file(texts[test]), new_file(), place] for run in (empty, source, empty)]
            counts = self._run(runs, empty, prepared, new_file)[WARM_UPS:]
            outputs = [_content(run[2]) for run in runs[WARM_UPS + 1 :: 3]]
        finally:
            for descriptor in files:
                os.close(descriptor)
            prepared.close()
        triples = zip(counts[::3], counts[1::3], counts[2::3], outputs, strict=True)
        results = [(count - (before + after) // 2, output) for before, count, after, output in triples]
        return [results[start : start + len(tests)] for start in range(0, len(results), len(tests))]

    def _run(self, runs: list, empty: int, prepared: PreparedProblem, new_file) -> list[int]:
        """The raw count of each run. Raises CostError."""
        cpu = prepared.problem.time_limit * SLOWDOWN[self.tier]
        order = {
            "tier": self.tier,
            "namespaces": self._namespaces,
            "memory": (prepared.problem.memory_limit << 20) + ((2 << 30) if self.tier == "cachegrind" else 0),
            "cpu": cpu,
            "event": HARDWARE_INSTRUCTIONS,
            "sources": sorted({run[0] for run in runs}),
            "inputs": prepared.inputs,
            "offered": prepared.offered,
            "runs": runs,
        }
        order_file, report, log = new_file(json.dumps(order).encode()), new_file(), new_file()
        command = [*PYTHON, str(_COUNTING), str(order_file), str(report)]
        if self.tier == "cachegrind":
            command = [*_valgrind(log), *command]
        environment = {"PYTHONHASHSEED": "0", "PATH": os.defpath, "PYTHONPATH": str(ZYGOTE.parent)}
        passed = [order_file, report, log, prepared.inputs, *{f for run in runs for f in run[:3]}]
        seconds = START_SECONDS + 5 * cpu * len(runs)
        try:
            subprocess.run(command, env=environment, pass_fds=passed, timeout=seconds, **DETACHED)
        except subprocess.TimeoutExpired:
            raise CostError(f"{self.tier} did not end within {seconds:.0f} s") from None
        lines = [json.loads(line) for line in _content(report).splitlines()]
        if lines and isinstance(lines[-1], str):
            raise CostError(f"{self.tier}: {lines[-1]}")
        if len(lines) < len(runs):
            tail = _content(log)[-300:].decode("utf-8", "replace")
            raise CostError(f"{self.tier} ended after {len(lines)} of {len(runs)} runs: {tail}")
        return [self._checked(line, _content(log), run[0] == empty) for run, line in zip(runs, lines, strict=True)]

    def _checked(self, line: list, log: bytes, empty: bool) -> int:
        """The count in a line of the report; with cachegrind, in valgrind's log. Raises CostError without one."""
        process, status, count, stderr = line
        if self.tier == "cachegrind":
            counts = re.findall(rb"==%d== I\s+refs:\s+([\d,]+)" % process, log)
            count = int(counts[-1].replace(b",", b"")) if counts else 0
        if count and (status == 0 or empty):
            return count
        reason = f"status {status} where it was measured. {stderr.strip()}"
        if self.tier == "cachegrind" and b"==%d== execve(" % process in log:
            reason = "an exec, which is refused, and which valgrind does not survive"
        raise CostError(f"{self.tier}: the program ended with {reason}")

    def _check_answer(self, test: int, output: bytes, problem: Problem) -> None:
        """Raises CostError unless the program gave the right answer where it was measured."""
        if problem.kind == "stdio":
            right = comparison(problem)(output, encoded(problem.tests[test].output))
        else:
            records = [json.loads(line) for line in output.splitlines()]
            passed = sum(len(record) > 2 and record[2] == "passed" for record in records)
            complete = bool(records) and records[-1][1] == "end"
            right = complete and passed == plan(problem.tests[test].input, problem)[1]
        if not right:
            raise CostError(f"{self.tier}: test {test + 1} has no right answer where it was measured")


def _valgrind(log: int) -> list[str]:
    path = shutil.which("valgrind")
    if path is None:
        raise CostError("valgrind is not installed")
    options = ("--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null", "--vgdb=no")
    # Valgrind lets a program set no limit of open files but the one it started with; it keeps 12 more for itself.
    limits = f'ulimit -S -n {OPEN_FILES}; ulimit -H -n {OPEN_FILES + 12}; exec "$@"'
    return ["/bin/sh", "-c", limits, "sh", path, *options, f"--log-fd={log}", f"--main-stacksize={64 << 20}"]


def _empty_program(problem: Problem, texts: list[bytes]) -> bytes:
    """The program that does nothing; for function tests, with functions that do nothing."""
    if problem.kind == "stdio":
        return b"pass\n"
    names = sorted({name for text in texts for name in json.loads(text)["names"]})
    return "".join(f"def {name}(*_, **__): pass\n" for name in names).encode()


def _content(descriptor: int) -> bytes:
    return os.pread(descriptor, os.fstat(descriptor).st_size, 0)
