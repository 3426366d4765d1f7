"""How busy a judge is: the length of its queue over time, and how long programs waited in it."""

import threading
import time
from collections import deque

WAITS = 10_000  # programs; waits are told of those started last


class Load:
    """Safe for several threads. Counts only while calls of the judge are under way."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waits: deque[float] = deque(maxlen=WAITS)
        self._calls = self._length = self._longest = 0
        self._area = self._seconds = self._then = 0.0

    def change(self, programs: int, calls: int = 0) -> None:
        """So many programs come into the queue (or leave it, below 0), so many calls begin (or end)."""
        with self._lock:
            now = time.monotonic()
            if self._calls:
                self._seconds += now - self._then
                self._area += (now - self._then) * self._length
            self._then = now
            self._calls += calls
            self._length += programs
            self._longest = max(self._longest, self._length)

    def waited(self, seconds: float) -> None:
        """A program is started after so long in the queue."""
        with self._lock:
            self._waits.append(seconds)

    def stats(self) -> dict[str, int | float]:
        """As `Judge.stats` describes them."""
        with self._lock:
            waits, count = sorted(self._waits), max(1, len(self._waits))
            found = {"queue_length": self._length, "queue_length_max": self._longest}
            found["queue_length_mean"] = self._area / self._seconds if self._seconds else 0.0
        at = {share: waits[int(share * (count - 1) + 0.5)] if waits else 0.0 for share in (0.5, 0.95)}
        return found | {"wait_mean": sum(waits) / count, "wait_p50": at[0.5], "wait_p95": at[0.95]}


class Pace:
    """When programs may be started, at most so many a second on average."""

    def __init__(self, per_second: float | None):
        self._spacing, self._next = 1 / per_second if per_second else 0.0, 0.0

    def delay(self) -> float:
        """Seconds until the next one may be started."""
        return max(0.0, self._next - time.monotonic()) if self._spacing else 0.0

    def started(self) -> None:
        self._next = max(self._next, time.monotonic()) + self._spacing
