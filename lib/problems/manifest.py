"""Manifests: the frozen list of each set, one line per problem, and whether what was loaded is what was frozen.

`data/manifests/<set>-<split>.jsonl` holds id, hash of the statement, hashes of the tests and role of every problem;
`index.json` the checksum of each of these files. A problem of the rows that must not be used has the role `removed`
and a reason; `dev` marks the fixed subset for frequent checks. `python -m lib.problems.freeze write` makes them.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from lib.judge.problem import Problem, Test
from lib.problems.problems import Problems
from lib.runs import paths

REMOVED = "removed"
SHOWN = 3  # ids in an error message


class ManifestError(ValueError):
    """A set has no manifest, or is not what its manifest says."""


def folder() -> Path:
    return paths.root() / "data" / "manifests"


def file_name(name: str, split: str) -> str:
    return f"{name}-{split}.jsonl"


def entry(problem: Problem, role: str) -> dict:
    """What a manifest holds of a problem. Times, tags and solutions are no part of it: they do not say which it is."""
    generated = [test for test in problem.tests if test.visibility == "generated"]
    others = [test for test in problem.tests if test.visibility != "generated"]
    return {
        "id": problem.id,
        "statement": _hash(_words(problem.prompt) if problem.kind == "stdio" else problem.prompt),
        "tests": _of_tests(others, problem.kind),
        "generated": _of_tests(generated, problem.kind),
        "role": role,
    }


def _of_tests(tests: Iterable[Test], kind: str) -> str:
    """In any order and visibility, and for stdio but for outer white space: so much may differ between two copies."""
    trim = str.strip if kind == "stdio" else str
    return _hash(json.dumps(sorted([trim(test.input), trim(test.output)] for test in tests)))


def _words(text: str) -> str:
    return " ".join(text.split())


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def read_index() -> dict[str, dict]:
    """file -> {sha256, problems, role, ...}; empty where nothing is frozen."""
    index = folder() / "index.json"
    return json.loads(index.read_text()) if index.is_file() else {}


def index_text(index: dict[str, dict]) -> str:
    return json.dumps(dict(sorted(index.items())), indent=1, ensure_ascii=False) + "\n"


def checksum(name: str, split: str) -> str:
    """The sha256 of a set's manifest, as the index says."""
    return read_index()[file_name(name, split)]["sha256"]


def read(name: str, split: str) -> list[dict]:
    """The entries of a manifest. Raises ManifestError when there is none, or when it is not the one in the index."""
    file = file_name(name, split)
    entries = read_lines(file)
    if entries is None:
        raise ManifestError(
            f"{name}, split {split}, is not frozen: data/manifests/{file} is missing. "
            f"Make it once, with a network or --source, and commit it: python -m lib.problems.freeze write {name}"
        )
    return entries


def read_lines(file: str) -> list[dict] | None:
    """What a frozen file holds; None where there is none. Raises ManifestError when it is not the one in the index."""
    known, path = read_index().get(file), folder() / file
    if known is None or not path.is_file():
        return None
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != known["sha256"]:
        raise ManifestError(f"data/manifests/{file} is not the file in index.json: git restore data/manifests")
    return [json.loads(line) for line in content.splitlines()]


def freeze(files: dict[str, tuple[list[dict], dict]]) -> dict[str, dict]:
    """Writes files, given as (lines, what the index says of them), and the index, to which their checksums are added.

    Returns what the index says of them.
    """
    written = {}
    for file, (lines, about) in files.items():
        text = paths.json_lines(lines)
        paths.write_atomically(folder() / file, text)
        written[file] = {"sha256": hashlib.sha256(text.encode()).hexdigest(), **about}
    paths.write_atomically(folder() / "index.json", index_text(read_index() | written))
    return written


def keep_to(entries: list[dict], problems: Problems, name: str, split: str, dev: bool = False) -> Problems:
    """The problems that the manifest lets through, in the order of the rows; removed ones are counted by reason.

    Raises ManifestError when a problem is missing, new, or has another statement or other tests. Entries whose id or
    generated tests were not known when they were frozen (null) are compared by what was known.
    """
    wanted = {_key(one, one): one for one in entries}
    kept, strangers = Problems(dropped=Counter(problems.dropped)), []
    nameless = any(one["id"] is None for one in entries)
    for problem in problems:
        found = entry(problem, "") | ({"id": None} if nameless else {})
        one = wanted.pop(_key(found, found), None)
        if one is None or (one["generated"] is not None and one["generated"] != found["generated"]):
            strangers.append(problem.id)
        elif one["role"] == REMOVED:
            kept.dropped[one["reason"]] += 1
        elif one.get("dev") or not dev:
            kept.append(problem)
    if strangers or wanted:
        missing = [str(one["id"] or one["statement"]) for one in wanted.values()]
        raise ManifestError(
            f"{name}, split {split}, is not what was frozen: {_some(strangers)} new or changed, "
            f"{_some(missing)} not found as frozen. Fetch the pinned revision or restore the file; if the set shall "
            f"change, python -m lib.problems.freeze write {name} freezes it anew, and every earlier run is of another set"
        )
    return kept


def _key(one: dict, of: dict) -> tuple:
    return (one["id"], of["statement"], of["tests"])


def _some(ids: list[str]) -> str:
    return f"{len(ids)} ({', '.join(ids[:SHOWN])}{', ...' if len(ids) > SHOWN else ''})" if ids else "0"
