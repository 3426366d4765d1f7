"""The tiny world with heavy inputs, on which programs that are right differ in what they cost.

    python -m lib.tiny.efficiency        measures the pool and writes data/tiny/efficiency (minutes on two idle cores)

A view of the contests, with the same problems, splits and roles:
1. `light` decides correctness: the small tests, with a time limit that slow right programs keep.
2. `measured` gives the input on which a cost is measured: 400 to 800 numbers, always as many for one problem, with
   values from a seed, so that nothing can be learnt by heart.
3. The pool holds, for each problem, what the `ways` of writing it cost, measured once: a pool of the policy's own
   programs would move with the policy. A problem is wide if its slowest way costs more than e times the fastest.
   Of train it has TRAIN problems, of valid and test all.
"""

import hashlib
import itertools
import json
import lzma
import math
import platform
import random
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from lib.judge.cost import Meter
from lib.problems import Problem, Test, load_problems
from lib.runs.paths import json_lines, root
from lib.tiny.operations import ENDING, GUARDS, OPERATION
from lib.tiny.programs import Choice, Task, program
from lib.tiny.world import numbers

FOLDER = root() / "data" / "tiny" / "efficiency"
TRAIN = 800  # the rows are in random order
TIME_LIMIT = 1.0  # s of CPU: quadratic programs need a tenth of it on a heavy input
LARGE_TEST = 5_000  # characters of an input; the small tests have less than a hundred
HEAVY = (400, 800)  # numbers of a heavy input
INPUTS = ("heavy", "light")
POOL_SEED = -1  # of the inputs on which the pool was measured


def light(problem: Problem) -> Problem:
    """The problem without its large test, and with a time limit that hides no slow program."""
    tests = tuple(test for test in problem.tests if len(test.input) < LARGE_TEST)
    return replace(problem, tests=tests, time_limit=TIME_LIMIT)


def measured(problem: Problem, seed: int, inputs: str = "heavy") -> Problem:
    """The problem with one test, on which a cost is measured; `inputs`: "heavy", or "light", as small as its tests."""
    draw = random.Random(f"{problem.id} {seed}")
    n = random.Random(problem.id).randint(*HEAVY)
    a = [draw.randint(-n, n) for _ in range(n)] if inputs == "heavy" else numbers(draw)
    answer = task_of(problem).solve(list(a))
    test = Test(f"{len(a)}\n{' '.join(map(str, a))}\n", " ".join(_tokens(answer)) + "\n", "generated")
    return replace(problem, tests=(test,), time_limit=TIME_LIMIT)


def task_of(problem: Problem) -> Task:
    """The task of a contest problem: its composition is in its id, constants and guard follow from its tests."""
    *steps, ending = problem.id.split(". ")[1].split()
    tests = [([*map(int, test.input.split()[1:])], test.output.split()) for test in light(problem).tests]
    constants = itertools.product(*(OPERATION[name].constants for name in steps))
    for chosen, guard in itertools.product(constants, GUARDS):
        task = Task(tuple(zip(steps, chosen, strict=True)), ending, guard)
        if all(_tokens(task.solve(list(a))) == expected for a, expected in tests):
            return task
    raise ValueError(f"{problem.id} is no problem of the tiny world's contests: no constants give its tests")


def _tokens(answer: object) -> list[str]:
    return [*map(str, answer)] if isinstance(answer, list) else str(answer).split()


def ways(task: Task) -> list[str]:
    """Correct programs for a task: three fast ways, one slow part each, and all parts slow."""
    words = [*((OPERATION[name], k) for name, k in task.steps), (ENDING[task.ending], 0)]
    fast = [[way.replace("{k}", str(k)) for way in word.fast] for word, k in words]
    slow = [[way.replace("{k}", str(k)) for way in word.slow] for word, k in words]
    slowest = [[*s, *f][0] for f, s in zip(fast, slow, strict=True)]
    first = [way[0] for way in fast]
    chosen = [first, [way[-1] for way in fast], slowest]
    chosen += [[*first[:i], slowest[i], *first[i + 1 :]] for i in range(len(words))]
    choices = [Choice(tuple(way[:-1]), way[-1]) for way in chosen]
    choices.append(replace(choices[0], reader="whole"))
    return list(dict.fromkeys(program(task, choice) for choice in choices))


@dataclass(frozen=True)
class Pool:
    """What the ways of each problem cost: `costs[inputs][problem id]`, ascending; counted by `tier`."""

    tier: str
    costs: dict[str, dict[str, tuple[int, ...]]]

    def contrast(self, problem: Problem) -> float:
        """The slowest way's cost over the fastest's, on heavy inputs."""
        costs = self.costs["heavy"][problem.id]
        return costs[-1] / costs[0]

    def wide(self, problem: Problem) -> bool:
        return self.contrast(problem) > math.e

    def excess(self, cost: float, problem: Problem) -> float:
        """A cost on a heavy input over that of the best known way."""
        return cost / self.costs["heavy"][problem.id][0]


def load_pool(meter: Meter, folder: Path = FOLDER) -> Pool:
    """The frozen pool. Raises ValueError if it was changed, or measured otherwise than `meter` does."""
    about = json.loads((folder / "pool.json").read_text())
    if (about["tier"], about["python"]) != (meter.tier, _python()):
        raise ValueError(
            f"the pool in {folder} was measured by {about['tier']} with Python {about['python']}, which must not be "
            f"compared with {meter.tier} and {_python()}: `python -m lib.tiny.efficiency` measures it again"
        )
    text = lzma.decompress((folder / "pool.jsonl.xz").read_bytes())
    if hashlib.sha256(text).hexdigest() != about["sha256"]:
        raise ValueError(f"{folder / 'pool.jsonl.xz'} is not what was frozen: restore the file")
    rows = [json.loads(line) for line in text.splitlines()]
    return Pool(about["tier"], {kind: {row["id"]: tuple(row[kind]) for row in rows if kind in row} for kind in INPUTS})


def measure_pool(problems: Iterable[Problem], meter: Meter) -> list[dict]:
    """A row per problem: its id and the costs of its ways, ascending, on heavy inputs, for train on light inputs too.
    Raises RuntimeError if a way is wrong or the meter fails."""
    rows = []
    for problem in problems:
        row: dict = {"id": problem.id}
        for inputs in INPUTS if problem.split == "train" else INPUTS[:1]:
            test = measured(problem, POOL_SEED, inputs)
            costs = meter.measure_many([(way, test) for way in ways(task_of(problem))])
            if wrong := [cost.error_type for cost in costs if cost.count is None]:
                raise RuntimeError(f"{problem.id}: a way of writing it has no cost ({wrong[0]})")
            row[inputs] = sorted(cost.count for cost in costs if cost.count is not None)
        rows.append(row)
    return rows


def write(meter: Meter, folder: Path = FOLDER) -> None:
    """Measures the pool of all splits and writes it with its checksum."""
    train, valid, test = (load_problems("tiny_contests", split) for split in ("train", "valid", "test"))
    problems = [*train[:TRAIN], *valid, *test]
    text = json_lines(measure_pool(problems, meter)).encode()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "pool.jsonl.xz").write_bytes(lzma.compress(text, preset=9))
    about = {"tier": meter.tier, "python": _python(), "problems": len(problems)}
    about["sha256"] = hashlib.sha256(text).hexdigest()
    (folder / "pool.json").write_text(json.dumps(about, indent=1) + "\n")


def _python() -> str:
    return ".".join(platform.python_version_tuple()[:2])


if __name__ == "__main__":
    with Meter() as shared:
        write(shared)
