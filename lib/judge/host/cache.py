"""Verdicts on disk, shared by runs and processes: a folder of diskcache (SQLite, safe for several writers).

An entry is JSON text under the hash of program, problem, limits and judge. It names its own key and carries a checksum;
an entry that breaks a rule (cut short, edited, moved, of another shape) is ignored, and a folder that can't be read
counts as empty. Nothing is unpickled. Whoever may write to the folder can forge verdicts: it is the user's alone.
"""

import hashlib
import json
import os
import sqlite3
import sys
from dataclasses import asdict
from pathlib import Path

import diskcache

from ..verdict import ERROR_TYPES, TestResult, Verdict

SIZE_LIMIT = 1 << 30  # bytes; beyond it, the entries used least recently are removed
_DAMAGE = (sqlite3.Error, OSError, diskcache.Timeout)


class _TextOnly(diskcache.Disk):
    def fetch(self, mode, filename, value, read):
        if mode == diskcache.core.MODE_PICKLE:
            raise ValueError("the entry is a pickle, not a verdict")
        return super().fetch(mode, filename, value, read)


class VerdictCache:
    """The cache in `folder`, which is created. `get` and `put` never raise because of the folder's state."""

    def __init__(self, folder: str | Path):
        os.makedirs(folder, mode=0o700, exist_ok=True)
        try:
            options = {"disk": _TextOnly, "size_limit": SIZE_LIMIT, "eviction_policy": "least-recently-used"}
            self._entries = diskcache.Cache(str(folder), **options)
        except _DAMAGE:
            self._entries = None

    def get(self, key: bytes, total: int) -> Verdict | None:
        """The verdict on a submission of `total` tests, or None."""
        try:
            text = self._entries and self._entries.get(key.hex())
            return _read(text, key, total) if isinstance(text, str) else None
        except (*_DAMAGE, ValueError, TypeError, KeyError):
            return None

    def put(self, key: bytes, verdict: Verdict) -> None:
        try:
            if self._entries is not None:
                body = json.dumps(asdict(verdict))
                self._entries.set(key.hex(), _checksum(key, body) + body)
        except _DAMAGE:
            pass  # a full disk costs time, not a verdict

    def close(self) -> None:
        if self._entries is not None:
            self._entries.close()


def judge_version() -> bytes:
    """A hash of the judge's own sources and of the Python that runs programs: other code may judge differently."""
    digest = hashlib.sha256(sys.version.encode())
    for path in sorted(Path(__file__).parents[1].rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.digest()


def _checksum(key: bytes, body: str) -> str:
    return hashlib.sha256(key + body.encode()).hexdigest()


def _read(text: str, key: bytes, total: int) -> Verdict:
    body = text[64:]
    if _checksum(key, body) != text[:64]:
        raise ValueError("the entry was changed after it was written")
    fields = json.loads(body)
    fields["tests"] = tuple(TestResult(**test) for test in fields["tests"])
    verdict = Verdict(**fields)
    passed = sum(test.error_type == "success" for test in verdict.tests)
    consistent = verdict.passed == passed and verdict.accepted == (passed == total) and verdict.total == total
    if not consistent or verdict.error_type not in ERROR_TYPES[:-1]:
        raise ValueError("the entry is no verdict on these tests")
    return verdict
