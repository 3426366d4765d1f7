"""Overlap: which problems are copies of one another, within a set and across sets, and which copy is removed.

Five kinds of match; each pair of problems counts once, under the first kind that applies:
1. `statement`: the same words;
2. `normalised statement`: the same words up to case, punctuation, mark-up and one-letter names;
3. `tests`: at least two (input, output) pairs in common, and half of the smaller problem's, whatever the statements;
4. `solution`: a reference solution with the same syntax tree up to docstrings and the names that it defines;
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
from itertools import combinations

import numpy as np
import pandas as pd
from datasketch import MinHash, MinHashLSH

from lib.judge.problem import Problem
from lib.problems.roles import declared_roles, role_of

KINDS = ("statement", "normalised statement", "tests", "solution", "near statement")
NEAR = 0.5  # exact similarity that counts as near
LONG = 80  # words from which on near statements are taken for copies; in a shorter one a word makes another task
_CANDIDATE, _PERMUTATIONS, _SHINGLE = 0.4, 128, 3  # below NEAR, so that hashing misses little of what is near
_COMMON = 50  # a test or solution shared by more problems than this is boilerplate and tells nothing
_SOLUTIONS = 20  # the shortest of a problem, which are compared; CodeContests has hundreds for some
_SMALLEST_SOLUTION = 12  # nodes of the syntax tree


@dataclass(frozen=True)
class Match:
    """Two problems, as indices into the list that was searched, of which one may copy the other; `score` in [0, 1]."""

    first: int
    second: int
    kind: str
    score: float = 1.0


def find_matches(problems: list[Problem]) -> list[Match]:
    """All pairs of copies among `problems`, first < second, in order. Problems with the same id are not copies."""
    statements = [" ".join(normalise(problem.prompt)) for problem in problems]
    tests = [set(_test_keys(problem)) for problem in problems]
    overlaps = {
        (a, b): shared / min(len(tests[a]), len(tests[b]))
        for (a, b), shared in _shared(tests, _COMMON).items()
        if shared >= 2
    }
    scores = {  # kind -> {pair: score}
        "statement": dict.fromkeys(_shared([" ".join(problem.prompt.split())] for problem in problems), 1.0),
        "normalised statement": dict.fromkeys(_shared([text] for text in statements), 1.0),
        "tests": {pair: share for pair, share in overlaps.items() if share >= 0.5},
        "solution": dict.fromkeys(_shared(map(_solution_keys, problems), _COMMON), 1.0),
        "near statement": _near(statements),
    }
    matches: dict[tuple[int, int], Match] = {}
    for kind in KINDS:
        for (a, b), score in scores[kind].items():
            if problems[a].id != problems[b].id:
                matches.setdefault((a, b), Match(a, b, kind, score))
    return [matches[pair] for pair in sorted(matches)]


def removals(problems: list[Problem], matches: list[Match]) -> dict[int, str]:
    """Which problems to leave out, with the reason: copies on the training side; of two train problems the later one.

    Copies between other roles stay: those sets are what they are. So do problems with near but short statements: "the
    largest" and "the smallest of the list" are two tasks.
    """
    declared = declared_roles()
    train = [role_of(problem.dataset, problem.split, declared) == "train" for problem in problems]
    across = [match for match in matches if train[match.first] != train[match.second]]
    within = [match for match in matches if train[match.first] and train[match.second]]
    removed: dict[int, str] = {}
    for match in across + within:
        copy, kept = (match.second, match.first) if train[match.second] else (match.first, match.second)
        words = min(len(normalise(problems[index].prompt)) for index in (copy, kept))
        short = match.kind == "near statement" and words < LONG
        if not (short or copy in removed or kept in removed):
            removed[copy] = f"same {match.kind} as in {problems[kept].dataset}".replace("same near", "near")
    return removed


def overlap_matrix(labels: list[str], matches: list[Match]) -> pd.DataFrame:
    """For each label (row), how many of its problems have a copy in each label (column). `labels`: one per problem."""
    copied: dict[tuple[str, str], set[int]] = defaultdict(set)
    for match in matches:
        copied[labels[match.first], labels[match.second]].add(match.first)
        copied[labels[match.second], labels[match.first]].add(match.second)
    order = list(dict.fromkeys(labels))
    return pd.DataFrame([[len(copied[row, column]) for column in order] for row in order], order, order)


def random_similarities(problems: list[Problem], pairs: int, seed: int = 0) -> np.ndarray:
    """Similarity of the statements of `pairs` random pairs of problems: how near unrelated problems are."""
    rng = np.random.default_rng(seed)
    drawn = rng.integers(0, len(problems), (pairs, 2))
    runs = {i: shingles(normalise(problems[i].prompt)) for i in np.unique(drawn)}
    return np.array([similarity(runs[a], runs[b]) for a, b in drawn if problems[a].id != problems[b].id])


def normalise(statement: str) -> list[str]:
    """The words and numbers of a statement in lower case, without mark-up and punctuation; one-letter names as `_`."""
    text = unicodedata.normalize("NFKC", statement).lower().replace("<image>", " ")
    text = re.sub(r"\\[a-z]+", " ", text)  # LaTeX commands
    return ["_" if len(word) == 1 and word.isalpha() else word for word in re.findall(r"[^\W\d_]+|\d+", text)]


def shingles(words: list[str]) -> np.ndarray:
    """Sorted 64-bit hashes of the distinct runs of three words (of all words, if there are fewer)."""
    runs = {" ".join(words[i : i + _SHINGLE]) for i in range(max(1, len(words) - _SHINGLE + 1))}
    return np.unique(np.fromiter((_number(run) for run in runs), dtype=np.uint64, count=len(runs)))


def similarity(a: np.ndarray, b: np.ndarray) -> float:
    """Jaccard similarity of two sets given as sorted arrays of distinct numbers."""
    both = len(np.intersect1d(a, b, assume_unique=True))
    return both / (len(a) + len(b) - both)


def canonical_solution(program: str) -> str | None:
    """A program's syntax tree without docstrings, the names that it defines numbered by first use.

    None for a program that is not Python 3, or too short to tell anything.
    """
    try:
        with warnings.catch_warnings(action="ignore"):  # about escapes in other people's strings
            tree = ast.parse(program)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    defined = {name for node in ast.walk(tree) for name in _defined(node)}
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        documented = isinstance(node, ast.Module | ast.FunctionDef | ast.ClassDef)
        if documented and ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:] or [ast.Pass()]
        for field in ("id", "name", "arg"):
            if getattr(node, field, None) in defined and not isinstance(node, ast.alias):
                setattr(node, field, names.setdefault(getattr(node, field), f"_{len(names)}"))
    return ast.dump(tree) if sum(1 for _ in ast.walk(tree)) >= _SMALLEST_SOLUTION else None


def _defined(node: ast.AST) -> list[str]:
    """Names that the program defines and could replace by others, unlike `max` and `math`."""
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
        return [node.id]
    if isinstance(node, ast.arg):
        return [node.arg]
    return [node.name] if isinstance(node, ast.FunctionDef | ast.ClassDef) else []


def _shared(keys: Iterable[Iterable[str | int]], most: int | None = None) -> Counter[tuple[int, int]]:
    """How many keys each pair of problems shares; a key that more than `most` problems have does not count."""
    holders = defaultdict(list)
    for index, keys_of_problem in enumerate(keys):
        for key in keys_of_problem:
            holders[key].append(index)
    pairs: Counter[tuple[int, int]] = Counter()
    for indices in holders.values():
        if most is None or len(indices) <= most:
            pairs.update(combinations(indices, 2))
    return pairs


def _solution_keys(problem: Problem) -> set[int]:
    shortest = sorted(set(problem.solutions), key=lambda program: (len(program), program))[:_SOLUTIONS]
    return {_number(tree) for tree in map(canonical_solution, shortest) if tree is not None}


def _test_keys(problem: Problem) -> Iterator[int]:
    for test in problem.tests:
        if problem.kind == "stdio":
            yield _number(f"{' '.join(test.input.split())}\n{' '.join(test.output.split())}")
            continue
        for node in ast.walk(ast.parse(test.input)):
            if isinstance(node, ast.Assert):  # without names: `candidate(1) == 2` is `double(1) == 2`
                yield _number(re.sub(r"id='(\w+)'", _masked, ast.dump(node.test)))


def _masked(name: re.Match) -> str:
    return name[0] if hasattr(builtins, name[1]) else "id=''"


def _near(statements: list[str]) -> dict[tuple[int, int], float]:
    """Pairs of normalised statements whose similarity is at least NEAR, but which are not equal: {pair: similarity}."""
    groups = defaultdict(list)  # equal statements are hashed once
    for index, text in enumerate(statements):
        groups[text].append(index)
    texts, near = list(groups), {}
    runs = [shingles(text.split()) for text in texts]
    lsh = MinHashLSH(threshold=_CANDIDATE, num_perm=_PERMUTATIONS)
    for number, text in enumerate(texts):
        sketch = MinHash(num_perm=_PERMUTATIONS, hashfunc=lambda run: int(run) & 0xFFFFFFFF)
        sketch.update_batch(runs[number])
        for other in (key for key in lsh.query(sketch) if isinstance(key, int)):  # the keys inserted below
            if (score := similarity(runs[number], runs[other])) >= NEAR:
                near |= {(min(a, b), max(a, b)): score for a in groups[texts[other]] for b in groups[text]}
        lsh.insert(number, sketch)
    return near


def _number(text: str) -> int:
    """A 64-bit hash that is the same in every process."""
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")
