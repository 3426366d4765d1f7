"""Does the search for copies scale? `python tests/bench/overlap.py [problems]` prints time, memory and what it finds.

As many synthetic problems as CodeContests train has (13,328; about 300 words, 10 tests and a solution each), of which
1 in 100 is a planted copy in one of four ways; all others are unrelated.
"""

import random
import resource
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "problems"))

from statements import VOCABULARY, problem

from lib.problems import Problem
from lib.problems.overlap import find_matches


def copy(n: int, of: Problem, rng: random.Random) -> Problem:
    """`of` again: renamed, reworded (8 % of the words), with its tests under another story, or with its solution."""
    own = problem(n, rng)
    reworded = " ".join(rng.choice(VOCABULARY) if rng.random() < 0.08 else word for word in of.prompt.split())
    changes = [
        {"prompt": of.prompt.replace("a_", "b_").replace(" n ", " k ").upper()},
        {"prompt": reworded},
        {"tests": of.tests[::-1]},
        {"solutions": (of.solutions[0].replace("n = int", "count = int"),)},
    ]
    return replace(own, **changes[n // 100 % 4])


def main(size: int = 13_328) -> None:
    rng = random.Random(0)
    problems: list[Problem] = []
    planted = set()
    for n in range(size):
        if n % 100 == 99:
            original = rng.randrange(n)
            planted.add((original, n))
            problems.append(copy(n, problems[original], rng))
        else:
            problems.append(problem(n, rng))
    words = sum(len(one.prompt.split()) for one in problems) / size
    made = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    wall, cpu = time.perf_counter(), time.process_time()
    matches = find_matches(problems)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    kinds = dict(Counter(match.kind for match in matches))
    found = {(match.first, match.second) for match in matches}
    print(f"{size} problems of {words:.0f} words: {wall:.1f} s wall, {cpu:.1f} s CPU")
    print(f"memory: {made:.0f} MiB with the problems, {peak:.0f} MiB at the peak")
    print(f"planted copies found: {len(planted & found)} of {len(planted)}; by kind: {kinds}")
    print(f"pairs that were not planted: {len(found - planted)} of {size * (size - 1) // 2 - len(planted)}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]))
