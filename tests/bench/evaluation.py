"""What does an evaluation cost? `python tests/bench/evaluation.py [first]` evaluates the tiny base model, twice.

EVAL@1 of contests test, HumanEval-like, contests valid and MBPP-like (165 + 164 + 117 + 200 problems, or the `first` of
each), with judging: once as it is, once beside eight processes that only compute. Printed: seconds of the wall clock
and of CPU, which on a shared machine say more, and whether the two wrote the same files apart from times.
"""

import json
import resource
import sys
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path

from lib.evaluation.evaluate import Subject, evaluate
from lib.judge import Judge
from lib.judge.conformance.judge_checks import busy_processes
from lib.policy.engines import TransformersEngine
from lib.policy.models import load_policy, load_tokenizer
from lib.policy.protocols import eval_at_1
from lib.problems import load_problems
from lib.runs.paths import root

SETS = {
    "contests_test": ("tiny_contests", "test"),
    "humaneval": ("tiny_humaneval", "test"),
    "contests_valid": ("tiny_contests", "valid"),
    "mbpp": ("tiny_mbpp", "test"),
}


def cpu_seconds() -> float:
    """Of this process and of its children that have ended."""
    uses = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(use.ru_utime + use.ru_stime for use in uses)


def files(folder: Path) -> dict[str, list]:
    """What an evaluation wrote, without the times."""
    found = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        lines = path.read_text().splitlines()
        if path.suffix == ".jsonl":
            lines = [
                {k: v for k, v in json.loads(line).items() if k not in ("gen_time", "judge_time")} for line in lines
            ]
        found[path.relative_to(folder).as_posix()] = lines
    return found


def main(first: int | None) -> None:
    path = root() / "data" / "tiny" / "base_model"
    engine = TransformersEngine(load_policy(path), load_tokenizer(path))
    sets = {name: load_problems(*place)[:first] for name, place in SETS.items()}
    written = []
    for load, beside in (("as it is", nullcontext()), ("beside eight busy processes", busy_processes(8))):
        with tempfile.TemporaryDirectory() as folder, beside:
            began, spent = time.perf_counter(), cpu_seconds()
            with Judge(workers=2) as judge:
                found = evaluate(engine, sets, judge, Path(folder), eval_at_1(128), Subject("base"))
            wall, cpu = time.perf_counter() - began, cpu_seconds() - spent
            times = found.pop("times")
            written.append((found, files(Path(folder))))
        parts = ", ".join(f"{name} {times[name]:.1f}" for name in ("wall_s", "generation_s", "judge_s"))
        n = sum(map(len, sets.values()))
        print(f"{load}: {n} problems, {wall:.1f} s wall, {cpu:.1f} s CPU of the process tree ({parts})", flush=True)
    print("the same figures and files" if written[0] == written[1] else "NOT the same figures and files")


if __name__ == "__main__":
    main(int(sys.argv[1]) if sys.argv[1:] else None)
