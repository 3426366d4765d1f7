"""Overlap: which problems are copies of one another, within a set and across sets, and which copy has to go.

Five kinds of match, each counted once per pair of problems, the strongest first:
1. `statement`: the same words;
2. `normalised statement`: the same after case, punctuation, mark-up and one-letter names are set aside;
3. `tests`: at least half of the smaller problem's (input, output) pairs, and two or more, whatever the story says;
4. `solution`: a reference solution with the same syntax tree once the names it gives and docstrings are set aside;
5. `near statement`: the Jaccard similarity of their sets of three-word shingles is at least NEAR. Candidates come from
   MinHash with locality-sensitive hashing (Broder 1997; `datasketch`), and each is then measured exactly.
"""

import ast
import builtins
import hashlib
import re
import unicodedata
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import combinations, product
from typing import TypeVar

import numpy as np
import pandas as pd
from datasketch import MinHash, MinHashLSH

from lib.judge.problem import Problem
from lib.problems.roles import role_of

KINDS = ("statement", "normalised statement", "tests", "solution", "near statement")
NEAR = 0.5  # exact similarity that counts as near
LONG = 80  # words from which on near statements are taken for copies; in a shorter one a word makes another task
_CANDIDATE, _PERMUTATIONS, _SHINGLE = 0.4, 128, 3  # below NEAR, so that hashing misses little of what is near
_COMMON = 50  # a test or solution shared by more problems than this is boilerplate and says nothing
_SOLUTIONS = 20  # of a problem that are compared, the shortest; CodeContests has hundreds for some
_SMALLEST_SOLUTION = 12  # nodes of the syntax tree
Key = TypeVar("Key")


@dataclass(frozen=True)
class Match:
    """Two problems of which one may be a copy, as indices into the list that was searched; `score` in [0, 1]."""

    first: int
    second: int
    kind: str
    score: float = 1.0


def find_matches(problems: list[Problem]) -> list[Match]:
    """All pairs of copies among `problems`, first < second, in order. A problem met under the same id is no copy."""
    finders = (_same_statements, _same_normalised, _same_tests, _same_solutions, _near_statements)
    found: dict[tuple[int, int], Match] = {}
    for finder in finders:
        for match in finder(problems):
            if problems[match.first].id != problems[match.second].id:
                found.setdefault((match.first, match.second), match)
    return [found[pair] for pair in sorted(found)]


def removals(problems: list[Problem], matches: list[Match]) -> dict[int, str]:
    """Which problems to leave out, with the reason: the copy on the training side; of two train problems the later.

    Copies between other roles stay, and are only counted: those sets are what they are. So do problems with near but
    short statements: "the largest" and "the smallest of the list" are two tasks.
    """
    gone: dict[int, str] = {}
    places = [(problem.dataset, problem.split) for problem in problems]
    role = {place: role_of(*place) for place in dict.fromkeys(places)}
    roles = [role[place] for place in places]
    across = [match for match in matches if (roles[match.first] == "train") != (roles[match.second] == "train")]
    within = [match for match in matches if roles[match.first] == roles[match.second] == "train"]
    for match in across + within:
        copy, kept = match.second, match.first
        if roles[copy] != "train":
            copy, kept = kept, copy
        short = match.kind == "near statement" and _is_short(problems[copy], problems[kept])
        if not (short or copy in gone or kept in gone):
            gone[copy] = f"same {match.kind} as in {problems[kept].dataset}".replace("same near", "near")
    return gone


def _is_short(*problems: Problem) -> bool:
    return min(len(normalise(problem.prompt)) for problem in problems) < LONG


def overlap_matrix(problems: list[Problem], matches: list[Match]) -> pd.DataFrame:
    """For each set (row) how many of its problems have a copy of any kind in each set (column), itself included."""
    names = [f"{problem.dataset} {problem.split}" for problem in problems]
    copied: dict[tuple[str, str], set[int]] = defaultdict(set)
    for match in matches:
        copied[names[match.first], names[match.second]].add(match.first)
        copied[names[match.second], names[match.first]].add(match.second)
    order = list(dict.fromkeys(names))
    return pd.DataFrame([[len(copied[row, column]) for column in order] for row in order], order, order)


def random_similarities(problems: list[Problem], pairs: int, seed: int = 0) -> np.ndarray:
    """Statement similarity of `pairs` random pairs of problems: how near to one another unrelated ones are."""
    rng = np.random.default_rng(seed)
    drawn = rng.integers(0, len(problems), (pairs, 2))
    runs = {i: shingles(normalise(problems[i].prompt)) for i in np.unique(drawn)}
    return np.array([similarity(runs[a], runs[b]) for a, b in drawn if problems[a].id != problems[b].id])


def normalise(statement: str) -> list[str]:
    """The words and numbers of a statement: lower case, without mark-up and punctuation; one-letter names are one."""
    text = unicodedata.normalize("NFKC", statement).lower().replace("<image>", " ")
    text = re.sub(r"\\[a-z]+", " ", text)  # LaTeX commands
    return ["_" if len(word) == 1 and word.isalpha() else word for word in re.findall(r"[^\W\d_]+|\d+", text)]


