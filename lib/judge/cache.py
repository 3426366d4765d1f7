"""Verdicts on disk, shared by runs and by processes: a folder of diskcache (SQLite, safe for several writers).

An entry is JSON text under the hash of program, problem, limits and judge. It names its own key and carries a checksum;
an entry that breaks a rule (cut short, edited, moved, of another shape) is ignored, and a folder that can't be read is
an empty one. Nothing is unpickled. Who may write to the folder can lie, so it belongs to its user alone.
"""

import hashlib
import json
import os
import sqlite3
import sys
from dataclasses import asdict
from pathlib import Path

import diskcache

from lib.judge.verdict import ERROR_TYPES, TestResult, Verdict

SIZE_LIMIT = 1 << 30  # bytes; beyond it, what was used least recently goes


class _TextOnly(diskcache.Disk):
    def fetch(self, mode, filename, value, read):
        if mode == diskcache.core.MODE_PICKLE:
            raise ValueError("a pickle is no verdict")
        return super().fetch(mode, filename, value, read)


class VerdictCache:
    """The cache in `folder`, which is made. `get` and `put` never raise for what is wrong with the folder."""

    def __init__(self, folder: str | Path):
        os.makedirs(folder, mode=0o700, exist_ok=True)
        try:
            self._entries = diskcache.Cache(
                str(folder), disk=_TextOnly, size_limit=SIZE_LIMIT, eviction_policy="least-recently-used"
            )
        except (sqlite3.Error, OSError, diskcache.Timeout):
            self._entries = None

    def get(self, key: bytes, total: int) -> Verdict | None:
        """The verdict on a submission of `total` tests, or None."""
        try:
            text = self._entries and self._entries.get(key.hex())
            return _verdict(text, key, total) if isinstance(text, str) else None
        except (sqlite3.Error, OSError, diskcache.Timeout, ValueError, TypeError, KeyError):
            return None

    def put(self, key: bytes, verdict: Verdict) -> None:
        try:
            if self._entries is not None:
                self._entries.set(key.hex(), _text(key, verdict))
        except (sqlite3.Error, OSError, diskcache.Timeout):
            pass  # a full disk costs time, no verdict

    def close(self) -> None:
        if self._entries is not None:
            self._entries.close()


def judge_version() -> bytes:
    """A hash of the judge's own sources and of the Python that runs programs: other code may judge otherwise."""
    digest = hashlib.sha256(sys.version.encode())
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.digest()


def _text(key: bytes, verdict: Verdict) -> str:
    body = json.dumps(asdict(verdict))
    return hashlib.sha256(key + body.encode()).hexdigest() + body


def _verdict(text: str, key: bytes, total: int) -> Verdict:
    checksum, body = text[:64], text[64:]
    if hashlib.sha256(key + body.encode()).hexdigest() != checksum:
        raise ValueError("not what was written")
    fields = json.loads(body)
    verdict = Verdict(**{**fields, "tests": tuple(TestResult(**test) for test in fields["tests"])})
    passed = sum(test.error_type == "success" for test in verdict.tests)
    consistent = verdict.passed == passed and verdict.accepted == (passed == total) and verdict.total == total
    if not consistent or verdict.error_type not in ERROR_TYPES[:-1]:
        raise ValueError("no verdict on these tests")
    return verdict
