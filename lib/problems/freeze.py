"""Freezes problem sets: writes their manifests to data/manifests, always with the same bytes.

    python -m lib.problems.freeze write                         the tiny sets, and marks their unreliable problems
    python -m lib.problems.freeze write codecontests            all splits; needs the hub
    python -m lib.problems.freeze write codecontests/test --source codecontests=FILE_OR_FOLDER
    python -m lib.problems.freeze fetch mbpp_one humaneval      only keeps the rows here, for runs without the hub

A manifest also fixes which problems are used:
1. Copies (`lib.problems.overlap`): a train problem that copies another train problem, or a problem of a frozen set that
   is not for training, gets the role `removed` and the reason.
2. valid_big of CodeContests: 500 train problems, in proportion to the difficulties, those with the smallest hash of
   their id. They are removed from train.
3. The dev subset: 32 problems of each select or monitor set, drawn in the same way, for frequent checks.
"""

import argparse
import hashlib
import re
import sys
from collections import Counter, defaultdict
from fractions import Fraction
from pathlib import Path

from lib.judge import Judge
from lib.judge.problem import Problem
from lib.problems import manifest, quality
from lib.problems.manifest import Problems
from lib.problems.overlap import find_matches, removals
from lib.problems.roles import RoleError, role_of
from lib.problems.sources import SOURCES, known_split, load_problems

SEED = "rlvr-code-lab 1"
VALID_BIG, DEV = 500, 32
HELD_OUT = "held out as valid_big"
_PLACEHOLDER = re.compile(r"test_\d{3}")  # some copies of CodeContests test have neither names nor generated tests
Place = tuple[str, str]  # source and split


def draw(problems: list[Problem], n: int) -> set[str]:
    """Ids of `n` problems (all, if there are fewer) in proportion to their difficulties, by the seeded hash of the id.

    The order of the problems does not matter. Shares are rounded by the method of largest remainders.
    """
    strata = defaultdict(list)
    for problem in problems:
        strata[problem.difficulty].append(problem.id)
    n = min(n, len(problems))
    exact = {name: Fraction(n * len(ids), len(problems)) for name, ids in strata.items()}
    sizes = {name: int(share) for name, share in exact.items()}
    for name in sorted(strata, key=lambda name: (sizes[name] - exact[name], name))[: n - sum(sizes.values())]:
        sizes[name] += 1
    rank = {id: hashlib.sha256(f"{SEED} {id}".encode()).hexdigest() for ids in strata.values() for id in ids}
    return {id for name, ids in strata.items() for id in sorted(ids, key=rank.__getitem__)[: sizes[name]]}


def build(chosen: list[Place], sources: dict[str, Path]) -> dict[str, tuple[list[dict], dict]]:
    """{file: (lines of the manifest, its entry in the index)} for the splits `chosen`; `sources`: source -> local rows.

    A split that is drawn from another one is frozen together with it.
    """
    drawn = {
        (name, split): (name, origin)
        for name, wanted in chosen
        for split, origin in SOURCES[name].drawn.items()
        if wanted in (split, origin)
    }
    places = dict.fromkeys([*chosen, *drawn.values()])
    loaded = {
        place: load_problems(*place, sources.get(place[0]), frozen=False) for place in places if place not in drawn
    }
    compared = dict(loaded)
    if any(role_of(*place) == "train" for place in loaded):
        compared = {**_held_out_from_training({*loaded, *drawn}, sources), **loaded}
    everything = [problem for problems in compared.values() for problem in problems]
    reasons: dict[Place, dict[str, str]] = defaultdict(dict)
    for index, reason in removals(everything, find_matches(everything)).items() if len(compared) > 1 else ():
        problem = everything[index]
        reasons[problem.dataset, problem.split][problem.id] = reason
    built = {}
    for place, problems in loaded.items():
        for big in (split for split, origin in drawn.items() if origin == place):
            ids = draw([problem for problem in problems if problem.id not in reasons[place]], VALID_BIG)
            taken = Problems(problem for problem in problems if problem.id in ids)
            built[manifest.file_name(*big)] = _manifest(big, taken, {}, compared)
            reasons[place] = {**dict.fromkeys(ids, HELD_OUT), **reasons[place]}
        built[manifest.file_name(*place)] = _manifest(place, problems, reasons[place], compared)
    return built