def shingles(words: list[str]) -> np.ndarray:
    """Sorted 64-bit hashes of the distinct runs of three words; of the whole where there are fewer."""
    runs = {" ".join(words[i : i + _SHINGLE]) for i in range(max(1, len(words) - _SHINGLE + 1))}
    return np.unique(np.fromiter((_number(run) for run in runs), dtype=np.uint64, count=len(runs)))


def similarity(a: np.ndarray, b: np.ndarray) -> float:
    """Jaccard similarity of two sets given as sorted arrays of distinct numbers."""
    both = len(np.intersect1d(a, b, assume_unique=True))
    return both / (len(a) + len(b) - both)


def canonical_solution(program: str) -> str | None:
    """A program's syntax tree, without docstrings and with the names that it gives numbered by first use.

    None for a program that is no Python 3, or too short to tell anything.
    """
    try:
        with warnings.catch_warnings(action="ignore"):  # of escapes in other people's strings
            tree = ast.parse(program)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    own = {name for node in ast.walk(tree) for name in _bound(node)}
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        documented = isinstance(node, ast.Module | ast.FunctionDef | ast.ClassDef)
        if documented and ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:] or [ast.Pass()]
        for field in ("id", "name", "arg"):
            if getattr(node, field, None) in own and not isinstance(node, ast.alias):
                setattr(node, field, names.setdefault(getattr(node, field), f"_{len(names)}"))
    return ast.dump(tree) if sum(1 for _ in ast.walk(tree)) >= _SMALLEST_SOLUTION else None


def _bound(node: ast.AST) -> list[str]:
    """Names that the program gives, and could as well be others; `max` and `math` could not."""
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
        return [node.id]
    if isinstance(node, ast.arg):
        return [node.arg]
    return [node.name] if isinstance(node, ast.FunctionDef | ast.ClassDef) else []


def _same_statements(problems: list[Problem]) -> Iterator[Match]:
    yield from _equal(([" ".join(problem.prompt.split())] for problem in problems), "statement")


def _same_normalised(problems: list[Problem]) -> Iterator[Match]:
    yield from _equal(([" ".join(normalise(problem.prompt))] for problem in problems), "normalised statement")


def _same_solutions(problems: list[Problem]) -> Iterator[Match]:
    shortest = (sorted(set(problem.solutions), key=lambda one: (len(one), one))[:_SOLUTIONS] for problem in problems)
    trees = ({canonical_solution(program) for program in programs} - {None} for programs in shortest)
    yield from _equal(trees, "solution")


def _equal(keys: Iterable[Iterable[str]], kind: str) -> Iterator[Match]:
    """A match for each two problems that share a key."""
    for indices in _holders(map(_number, own) for own in keys).values():
        if kind != "solution" or len(indices) <= _COMMON:
            yield from (Match(a, b, kind) for a, b in combinations(indices, 2))


def _holders(keys: Iterable[Iterable[Key]]) -> dict[Key, list[int]]:
    """key -> the indices of the problems that have it."""
    holders = defaultdict(list)
    for index, own in enumerate(keys):
        for key in own:
            holders[key].append(index)
    return holders


def _same_tests(problems: list[Problem]) -> Iterator[Match]:
    sets = [set(_test_keys(problem)) for problem in problems]
    shared: Counter[tuple[int, int]] = Counter()
    for indices in _holders(sets).values():
        if len(indices) <= _COMMON:
            shared.update(combinations(indices, 2))
    for (a, b), n in shared.items():
        share = n / min(len(sets[a]), len(sets[b]))
        if n >= 2 and share >= 0.5:
            yield Match(a, b, "tests", share)


def _test_keys(problem: Problem) -> Iterator[int]:
    for test in problem.tests:
        if problem.kind == "stdio":
            yield _number(f"{' '.join(test.input.split())}\n{' '.join(test.output.split())}")
            continue
        for node in ast.walk(ast.parse(test.input)):
            if isinstance(node, ast.Assert):  # names aside: `candidate(1) == 2` is `double(1) == 2`
                yield _number(re.sub(r"id='(\w+)'", _masked, ast.dump(node.test)))


def _masked(name: re.Match) -> str:
    return name[0] if hasattr(builtins, name[1]) else "id=''"


def _near_statements(problems: list[Problem]) -> Iterator[Match]:
    holders = _holders([" ".join(normalise(problem.prompt))] for problem in problems)  # equal ones are hashed once
    groups, runs = list(holders.values()), [shingles(text.split()) for text in holders]
    lsh = MinHashLSH(threshold=_CANDIDATE, num_perm=_PERMUTATIONS)
    for own, group in enumerate(groups):
        sketch = MinHash(num_perm=_PERMUTATIONS, hashfunc=lambda run: int(run) & 0xFFFFFFFF)
        sketch.update_batch(runs[own])
        for other in sorted(lsh.query(sketch)):
            score = similarity(runs[own], runs[other])
            if score >= NEAR:
                pairs = (sorted(pair) for pair in product(groups[other], group))
                yield from (Match(first, second, "near statement", score) for first, second in pairs)
        lsh.insert(own, sketch)


def _number(text: str) -> int:
    """A 64-bit hash that is the same in every process."""
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")
