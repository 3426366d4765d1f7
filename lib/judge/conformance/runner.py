"""Runs the suite against a grader in its containment, and summarizes what it paid, failed and scored."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

from ..problem import Problem, Test
from . import graders
from .suite import Item

SECONDS = 60  # wall time per item, then the grader hangs: more than any grader's limits add up to
_PACKAGE, _ROOT = __package__ or "", Path(__file__).parents[__package__.count(".") + 1 if __package__ else 0]


class GraderError(RuntimeError):
    """The grader could not be imported, or its containment could not be built."""


class Outcome(NamedTuple):
    """What a grader did with an item. `result`: paid | unpaid | error | died | hung | unsupported, or `varies` if an
    item that went wrong went right when it was run again."""

    item: Item
    result: str

    @property
    def good(self) -> bool:
        return self.item.good(self.result)


class ContainedGrader:
    """`package.module:function` under `python`, in namespaces of its own. A context manager. Raises GraderError."""

    def __init__(self, grader: str, python: str = sys.executable):
        environment = {"PYTHONPATH": os.pathsep.join([str(_ROOT), os.getcwd()]), "PATH": os.environ.get("PATH", "")}
        self._process = subprocess.Popen(
            [python, "-m", f"{_PACKAGE}.containment", grader],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=_ROOT,
            env={**environment, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"},
        )
        self.isolation: str = self._answer()["isolation"]

    def __enter__(self) -> "ContainedGrader":
        return self

    def __exit__(self, *_) -> None:
        self._process.kill()  # the kernel ends all that is inside with it
        self._process.communicate()

    def grade(self, pairs: Iterable[tuple[str, Problem]], **options) -> dict:
        """The `result` on these pairs together, and the `seconds` that it took."""
        rows = [{"text": text, "problem": asdict(problem)} for text, problem in pairs]
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"seconds": SECONDS, **options, "rows": rows}) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        answer = json.loads(line) if line else {"fault": self._process.communicate()[1].strip()[-2000:]}
        if "fault" in answer:
            self.__exit__()
            raise GraderError(answer["fault"])
        return answer


def run_suite(grader: str, items: Sequence[Item], python: str = sys.executable, jobs: int = 2) -> list[Outcome]:
    """The grader's outcomes on the items. What goes wrong is run again, and counts only if it goes wrong twice."""
    local, open_graders = threading.local(), []

    def run(item: Item) -> Outcome:
        if not hasattr(local, "grader"):
            local.grader = ContainedGrader(grader, python)
            open_graders.append(local.grader)
        outcome = Outcome(item, "")
        for _ in range(2):
            answer = local.grader.grade([(item.text, item.problem)], disturb=item.disturb)
            outcome, before = Outcome(item, answer["result"]), outcome
            if outcome.good or outcome.result == "unsupported":
                return outcome if not before.result else Outcome(item, "varies")
        return outcome

    try:
        with ThreadPoolExecutor(jobs) as pool:
            return list(pool.map(run, items))
    finally:
        for contained in open_graders:
            contained.__exit__()


def run_recorded(path: Path, grader: str, items: Sequence[Item], python: str, jobs: int = 2) -> list[Outcome]:
    """As `run_suite`, but runs only the items of which `path` has no result, and adds theirs: graders take minutes."""
    outcomes = read_record(path, items, grader)
    outcomes += run_suite(grader, [item for item in items if item not in {o.item for o in outcomes}], python, jobs)
    record = {f"{o.item.kind}/{o.item.name}": f"{o.item.checksum()} {o.result}" for o in outcomes}
    record["grader"] = graders.identity(grader)
    path.write_text(json.dumps(record, indent=1, ensure_ascii=False, sort_keys=True) + "\n", "utf-8")
    return [outcome for item in items for outcome in outcomes if outcome.item == item]


def read_record(path: Path, items: Iterable[Item], grader: str = "") -> list[Outcome]:
    """The recorded outcomes of these items; none for items that are new or changed, or from another version of the
    grader (by default the adapter that the file is named after) or of the adapters."""
    record = json.loads(path.read_text("utf-8")) if path.exists() else {}
    if record.get("grader") != graders.identity(grader or graders.grader_named(path.stem)):
        return []
    results = [(item, record.get(f"{item.kind}/{item.name}", " ").split(" ")) for item in items]
    return [Outcome(item, result) for item, (checksum, result) in results if checksum == item.checksum()]


def measure_speed(grader: str, python: str = sys.executable, cores: int = 1, programs: int = 20) -> float:
    """Right function programs per second, on `cores` cores with a process on each; nan if not all of them are paid."""
    tests = tuple(Test(f"assert f({n}) == {n * n}", visibility="public") for n in (3, -2, 0))
    problem = Problem("speed", "conformance", "test", "function", "", tests, entry_point="f")
    cpus = sorted(os.sched_getaffinity(0))[:cores]

    def work(cpu: int) -> float:
        with ContainedGrader(grader, python) as contained:
            batch = [(f"def f(x):\n    return x * x  # {number}", problem) for number in range(programs + 1)]
            contained.grade(batch[:1], cores=[cpu])  # what starts once is not part of the speed
            barrier.wait()
            answer = contained.grade(batch[1:], cores=[cpu])
            return answer["seconds"] if answer["result"] == "paid" else float("nan")

    barrier = threading.Barrier(cores, timeout=300)
    with ThreadPoolExecutor(cores) as pool:
        return programs * len(cpus) / max(pool.map(work, cpus))


class Count(NamedTuple):
    """How many of the items that the grader supports."""

    count: int
    total: int

    def __str__(self) -> str:
        return f"{self.count} of {self.total}"


COLUMNS = {  # name: kinds of items, what they want
    "cheats paid": (("cheats", "hostile"), ("unpaid",)),
    "wrong answers paid": (("answers", "outputs"), ("unpaid",)),
    "honest programs failed": (("honest", "answers", "outputs"), ("paid",)),
    "errors scored as answers": (("faults",), ("error", "no loss")),
}


def summarize(outcomes: Iterable[Outcome]) -> dict[str, Count]:
    """The columns of the table."""
    supported = [outcome for outcome in outcomes if outcome.result != "unsupported"]
    columns = {}
    for name, (kinds, wants) in COLUMNS.items():
        chosen = [outcome for outcome in supported if outcome.item.kind in kinds and outcome.item.want in wants]
        columns[name] = Count(sum(not o.good and o.result != "varies" for o in chosen), len(chosen))
    columns["died or hung"] = Count(sum(o.result in ("died", "hung") for o in supported), len(supported))
    columns["not reproduced"] = Count(sum(o.result == "varies" for o in supported), len(supported))
    return columns
