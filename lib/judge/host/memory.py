"""What a judge remembers: problems prepared for its workers, and verdicts, in memory and optionally on disk."""

import hashlib
from collections import OrderedDict
from pathlib import Path

from ..problem import Problem
from ..verdict import Verdict
from .prepared import PreparedProblem

CACHED_VERDICTS = 2_000
PREPARED_PROBLEMS = 64

Key = tuple[bytes, bytes]  # hashes of a program and of a prepared problem


class Memory:
    """`folder`: of the verdicts on disk, shared with judges that may have other `rules`."""

    def __init__(self, folder: str | Path | None, rules: str):
        self._disk, self._salt = None, b""
        if folder is not None:
            from .cache import VerdictCache, judge_version  # only the cache on disk needs a package

            self._disk, self._salt = VerdictCache(folder), judge_version() + rules.encode()
        self._prepared: OrderedDict[int, PreparedProblem] = OrderedDict()
        self._verdicts: OrderedDict[Key, Verdict] = OrderedDict()

    def prepare(self, problem: Problem) -> PreparedProblem:
        """The prepared form, kept for the problems used last. Looked up by identity: a hash would read all tests."""
        prepared = self._prepared.get(id(problem))
        if prepared is None:
            prepared = self._prepared[id(problem)] = PreparedProblem(problem)
            if len(self._prepared) > PREPARED_PROBLEMS:
                self._prepared.popitem(last=False)[1].close()
        else:
            self._prepared.move_to_end(id(problem))
        return prepared

    def recall(self, key: Key, prepared: PreparedProblem) -> Verdict | None:
        if key in self._verdicts:
            self._verdicts.move_to_end(key)
            return self._verdicts[key]
        return self._disk.get(self._name(key), sum(prepared.cases)) if self._disk else None

    def remember(self, key: Key, verdict: Verdict) -> None:
        self._verdicts[key] = verdict
        if len(self._verdicts) > CACHED_VERDICTS:
            self._verdicts.popitem(last=False)
        if self._disk:
            self._disk.put(self._name(key), verdict)

    def _name(self, key: Key) -> bytes:
        return hashlib.sha256(b"".join((*key, self._salt))).digest()

    def close(self) -> None:
        if self._disk:
            self._disk.close()
        while self._prepared:
            self._prepared.popitem()[1].close()
