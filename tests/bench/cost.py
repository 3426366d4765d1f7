"""What does measuring take, and what does it see? `python tests/bench/cost.py [repeats]` prints two tables of one run.

The first: for each tier that this machine has, the seconds of its start, the CPU seconds of a measurement (a linear
program on 400 numbers), measurements per second with two processes, and the spread of the count over `repeats`
measurements as (max - min) / median; beside them CPU time itself, as the judge measures it. The second: slow and fast
ways to the same answers, and how many times more the slow one costs by each tier: operations of the tiny world, whose
slow ways hide in built-ins, and, where ../shared/data is at hand, two problems of ENAMEL (canonical solution against
its expert's).
"""

import csv
import statistics
import sys
import time
from pathlib import Path

from lib.judge import Judge
from lib.judge.cost import TIERS, CostError, Meter
from lib.problems import Problem, Test, load_problems
from lib.tiny.operations import OPERATION
from lib.tiny.programs import Choice, Task, program

ROWS = Path(__file__).resolve().parents[2].parent / "shared" / "data"
ENAMEL = {"HumanEval/0": "assert has_close_elements([i * 1.5 for i in range(400)], 0.5) == False"}
ENAMEL |= {"HumanEval/31": "assert is_prime(100003) == True"}


def tiny(name: str, n: int) -> tuple[Problem, str, str]:
    """A problem of one operation, with its slow and its fast program."""
    numbers = [(i * 7919) % 2003 for i in range(n)]
    task, ways = Task(((name, 0),), "last", "0"), OPERATION[name]
    test = Test(f"{n}\n{' '.join(map(str, numbers))}\n", f"{task.solve(list(numbers))}\n")
    problem = Problem(name, "bench", "test", "stdio", "", (test,), time_limit=10.0)
    slow, fast = (program(task, Choice((way,))) for way in (ways.slow[0], ways.fast[0]))
    return problem, slow, fast


def pairs() -> dict[str, tuple[Problem, str, str]]:
    """Name -> problem, slow and fast program."""
    found = {f"tiny: {name}": tiny(name, 800) for name in ("prefix", "frequency", "dedupe")}
    if ROWS.is_dir():
        csv.field_size_limit(1 << 30)
        with open(ROWS / "efficiency" / "enamel.csv", newline="") as file:
            experts = {row["task_id"]: f"{row['prompt']}\n{row['reference_solution']}" for row in csv.DictReader(file)}
        for problem in load_problems("humaneval", source=ROWS / "humaneval" / "HumanEval.jsonl.gz"):
            if problem.id in ENAMEL:
                test = (Test(ENAMEL[problem.id]),)
                heavy = Problem(problem.id, "bench", "test", "function", "", test, time_limit=10.0)
                found[f"ENAMEL: {problem.id}"] = heavy, problem.solutions[0], experts[problem.id]
    return found


def main(repeats: int = 100) -> None:
    meters = {}
    problem, _, linear = tiny("frequency", 400)
    copies = [(f"{linear}# {n}\n", problem) for n in range(repeats)]  # equal programs would be measured once
    with Judge(workers=1, strict=True) as judge:
        times = [verdict.judge_time for verdict in judge.judge_many(copies)]
        print(f"{'tier':<14}{'start, s':>13}{'each, CPU s':>13}{'per s':>8}{'spread':>11}")
        print(f"{'CPU time':<14}{'':>13}{'':>13}{'':>8}{(max(times) - min(times)) / statistics.median(times):>11.2%}")
        for tier in TIERS:
            begin = time.perf_counter()
            try:
                meter = meters[tier] = Meter(tiers=(tier,))
            except CostError as error:
                print(f"{tier:<14}{error}")
                continue
            start = time.perf_counter() - begin
            meter.measure_many([(f"{linear}# warm {n}\n", problem) for n in range(8)])
            before, begin = meter.cpu_seconds, time.perf_counter()
            counts = [cost.count for cost in meter.measure_many(copies)]
            seconds = time.perf_counter() - begin
            spread = (max(counts) - min(counts)) / statistics.median(counts)
            each = (meter.cpu_seconds - before) / repeats
            print(f"{tier:<14}{start:>13.2f}{each:>13.4f}{repeats / seconds:>8.1f}{spread:>11.4%}")
        print(f"\n{'slow against fast':<22}{'CPU time':>10}" + "".join(f"{tier:>14}" for tier in meters))
        for name, (problem, *programs) in pairs().items():
            verdicts = [judge.judge(one, problem) for one in programs]
            shown = f"{name:<22}{verdicts[0].judge_time / verdicts[1].judge_time:>9.1f}x"
            for meter in meters.values():
                slow, fast = meter.measure_many([(one, problem) for one in programs])
                shown += f"{slow.over(fast):>13.1f}x"
            print(shown)
    for meter in meters.values():
        meter.close()


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]))
