"""Freezes sets: writes the manifests under data/manifests, the same bytes every time.

    python -m lib.problems.freeze write                         the tiny sets, from data/tiny, and marks what is unreliable
    python -m lib.problems.freeze write codecontests            train, valid, valid_big and test; needs the hub
    python -m lib.problems.freeze write humaneval --source humaneval=FILE_OR_FOLDER
    python -m lib.problems.freeze write codecontests/test --source codecontests=rows.jsonl.gz

What a manifest settles beside the hashes:
1. Copies (`lib.problems.overlap`): a train problem that is a copy of another one, or of a problem in any frozen set that is not
   for training, has the role `removed` and its reason.
2. valid_big of CodeContests: 500 train problems, in proportion to the difficulties, those with the smallest hash of
   their id; train holds them as removed.
3. The dev subset: 32 problems of each set to select with or to monitor, drawn the same way, for frequent checks.
"""

import argparse
import hashlib
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Set
from fractions import Fraction
from pathlib import Path

from lib.judge import Judge
from lib.judge.problem import Problem
from lib.problems import manifest, quality
from lib.problems.overlap import find_matches, removals
from lib.problems.problems import Problems
from lib.problems.roles import RoleError, role_of
from lib.problems.sources import SOURCES, known_split, load_problems

SEED = "rlvr-code-lab 1"
VALID_BIG, DEV = 500, 32
HELD_OUT = "held out as valid_big"
_PLACEHOLDER = re.compile(r"test_\d{3}")  # copies of CodeContests test go about without names and generated tests


def draw(problems: list[Problem], n: int) -> set[str]:
    """Ids of `n` problems in proportion to their difficulties (largest remainders), by the seeded hash of the id.

    A problem that is drawn stays drawn whatever the order of the rows. All of them where there are no more than `n`.
    """
    strata = defaultdict(list)
    for problem in problems:
        strata[problem.difficulty].append(problem.id)
    n = min(n, len(problems))
    exact = {name: Fraction(n * len(ids), len(problems)) for name, ids in strata.items()}
    sizes = {name: int(share) for name, share in exact.items()}
    by_remainder = sorted(strata, key=lambda name: (sizes[name] - exact[name], name))
    for name in by_remainder[: n - sum(sizes.values())]:
        sizes[name] += 1
    return {one for name, ids in strata.items() for one in sorted(ids, key=_rank)[: sizes[name]]}


def build(chosen: list[tuple[str, str]], sources: dict[str, Path]) -> dict[str, tuple[list[dict], dict]]:
    """file -> (entries, what the index says of it) for the (set, split) pairs `chosen`."""
    drawn = {
        (name, s): origin for name, split in chosen for s, origin in SOURCES[name].drawn.items() if split in (s, origin)
    }
    origins = [(name, origin) for (name, _), origin in drawn.items()]  # the two are frozen together, or not at all
    loaded = {
        key: load_problems(*key, sources.get(key[0]), frozen=False)
        for key in dict.fromkeys(chosen + origins)
        if key not in drawn
    }
    others = _others(loaded.keys() | drawn.keys(), sources) if any(role_of(*key) == "train" for key in loaded) else {}
    compared = {**others, **loaded}
    gone = _copies(compared) if len(compared) > 1 else {}
    built = {}
    for key, problems in loaded.items():
        reasons = gone.get(key, {})
        for big, origin in drawn.items():
            if key == (big[0], origin):
                held_out = draw([problem for problem in problems if problem.id not in reasons], VALID_BIG)
                own = Problems(problem for problem in problems if problem.id in held_out)
                built[manifest.file_name(*big)] = _manifest(big, own, {}, compared)
                reasons = {**dict.fromkeys(held_out, HELD_OUT), **reasons}
        built[manifest.file_name(*key)] = _manifest(key, problems, reasons, compared)
    return built


def _others(chosen: Set[tuple[str, str]], sources: dict[str, Path]) -> dict[tuple[str, str], Problems]:
    """Frozen sets of the same world, real or tiny, that training must keep clear of."""
    world = {SOURCES[name].tiny for name, _ in chosen}
    keys = [(name, split) for name, one in SOURCES.items() if one.tiny in world for split in one.splits]
    known = manifest.read_index()
    return {
        key: load_problems(*key, sources.get(key[0]))
        for key in keys
        if key not in chosen and manifest.file_name(*key) in known and role_of(*key) != "train"
    }


def _copies(sets: dict[tuple[str, str], Problems]) -> dict[tuple[str, str], dict[str, str]]:
    """(set, split) -> {id of a problem to leave out: why}."""
    everything = [problem for problems in sets.values() for problem in problems]
    found: dict[tuple[str, str], dict[str, str]] = defaultdict(dict)
    for index, reason in removals(everything, find_matches(everything)).items():
        problem = everything[index]
        found[problem.dataset, problem.split][problem.id] = reason
    return found


def _manifest(key: tuple[str, str], problems: Problems, reasons: dict[str, str], compared: dict) -> tuple[list, dict]:
    role = role_of(*key)
    dev = draw(problems, DEV) if role in ("select", "monitor") else set()
    entries = []
    for problem in problems:
        one = manifest.entry(problem, role)
        if _PLACEHOLDER.fullmatch(problem.id):
            one |= {"id": None, "generated": None}
        if problem.id in reasons:
            one |= {"role": manifest.REMOVED, "reason": reasons[problem.id]}
        if problem.id in dev:
            one["dev"] = True
        entries.append(one)
    about = {"role": role, "problems": len(entries) - len(reasons), "removed": dict(Counter(reasons.values()))}
    if role == "train":
        about["compared_with"] = sorted("/".join(other) for other in compared if other != key)
    return entries, about


def chosen_splits(words: list[str]) -> list[tuple[str, str]]:
    """(set, split) pairs for words like `tiny_contests` or `codecontests/test`; none given: all tiny sets."""
    words = words or [name for name, one in SOURCES.items() if one.tiny]
    found = []
    for word in words:
        name, _, split = word.partition("/")
        splits = [known_split(name, split)] if split or name not in SOURCES else list(SOURCES[name].splits)
        found += [(name, split) for split in splits]
    return found


def _rank(problem_id: str) -> str:
    return hashlib.sha256(f"{SEED} {problem_id}".encode()).hexdigest()


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m lib.problems.freeze", description=__doc__.split("\n\n")[0])
    parser.add_argument("action", choices=["write"])
    parser.add_argument("sets", nargs="*", metavar="SET[/SPLIT]", help="what to freeze (default: the tiny sets)")
    parser.add_argument("--source", action="append", default=[], metavar="SET=PATH", help="rows from a file or folder")
    options = parser.parse_intermixed_args(arguments)
    sources = {name: Path(path) for name, _, path in (source.partition("=") for source in options.source)}
    try:
        chosen = chosen_splits(options.sets)
        written = manifest.freeze(build(chosen, sources))
    except (ValueError, OSError, RoleError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    for file, about in written.items():
        removed = "".join(f"; {n} removed: {reason}" for reason, n in about["removed"].items())
        print(f"{file}: {about['problems']} problems, role {about['role']}{removed}")
    for name, split in chosen:
        if role_of(name, split) == "train" and SOURCES[name].tiny:
            with Judge() as judge:
                reasons = quality.write(name, split, judge)["reasons"]
            print(f"{name}, split {split}: {sum(reasons.values())} problems marked as unreliable {reasons or ''}")
        elif role_of(name, split) == "train":  # hours, where a tiny set takes seconds
            print(f"now judge what the set calls correct: python -m lib.problems.quality write {name}/{split}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
