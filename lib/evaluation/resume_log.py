"""The journal of an evaluation: one line per judged completion, so that a killed evaluation goes on where it was.

It lies in `artifacts/scratch/`, outside the run's folder, which a restarted run begins by emptying, and is removed when
the results have been written.
"""

import fcntl
import hashlib
import json
from pathlib import Path

from lib.runs.paths import artifacts


class ResumeLog:
    """Lines of an evaluation, found by what it is: equal `identity` (plain JSON), equal journal. A context manager.

    `lines`: what an earlier, interrupted evaluation left. Raises BlockingIOError while another process writes to it.
    """

    def __init__(self, identity: dict):
        key = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:24]
        self.path: Path = artifacts() / "scratch" / "journals" / f"{key}.jsonl"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self.path.open("a+b")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.close()
            raise BlockingIOError(f"another process makes the same evaluation (journal {key}): wait for it") from None
        self._file.seek(0)
        whole, _, half = self._file.read().rpartition(b"\n")
        if half:  # killed in the middle of a line
            self._file.truncate(len(whole) + 1 if whole else 0)
        self.lines = [json.loads(line) for line in whole.splitlines()]

    def __enter__(self) -> "ResumeLog":
        return self

    def __exit__(self, *_) -> None:
        self._file.close()

    def append(self, lines: list[dict]) -> None:
        """Adds lines; when it returns they survive the death of this process."""
        self._file.write("".join(json.dumps(line) + "\n" for line in lines).encode())
        self._file.flush()

    def remove(self) -> None:
        """The evaluation is complete, and its results are written."""
        self.path.unlink()