def _held_out_from_training(chosen: set[Place], sources: dict[str, Path]) -> dict[Place, Problems]:
    """The frozen sets of the same world, tiny or real, that are not for training."""
    worlds, frozen = {SOURCES[name].tiny for name, _ in chosen}, manifest.read_index()
    places = [(name, split) for name, source in SOURCES.items() if source.tiny in worlds for split in source.splits]
    places = [place for place in places if place not in chosen and manifest.file_name(*place) in frozen]
    return {place: load_problems(*place, sources.get(place[0])) for place in places if role_of(*place) != "train"}


def _manifest(place: Place, problems: Problems, reasons: dict[str, str], compared: dict) -> tuple[list, dict]:
    role = role_of(*place)
    dev = draw(problems, DEV) if role in ("select", "monitor") else set()
    lines = []
    for problem in problems:
        line = manifest.entry(problem, role)
        if _PLACEHOLDER.fullmatch(problem.id):
            line |= {"id": None, "generated": None}
        if problem.id in reasons:
            line |= {"role": manifest.REMOVED, "reason": reasons[problem.id]}
        if problem.id in dev:
            line["dev"] = True
        lines.append(line)
    about = {"role": role, "problems": len(lines) - len(reasons), "removed": dict(Counter(reasons.values()))}
    if role == "train":
        about["compared_with"] = sorted("/".join(other) for other in compared if other != place)
    return lines, about


def chosen_splits(words: list[str]) -> list[Place]:
    """Sources and splits for words like `tiny_contests` or `codecontests/test`; for no words, all tiny ones."""
    places = []
    for word in words or [name for name, source in SOURCES.items() if source.tiny]:
        name, _, split = word.partition("/")
        whole = name in SOURCES and not split
        places += [(name, part) for part in (SOURCES[name].splits if whole else [known_split(name, split)])]
    return places


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m lib.problems.freeze", description=__doc__.split("\n\n")[0])
    parser.add_argument("action", choices=["write", "fetch"], help="write manifests, or keep the rows of the hub here")
    parser.add_argument("sets", nargs="*", metavar="SOURCE[/SPLIT]", help="what to freeze (default: the tiny sets)")
    parser.add_argument("--source", action="append", default=[], metavar="SOURCE=PATH", help="a file or folder of rows")
    options = parser.parse_intermixed_args(arguments)
    sources = {name: Path(path) for name, _, path in (source.partition("=") for source in options.source)}
    try:
        chosen = chosen_splits(options.sets)
        if options.action == "fetch":
            for name, split in chosen:
                source = SOURCES[name]
                print(f"{name}, split {split}: {sum(1 for _ in source.rows(source.drawn.get(split, split)))} rows")
            return 0
        written = manifest.freeze(build(chosen, sources))
    except (ValueError, OSError, RoleError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    for file, about in written.items():
        removed = "".join(f"; {n} removed: {reason}" for reason, n in about["removed"].items())
        print(f"{file}: {about['problems']} problems, role {about['role']}{removed}")
    for name, split in (place for place in chosen if role_of(*place) == "train"):
        if not SOURCES[name].tiny:  # hours, where a tiny set takes seconds
            print(f"now judge its correct programs: python -m lib.problems.quality write {name}/{split}")
            continue
        with Judge() as judge:
            reasons = quality.write(name, split, judge)["reasons"]
        print(f"{name}, split {split}: {sum(reasons.values())} problems marked as unreliable {reasons or ''}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
