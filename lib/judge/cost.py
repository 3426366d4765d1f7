"""What an accepted program costs, in instructions: the same number every time, whatever else the machine does.

    meter = Meter()                                        # the best tier that this machine has; measures its own noise
    cost = meter.measure(program, problem, judge.judge(program, problem))

Tiers, in this order; a cost names the one it comes from, and costs of two tiers must never be compared:

1. `counter`: instructions in user mode, counted by the processor (perf_event_open) and read by the parent of the
   program's process. Costs no time; absent on many virtual machines, or forbidden (kernel.perf_event_paranoid above 2).
   The program can't reach the counter.
2. `cachegrind`: instructions, counted by valgrind (tool cachegrind without caches), about 30 to 50 times slower, with
   some seconds for its start. Valgrind lives in the program's process. It keeps its files from the program, but not
   its memory: who forges pointers through ctypes can falsify the count. A program that tries to start a process is
   refused and goes on, as everywhere; only if it tries to become a file that is there and can be executed, such as the
   loader of shared libraries, valgrind ends on the refusal, and there is no cost.
3. `bytecode`: bytecodes of the interpreter, counted by a trace function in the program's own process. A program that
   hides its work in C code (`sum`, `sorted`, `in`, `re`, big integers) pays nearly nothing, and one that calls
   sys.settrace nothing at all; threads are not counted. The last resort, for programs of good faith.

A counting plugin under qemu-user would be another (as exact as valgrind, five times faster), but distributions ship no
such plugin, and building one takes qemu's headers and a C compiler.

Under all tiers a program runs as in a submission: namespaces, read-only root, no capabilities, seccomp filter, limits;
expected outputs stay outside, and function tests run in a process of their own. What it costs counts only if it answers
right once more, so that working less where it is measured does not pay. All runs of one measurement are forked from one
process, in pairs with an empty program, whose cost (the interpreter's start, the way of a test's arguments over the
wire) is subtracted. PYTHONHASHSEED=0. Compiling is not counted.
"""

import itertools
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from lib.judge.cases import plan
from lib.judge.compare import CHECKERS
from lib.judge.job import encoded
from lib.judge.problem import Problem, Test
from lib.judge.verdict import Verdict
from lib.judge.worker import PreparedProblem, check_problem, file_of

TIERS = ("counter", "cachegrind", "bytecode")
HARDWARE_INSTRUCTIONS = (0, 1)  # kind and number of the event, see perf_event_open(2)
SLOWDOWN = {"counter": 2, "cachegrind": 100, "bytecode": 60}  # generous: only ends what would not end
START_SECONDS = 120
WARM_UPS = 8  # empty runs: the process that forks specializes its own bytecode at first, and children inherit its count
OPEN_FILES = 256  # as in `program`
_COUNTING = Path(__file__).with_name("counting.py")
_SMALL = Problem("cost/small", "cost", "test", "stdio", "", (Test("20000", "39998"),), time_limit=5.0)
_SMALL_PROGRAM = b"n = 0\nfor i in range(int(input())):\n    n += i * i % 7\nprint(n)\n"


class CostError(RuntimeError):
    """There is no cost: of this program, or on this machine."""


