"""This side of one counting process (`counting`): starts it, has it measure programs, reads what it counted."""

import json
import os
import re
import shutil
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path

from ..errors import WorkerFault
from ..host.cases import plan
from ..host.prepared import PreparedProblem, encoded, memory_file
from ..problem import Problem, Test
from ..sandbox import DETACHED, PYTHON, ZYGOTE, frames

TIERS = ("counter", "superblocks", "cachegrind")
HARDWARE_INSTRUCTIONS = (0, 1)  # kind and number of the event, see perf_event_open(2)
SLOWDOWN = {"counter": 2, "superblocks": 20, "cachegrind": 60}  # of the time limit; generous
START_SECONDS, PATIENCE = 120, 30  # of silence, then the counting process has failed
OPEN_FILES = 256  # as in `sandbox/program.py`
_COUNTING = Path(__file__).with_name("counting.py")
_COUNTS = {  # in valgrind's log, where a client's own messages begin with **
    "superblocks": rb"^--%d-- scheduler: ([\d,]+) event checks",
    "cachegrind": rb"^==%d== I\s+refs:\s+([\d,]+)",
}
_SMALL = Problem("cost/small", "cost", "test", "stdio", "", (Test("9\n" + "3 1 2 " * 3, "27"),), time_limit=5.0)
_SMALL_PROGRAM = """n = int(input())
a, c = list(map(int, input().split())), {}
for x in a:
    c[x] = c.get(x, 0) + 1
print(sum(c[x] for x in a))
"""


class CostError(RuntimeError):
    """This machine can't measure costs."""


@dataclass(frozen=True)
class Cost:
    """What a program costs on the tests of a problem together.

    `tier`: what was counted. `count`: at least 1; None unless `error_type` is `success`. `error_type`: how the program
    ended where it was measured, a word of `verdict.ERROR_TYPES`; `api_error`: the meter failed, which says nothing
    about the program and is never a score. `tests`: count of each test.
    """

    tier: str
    count: int | None
    error_type: str = "success"
    tests: tuple[int, ...] = ()

    def over(self, other: "Cost") -> float:
        """How many times the other cost this cost is. Raises ValueError for costs of two tiers, and without a count."""
        if self.tier != other.tier:
            raise ValueError(
                f"costs of two tiers are not comparable: {self.tier} and {other.tier}; measure both by one"
            )
        if self.count is None or other.count is None:
            raise ValueError(f"a program without a cost ({self.error_type}, {other.error_type}) is not comparable")
        return self.count / other.count


