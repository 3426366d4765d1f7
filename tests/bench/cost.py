"""What does counting cost, and what does it see? `python tests/bench/cost.py [repeats]` prints two tables of one run.

The first: for each tier that this machine has, how much slower a program of about 0.1 s runs under it (CPU against
CPU), what one measurement costs at least (CPU seconds: its start and the empty programs) and its spread over repeats,
as the meter finds it; beside them CPU time itself, as the judge measures it. The second: slow and fast ways to the same
answers, and how many times more the slow one costs by each tier: two operations of the tiny world, whose slow ways hide
in built-ins, and, where ../shared/data is at hand, two problems of ENAMEL (canonical solution against its expert's).
"""

import csv
import resource
import statistics
import sys
from pathlib import Path

from lib.judge import Judge
from lib.judge.cost import TIERS, CostError, Meter
from lib.problems import Problem, Test, load_problems
from lib.tiny.operations import OPERATION
from lib.tiny.programs import Choice, Task, program

ROWS = Path(__file__).resolve().parents[2].parent / "shared" / "data"
LOOP = "n = 0\nfor i in range(int(input())):\n    n += i * i % 7\nprint(n)\n"
SMALL, LARGE = 1_000, 1_000_000
ENAMEL = {"HumanEval/0": "assert has_close_elements([i * 1.5 for i in range(400)], 0.5) == False"}
ENAMEL |= {"HumanEval/31": "assert is_prime(100003) == True"}


def loop(n: int) -> Problem:
    answer = sum(i * i % 7 for i in range(n))
    return Problem("bench/loop", "bench", "test", "stdio", "", (Test(str(n), str(answer)),), time_limit=10.0)


def cpu() -> float:
    """CPU seconds of all processes that this one has waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def pairs() -> dict[str, tuple[Problem, str, str]]:
    """Name -> problem, slow and fast program."""
    numbers = [(i * 7919) % 2003 for i in range(2000)]
    text, found = f"{len(numbers)}\n{' '.join(map(str, numbers))}\n", {}
    for name in ("prefix", "frequency"):
        task, ways = Task(((name, 0),), "last", "0"), OPERATION[name]
        test = Test(text, f"{task.solve(list(numbers))}\n")
        problem = Problem(name, "bench", "test", "stdio", "", (test,), time_limit=10.0)
        slow, fast = (program(task, Choice((way,))) for way in (ways.slow[0], ways.fast[0]))
        found[f"tiny: {name}"] = problem, slow, fast
    if ROWS.is_dir():
        csv.field_size_limit(1 << 30)
        with open(ROWS / "efficiency" / "enamel.csv", newline="") as file:
            experts = {row["task_id"]: row["prompt"] + row["reference_solution"] for row in csv.DictReader(file)}
        for problem in load_problems("humaneval", source=ROWS / "humaneval" / "HumanEval.jsonl.gz"):
            if problem.id in ENAMEL:
                test = (Test(ENAMEL[problem.id]),)
                heavy = Problem(problem.id, "bench", "test", "function", "", test, time_limit=10.0)
                found[f"ENAMEL: {problem.id}"] = heavy, problem.solutions[0], experts[problem.id]
    return found


def main(repeats: int = 3) -> None:
    meters, small, large = {}, loop(SMALL), loop(LARGE)
    with Judge(workers=1, strict=True) as judge:
        times = [judge.judge(f"{LOOP}# {n}\n", large).judge_time for n in range(2 * repeats)]
        native = statistics.median(times)
        print(f"{'tier':<14}{'slowdown':>9}{'fixed s':>9}{'spread':>11}{'floor':>8}")
        print(f"{'CPU time':<14}{1:>8.1f}x{0:>9.2f}{(max(times) - min(times)) / native:>11.2%}")
        for tier in TIERS:
            try:
                meter = meters[tier] = Meter((tier,), repeats=repeats)
            except CostError as error:
                print(f"{tier:<14}{error}")
                continue
            seconds = []
            for problem in (small, large):
                begin = cpu()
                meter.measure(LOOP, problem, judge.judge(LOOP, problem))
                seconds.append(cpu() - begin)
            slowdown = (seconds[1] - seconds[0]) / native
            print(f"{tier:<14}{slowdown:>8.1f}x{seconds[0]:>9.2f}{meter.noise:>11.5%}{meter.floor:>8}")
        print(f"\n{'slow against fast':<22}{'CPU time':>10}" + "".join(f"{tier:>12}" for tier in meters))
        for name, (problem, *programs) in pairs().items():
            verdicts = [judge.judge(one, problem) for one in programs]
            shown = f"{name:<22}{verdicts[0].judge_time / verdicts[1].judge_time:>9.1f}x"
            for meter in meters.values():
                slow, fast = (meter.measure(p, problem, v).total for p, v in zip(programs, verdicts, strict=True))
                shown += f"{slow / fast:>11.1f}x"
            print(shown)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]))