@dataclass(frozen=True)
class Cost:
    """What one program costs. `tests`: number of a test -> instructions (bytecodes under the tier of that name), those
    of the empty program subtracted, at least 1. `noise`: of the tier on this machine, see `Meter`."""

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
    (max - min) / median; `floor`: of the empty program, max - min in instructions. `skipped`: tier -> why it can't be
    had. `isolation`: "namespaces", or "none" where a machine can't have them.
    Raises CostError if no tier works.
    """

    def __init__(self, tiers: tuple[str, ...] = TIERS, isolation: str = "namespaces", repeats: int = 3):
        self.skipped: dict[str, str] = {}
        self._namespaces = isolation == "namespaces"
        for self.tier in tiers:
            try:
                self.noise, self.floor = self._own_noise(repeats)
                return
            except CostError as error:
                self.skipped[self.tier] = str(error)
        raise CostError(f"nothing here counts instructions: {self.skipped}")

    def measure(self, program: str, problem: Problem, verdict: Verdict, largest: int = 3) -> Cost:
        """The cost of a program on its `largest` tests, by the length of their inputs.

        `verdict`: what the judge said of this program. Raises ValueError for one that was not accepted, CostError for
        one that can't be measured: it fails under the tier, or takes too long.
        """
        if not verdict.accepted:
            raise ValueError(f"only an accepted program has a cost; the judge said {verdict.error_type}")
        check_problem(problem)
        lengths = [len(test.input) for test in problem.tests]
        chosen = sorted(sorted(range(len(lengths)), key=lambda test: -lengths[test])[:largest])
        [runs] = self._count([encoded(program)], problem, chosen)
        for test, (_, output) in zip(chosen, runs, strict=True):
            self._confirm(test, output, problem)
        return Cost(self.tier, {test: max(1, count) for test, (count, _) in zip(chosen, runs, strict=True)}, self.noise)

    def _own_noise(self, repeats: int) -> tuple[float, int]:
        starts = [self._count([_SMALL_PROGRAM, b"pass\n"], _SMALL, [0] * repeats) for _ in range(2)]
        small, empty = ([count for start in starts for count, _ in start[program]] for program in (0, 1))
        return (max(small) - min(small)) / statistics.median(small), max(empty) - min(empty)

    def _count(self, programs: list[bytes], problem: Problem, tests: list[int]) -> list[list[tuple[int, bytes]]]:
        """For each program and each of the tests: its count, that of the empty program subtracted, and its output."""
        prepared = PreparedProblem(problem)
        files: list[int] = []

        def file(content: bytes = b"") -> int:
            files.append(file_of(content))
            os.lseek(files[-1], 0, os.SEEK_SET)
            return files[-1]

        try:
            offsets = itertools.accumulate(prepared.sizes, initial=0)
            places = list(zip(prepared.sizes, offsets, strict=False))
            texts = [os.pread(prepared.inputs, size, offset) for size, offset in places]
            empty, *sources = [file(source) for source in (_empty(problem, texts), *programs)]
            runs = [[empty, file(), file(), None] for _ in range(WARM_UPS)]
            for source, test in itertools.product(sources, tests):
                place = [test, 0, *places[test]] if problem.kind == "function" else None
                runs += [[one, file(texts[test]), file(), place] for one in (empty, source, empty)]
            counts = self._run(runs, empty, prepared, file)[WARM_UPS:]
            outputs = [_content(run[2]) for run in runs[WARM_UPS + 1 :: 3]]
        finally:
            for descriptor in files:
                os.close(descriptor)
            prepared.close()
        threes = zip(counts[::3], counts[1::3], counts[2::3], strict=True)
        found = [
            (count - (before + after) // 2, out) for (before, count, after), out in zip(threes, outputs, strict=True)
        ]
        return [found[start : start + len(tests)] for start in range(0, len(found), len(tests))]

    def _run(self, runs: list, empty: int, prepared: PreparedProblem, file) -> list[int]:
        """The raw count of each run. Raises CostError."""
        problem = prepared.problem
        cpu = problem.time_limit * SLOWDOWN[self.tier]
        order = {
            "tier": self.tier,
            "namespaces": self._namespaces,
            "memory": (problem.memory_limit << 20) + ((2 << 30) if self.tier == "cachegrind" else 0),
            "cpu": cpu,
            "event": HARDWARE_INSTRUCTIONS,
            "sources": sorted({run[0] for run in runs}),
            "inputs": prepared.inputs,
            "runs": runs,
        }
        order_file, report, log = file(json.dumps(order).encode()), file(), file()
        python = (
            getattr(sys, "_base_executable", None) or sys.executable
        )  # the interpreter behind a virtual environment
        command = [python, "-s", "-S", str(_COUNTING), str(order_file), str(report)]
        if self.tier == "cachegrind":
            command = [*_valgrind(log), *command]
        seconds = START_SECONDS + 5 * cpu * len(runs)
        try:
            subprocess.run(
                command,
                env={"PYTHONHASHSEED": "0", "PATH": os.defpath},
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=[order_file, report, log, prepared.inputs, *{f for run in runs for f in run[:3]}],
                start_new_session=True,
                timeout=seconds,
            )
        except subprocess.TimeoutExpired:
            raise CostError(f"{self.tier} did not end within {seconds:.0f} s") from None
        lines = [json.loads(line) for line in _content(report).splitlines()]
        if lines and isinstance(lines[-1], str):
            raise CostError(f"{self.tier}: {lines[-1]}")
        if len(lines) < len(runs):
            raise CostError(f"{self.tier} ended after {len(lines)} of {len(runs)} runs: {_tail(log)}")
        logged = dict(re.findall(rb"==(\d+)== I\s+refs:\s+([\d,]+)", _content(log)))  # of each process, the last word
        counts = []
        for number, (process, status, count, stderr) in enumerate(lines):
            if self.tier == "cachegrind":
                count = int(logged.get(b"%d" % process, b"0").replace(b",", b""))
            if not count or (status != 0 and runs[number][0] != empty):
                reason = f"status {status} where it was measured. {stderr.strip()}"
                if self.tier == "cachegrind" and b"==%d== execve(" % process in _content(log):
                    reason = "an exec, which is refused, and which valgrind does not survive"
                raise CostError(f"{self.tier}: the program ended with {reason}")
            counts.append(count)
        return counts

    def _confirm(self, test: int, output: bytes, problem: Problem) -> None:
        """Raises CostError unless the program has answered right where it was measured."""
        if problem.kind == "stdio":
            right = CHECKERS[problem.checker](output, encoded(problem.tests[test].output))
        else:
            records = [json.loads(line) for line in output.splitlines()]
            passed = [record for record in records if len(record) > 2 and record[2] == "passed"]
            right = (
                bool(records) and records[-1][1] == "end" and len(passed) == plan(problem.tests[test].input, problem)[1]
            )
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


def _empty(problem: Problem, texts: list[bytes]) -> bytes:
    """The program that does nothing: for tests that call functions, with functions that do nothing."""
    if problem.kind == "stdio":
        return b"pass\n"
    names = sorted({name for text in texts for name in json.loads(text)["names"]})
    return "".join(f"def {name}(*_, **__): pass\n" for name in names).encode()


def _content(descriptor: int) -> bytes:
    return os.pread(descriptor, os.fstat(descriptor).st_size, 0)


def _tail(log: int) -> str:
    return _content(log)[-300:].decode("utf-8", "replace")
