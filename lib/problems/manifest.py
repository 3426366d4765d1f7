"""Manifests: the frozen list of each split, and the check that the rows loaded are the rows frozen.

`data/manifests/<source>-<split>.jsonl` has one line per problem: id, hash of the statement, hashes of the tests, role.
`index.json` has the checksum of each of these files. A problem that must not be used has the role `removed` and a
reason; `dev` marks the fixed subset for frequent checks. `python -m lib.problems.freeze write` makes manifests.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from lib.judge.problem import Problem, Test
from lib.runs import paths

REMOVED = "removed"


class ManifestError(ValueError):
    """A split has no manifest, or differs from it."""


class Problems(list[Problem]):
    """A list of problems. `dropped`: how many rows of the set are not in it, by reason."""

    def __init__(self, problems: Iterable[Problem] = (), dropped: Counter[str] | None = None):
        super().__init__(problems)
        self.dropped = Counter() if dropped is None else dropped


def folder() -> Path:
    return paths.root() / "data" / "manifests"


def file_name(source: str, split: str) -> str:
    return f"{source}-{split}.jsonl"


def entry(problem: Problem, role: str) -> dict:
    """A problem's line in a manifest. Limits, tags and solutions are not part of a problem's identity.

    Tests are hashed in any order and whatever their visibility; those of stdio problems without outer white space.
    """
    stdio = problem.kind == "stdio"
    trim = str.strip if stdio else str

    def hashed(tests: Iterable[Test]) -> str:
        return _hash(json.dumps(sorted([trim(test.input), trim(test.output)] for test in tests)))

    return {
        "id": problem.id,
        "statement": _hash(" ".join(problem.prompt.split()) if stdio else problem.prompt),
        "tests": hashed(test for test in problem.tests if test.visibility != "generated"),
        "generated": hashed(test for test in problem.tests if test.visibility == "generated"),
        "role": role,
    }


def version(problems: list[Problem]) -> dict:
    """The version of a list of problems: its size, and a hash of ids, statements, tests and limits in their order."""
    content = hashlib.sha256()
    for problem in problems:
        tests = [(test.input, test.output) for test in problem.tests]
        content.update(repr((problem.id, problem.prompt, tests, problem.time_limit, problem.memory_limit)).encode())
    return {"n": len(problems), "sha256": content.hexdigest()[:16]}


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def read_index() -> dict[str, dict]:
    """file -> {sha256, problems, role, ...}; empty if nothing is frozen."""
    index = folder() / "index.json"
    return json.loads(index.read_text()) if index.is_file() else {}


def index_text(index: dict[str, dict]) -> str:
    return json.dumps(dict(sorted(index.items())), indent=1, ensure_ascii=False) + "\n"


def checksum(source: str, split: str) -> str:
    """The sha256 of a split's manifest, from the index."""
    return read_index()[file_name(source, split)]["sha256"]


def read(source: str, split: str) -> list[dict]:
    """The lines of a manifest. Raises ManifestError if it is missing or differs from its checksum in the index."""
    file = file_name(source, split)
    entries = read_lines(file)
    if entries is None:
        raise ManifestError(
            f"{source}, split {split}, is not frozen: data/manifests/{file} is missing. "
            f"Make it once, with a network or --source, and commit it: python -m lib.problems.freeze write {source}"
        )
    return entries


def read_lines(file: str) -> list[dict] | None:
    """The lines of a frozen file, None if it does not exist. Raises ManifestError if its checksum is wrong."""
    known, path = read_index().get(file), folder() / file
    if known is None or not path.is_file():
        return None
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != known["sha256"]:
        raise ManifestError(f"data/manifests/{file} is not the file in index.json: git restore data/manifests")
    return [json.loads(line) for line in content.splitlines()]


def freeze(files: dict[str, tuple[list[dict], dict]]) -> dict[str, dict]:
    """Writes files, given as {file: (lines, its entry in the index)}; returns the entries with checksums added."""
    written = {}
    for file, (lines, about) in files.items():
        text = paths.json_lines(lines)
        paths.write_atomically(folder() / file, text)
        written[file] = {"sha256": hashlib.sha256(text.encode()).hexdigest(), **about}
    paths.write_atomically(folder() / "index.json", index_text(read_index() | written))
    return written


def keep_to(entries: list[dict], problems: Problems, source: str, split: str, dev: bool = False) -> Problems:
    """The problems that the manifest allows, in the order of the rows; removed problems are counted by reason.

    Raises ManifestError if a problem is missing, new, or has another statement or other tests. An id or generated tests
    that were unknown when the split was frozen (null) are not compared.
    """
    nameless = any(line["id"] is None for line in entries)
    wanted = {(line["id"], line["statement"], line["tests"]): line for line in entries}
    kept, changed = Problems(dropped=Counter(problems.dropped)), []
    for problem in problems:
        now = entry(problem, "")
        line = wanted.pop((None if nameless else now["id"], now["statement"], now["tests"]), None)
        if line is None or line["generated"] not in (None, now["generated"]):
            changed.append(problem.id)
        elif line["role"] == REMOVED:
            kept.dropped[line["reason"]] += 1
        elif line.get("dev") or not dev:
            kept.append(problem)
    if changed or wanted:
        missing = [str(line["id"] or line["statement"]) for line in wanted.values()]
        raise ManifestError(
            f"{source}, split {split}, is not what was frozen: {_some(changed)} new or changed, {_some(missing)} not "
            "found as frozen. Fetch the pinned revision or restore the file. If the set must change, `python -m "
            f"lib.problems.freeze write {source}` freezes it again, and earlier runs were measured on another set"
        )
    return kept


def _some(ids: list[str]) -> str:
    return f"{len(ids)} ({', '.join(ids[:3])}{', ...' if len(ids) > 3 else ''})" if ids else "0"


def marks_file(source: str, split: str) -> str:
    return file_name(source, split).replace(".jsonl", ".unreliable.jsonl")


def reliable(problems: Problems, source: str, split: str) -> Problems:
    """The problems without marks; the others are counted in `dropped`.

    Raises ManifestError if the split has not been judged since it was frozen.
    """
    file = marks_file(source, split)
    lines = read_lines(file)
    if lines is None or read_index()[file]["judged"] != checksum(source, split):
        raise ManifestError(
            f"{source}, split {split}, has not been judged since it was frozen: "
            f"python -m lib.problems.quality write {source}/{split}"
        )
    marks = {line["id"]: line["reasons"] for line in lines}
    dropped = Counter(f"unreliable: {marks[problem.id][0]}" for problem in problems if problem.id in marks)
    return Problems((problem for problem in problems if problem.id not in marks), problems.dropped + dropped)
