"""The order in which an online training takes its problems."""

import random

from lib.problems import Problem

CURRICULA = ("none", "easy_to_hard")
_RANKS = {
    name: rank
    for scale in (("easy", "medium", "hard", "harder", "hardest"), "ABCDEFGHIJKLMNOPQRSTUV")
    for rank, name in enumerate(scale)
}


def order_problems(problems: list[Problem], per_step: int, steps: int, curriculum: str, seed: int) -> list[Problem]:
    """Orders the problems for `steps` steps of `per_step` problems each.

    Batches contain only stdio or only function problems, in random order; an incomplete last batch of each kind is
    dropped. TRL starts another epoch when they run out. With the curriculum `easy_to_hard`, problems with a known
    difficulty are sorted among their positions; the others keep theirs.
    """
    if curriculum not in CURRICULA:
        raise ValueError(f"curriculum must be one of {', '.join(CURRICULA)}, not {curriculum!r}")
    rng = random.Random(seed)
    batches = []
    for kind in sorted({problem.kind for problem in problems}):
        same_kind = [problem for problem in problems if problem.kind == kind]
        rng.shuffle(same_kind)
        batches += [same_kind[i : i + per_step] for i in range(0, len(same_kind) - per_step + 1, per_step)]
    rng.shuffle(batches)
    drawn = [problem for batch in batches[:steps] for problem in batch]
    if curriculum == "easy_to_hard":
        places = [place for place, problem in enumerate(drawn) if problem.difficulty in _RANKS]
        ranked = sorted((drawn[place] for place in places), key=lambda problem: _RANKS[problem.difficulty])
        for place, problem in zip(places, ranked, strict=True):
            drawn[place] = problem
    return drawn