class CountingProcess:
    """This side of one counting process. Raises CostError if it can't be started."""

    def __init__(self, tier: str, isolation: str):
        self.tier, self._log, (self._socket, theirs) = tier, memory_file(), socket.socketpair()
        order = {"socket": theirs.fileno(), "tier": tier, "namespaces": isolation == "namespaces"}
        order_file = memory_file(json.dumps(order | {"event": HARDWARE_INSTRUCTIONS}).encode())
        try:
            command = [] if tier == "counter" else _valgrind(tier, self._log)
            environment = {"PYTHONHASHSEED": "0", "PATH": os.defpath, "PYTHONPATH": str(ZYGOTE.parent)}
            self._process = subprocess.Popen(
                [*command, *PYTHON, str(_COUNTING), str(order_file)],
                env=environment,
                pass_fds=[order_file, theirs.fileno(), self._log],
                **DETACHED,
            )
        except BaseException:
            os.close(self._log)
            self._socket.close()
            raise
        finally:
            os.close(order_file)
            theirs.close()
        self._socket.settimeout(START_SECONDS)
        try:
            header, _ = self._receive()
            if "error" in header:
                raise WorkerFault(header["error"])
            self._cpu, self.spent = header["cpu"], 0.0  # seconds in all, and of the latest measurement
            # The first measurements are up to 1 % higher than later ones.
            if not all(self.measure(_SMALL_PROGRAM, _SMALL).count for _ in range(3)):
                raise WorkerFault("a small program has no count")
        except WorkerFault as fault:
            self.kill()
            raise CostError(str(fault)) from None

    def measure(self, program: str, problem: Problem) -> Cost:
        """Raises WorkerFault if the process failed."""
        prepared = PreparedProblem(problem)
        source = memory_file(encoded(program))
        cpu = problem.time_limit * SLOWDOWN[self.tier]
        order = {"empty": _empty_program(prepared), "cpu": cpu}
        request = prepared.request(order)
        if self.tier != "counter":
            request["memory"] += 2 << 30  # valgrind's own
        self._socket.settimeout(PATIENCE + 5 * len(prepared.sizes) * (cpu + request["asleep"]))
        try:
            os.ftruncate(self._log, 0)
            os.lseek(self._log, 0, os.SEEK_SET)  # the offset is shared with valgrind
            frames.send(self._socket, request, descriptors=(source, prepared.inputs))
            header, payload = self._receive()
            if "error" in header:
                return Cost(self.tier, None, "syntax_error")
            self.spent, self._cpu = header["cpu"] - self._cpu, header["cpu"]
            tests, offset = [], 0
            for number, (size, (empty, run)) in enumerate(zip(header["sizes"], header["runs"], strict=True)):
                ending = self._ending(run, payload[offset : offset + size], number, prepared)
                if ending != "success":
                    return Cost(self.tier, None, ending)
                tests.append(max(1, self._count(run) - self._count(empty)))
                offset += size
            return Cost(self.tier, sum(tests), tests=tuple(tests))
        except OSError as error:
            raise WorkerFault(f"a counting process is gone ({error})") from None
        finally:
            os.close(source)
            prepared.close()

    def _receive(self) -> tuple[dict, bytes]:
        try:
            return frames.receive(self._socket)
        except (frames.FrameError, OSError) as error:
            log = self._content()[-300:].decode("utf-8", "replace")
            raise WorkerFault(f"a counting process is gone ({error}), its log ends with: {log}") from None

    def _ending(self, run: list, output: bytes, test: int, prepared: PreparedProblem) -> str:
        """How a program ended on a test. Raises WorkerFault if that was not the program's doing."""
        _, limit, status, _, _ = run
        if limit:
            return "timeout"
        if status == -9:
            raise WorkerFault("a program was killed from outside")
        if status != 0:
            return "runtime_error"
        if prepared.problem.kind == "stdio":
            return "success" if prepared.is_right(output, prepared.expected[test]) else "wrong_answer"
        try:
            records = [json.loads(line) for line in output.splitlines()]
        except ValueError:
            return "wrong_answer"
        passed = sum(len(record) > 2 and record[2] == "passed" for record in records)
        complete = bool(records) and records[-1][1] == "end" and passed == prepared.cases[test]
        return "success" if complete else "wrong_answer"

    def _count(self, run: list) -> int:
        """The count of a run. Raises WorkerFault without exactly one."""
        process, _, _, count, _ = run
        counts = [count] if self.tier == "counter" else re.findall(_COUNTS[self.tier] % process, self._content(), re.M)
        if len(counts) != 1:
            raise WorkerFault(f"{self.tier}: {len(counts)} counts of one run")
        return counts[0] if self.tier == "counter" else int(counts[0].replace(b",", b""))

    def _content(self) -> bytes:
        return os.pread(self._log, os.fstat(self._log).st_size, 0)

    def kill(self) -> None:
        """Ends the process and everything below it."""
        self._socket.close()  # upon which an idle process ends by itself
        try:
            self._process.wait(timeout=2)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._log)


def _valgrind(tier: str, log: int) -> list[str]:
    path = shutil.which("valgrind")
    if path is None:
        raise CostError("valgrind is not installed: apt install valgrind, or conda install -c conda-forge valgrind")
    tool = {"superblocks": ("--tool=none", "--stats=yes")}
    tool["cachegrind"] = ("--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null")
    # Valgrind lets a program set no limit of open files but the one it started with; it keeps 12 more for itself.
    limits = f'ulimit -S -n {OPEN_FILES}; ulimit -H -n {OPEN_FILES + 12}; exec "$@"'
    options = (*tool[tier], "--vgdb=no", "--max-threads=64", f"--log-fd={log}", f"--main-stacksize={64 << 20}")
    return ["/bin/sh", "-c", limits, "sh", path, *options]


def _empty_program(prepared: PreparedProblem) -> str:
    """The program that does nothing; for function tests, with functions that do nothing."""
    if prepared.problem.kind == "stdio":
        return "pass\n"
    texts = [plan(test.input, prepared.problem)[0] for test in prepared.problem.tests]
    names = sorted({name for text in texts for name in json.loads(text)["names"]})
    return "".join(f"def {name}(*_, **__): pass\n" for name in names)
