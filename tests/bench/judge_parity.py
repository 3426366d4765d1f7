"""Do SandboxFusion servers give the verdicts of this machine? `make judge-parity URL='http://127.0.0.1:8080'`

    python tests/bench/judge_parity.py [--most 50] [--strict] [--isolation none] URL ...

Judges the same programs both ways: correct and incorrect ones of the tiny world, the judge's gallery of cheats, and,
where the rows lie in ../shared/data, references of HumanEval, MBPP and CodeContests and programs of language models.
`--most`: at most so many of a corpus, evenly spaced. `--strict`: on both sides every test alone, without a quick pass.
Two verdicts agree if all they say of the program is the same: how every test ended and why, and so passed, total, error
type and pass ratio (times aside). Prints a table and each disagreement; exit status 1 below BOUND, 2 without a server.
"""

import argparse
import gzip
import json
import sys
import time
from pathlib import Path

from lib.judge import Judge, ServerError, Verdict
from lib.judge.conformance.selftest import GALLERY, problem
from lib.problems import Problem, Test, load_problems

BOUND = 0.995  # of all programs
ROWS = Path(__file__).resolve().parents[2].parent / "shared" / "data"
Pairs = list[tuple[str, Problem]]


def tiny(name: str, split: str) -> tuple[Pairs, Pairs]:
    """Correct and incorrect programs; a set without incorrect ones gets correct ones with a mistake."""
    problems = list(load_problems(name, split))
    right = [(p.solutions[0], p) for p in problems if p.solutions]
    wrong = [(program, p) for p in problems for program in p.incorrect_solutions[:1]]
    return right, wrong or [(program.replace("return ", "return not ", 1), p) for program, p in right]


def corpora() -> dict[str, Pairs]:
    """The programs at hand, by name."""
    found: dict[str, Pairs] = {}
    for name, split in (("tiny_contests", "train"), ("tiny_humaneval", "test"), ("tiny_mbpp", "test")):
        found[f"{name}, correct"], found[f"{name}, incorrect"] = tiny(name, split)
    found["cheats"] = [(exhibit.program, problem(exhibit.kind)) for exhibit in GALLERY]
    if not ROWS.is_dir():
        print(f"no {ROWS.name} with real rows beside the project: only the tiny world and the cheats are judged")
        return found
    humaneval = list(load_problems("humaneval", source=ROWS / "humaneval" / "HumanEval.jsonl.gz"))
    mbpp = list(load_problems("mbpp", "test", ROWS / "mbpp" / "mbpp.jsonl", frozen=False))
    found["HumanEval, references"] = [(p.solutions[0], p) for p in humaneval]
    found["MBPP, references"] = [(p.solutions[0], p) for p in mbpp]
    named = {p.id: p for p in humaneval} | {p.id.replace("mbpp/", "Mbpp/"): p for p in mbpp}
    for name in ("humaneval", "mbpp"):
        file = ROWS / "verdicts" / f"evalplus_{name}_Mistral-7B-Instruct-v0.2.json.gz"
        rows = json.loads(gzip.decompress(file.read_bytes()))["eval"]
        made = [(row["solution"], named[key]) for key, group in rows.items() for row in group if key in named]
        found[f"{name}, of a language model"] = made
    rows = json.loads(gzip.decompress((ROWS / "codecontests" / "train_correct_python3_300.json.gz").read_bytes()))
    found["CodeContests, correct"], found["CodeContests, of other problems"] = [], []
    for row, other in zip(rows, rows[20:] + rows[:20], strict=True):
        tests = tuple(Test(*pair) for pair in zip(row["inputs"], row["outputs"], strict=True))
        what = Problem(row["name"], "codecontests", "train", "stdio", "", tests, time_limit=5.0, memory_limit=1024)
        found["CodeContests, correct"].append((row["solution"], what))
        found["CodeContests, of other problems"].append((other["solution"], what))
    return found


def spaced(pairs: Pairs, most: int) -> Pairs:
    return [pairs[n * len(pairs) // most] for n in range(most)] if len(pairs) > most else pairs


def said(verdict: Verdict) -> tuple:
    """All that a verdict says of the program, times aside."""
    tests = [(test.error_type, test.detail, test.got) for test in verdict.tests]
    return verdict.error_type, verdict.passed, verdict.total, verdict.by_reference, tests, verdict.feedback


def cause(here: Verdict, there: Verdict) -> str:
    """In what two verdicts differ first."""
    if there.error_type == "api_error":
        return f"no verdict there: {there.feedback:.300}"
    if said(here)[:3] != said(there)[:3]:
        return f"{said(here)[:3]} here, {said(there)[:3]} there; {here.feedback!r:.200} / {there.feedback!r:.200}"
    tests = zip(said(here)[4], said(there)[4], strict=True)
    odd = next(((mine, theirs) for mine, theirs in tests if mine != theirs), (here.feedback, there.feedback))
    return f"the same ending, other words: {odd[0]!r:.300} here, {odd[1]!r:.300} there"


def main(urls: list[str], most: int, isolation: str, workers: int, strict: bool) -> int:
    how = {"isolation": isolation, "workers": workers, "strict": strict}
    try:
        remote = Judge(backend="sandbox_fusion", url=urls, **how)
    except (ServerError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    programs = agreed = 0
    differ: list[str] = []
    with remote, Judge(**how) as local:
        print(f"here: {local.isolation}\nthere: {remote.isolation}")
        print(f"{'corpus':<34}{'programs':>9}{'agree':>7}{'accepted':>10}{'s here':>9}{'s there':>9}", flush=True)
        judged = corpora()
        if isolation == "none":
            del judged["cheats"]
            print("no cheats: without namespaces, a program that kills everything may reach every process of its user")
        for name, pairs in judged.items():
            pairs, seconds, verdicts = spaced(pairs, most), [], []
            for judge in (local, remote):
                begin = time.perf_counter()
                verdicts.append(judge.judge_many(pairs))
                seconds.append(time.perf_counter() - begin)
            same = 0
            for (_, what), here, there in zip(pairs, *verdicts, strict=True):
                same += said(here) == said(there)
                if said(here) != said(there):
                    differ.append(f"{name}, {what.id}: {cause(here, there)}")
            programs, agreed = programs + len(pairs), agreed + same
            accepted = sum(verdict.accepted for verdict in verdicts[0])
            print(f"{name:<34}{len(pairs):>9}{same:>7}{accepted:>10}{seconds[0]:>9.2f}{seconds[1]:>9.2f}", flush=True)
        print(f"retries there: {remote.stats()['retries']}")
    print(f"{agreed} of {programs} agree: {100 * agreed / programs:.2f} %, {100 * BOUND:.1f} % are asked for")
    print("\n".join(differ))
    return int(agreed < BOUND * programs)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("urls", nargs="+", metavar="URL", help="of a SandboxFusion server")
    parser.add_argument("--most", type=int, default=50, help="programs of a corpus")
    parser.add_argument("--isolation", default="namespaces", choices=["namespaces", "none"])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--strict", action="store_true", help="every test in a process and a namespace of its own")
    sys.exit(main(**vars(parser.parse_args())))
