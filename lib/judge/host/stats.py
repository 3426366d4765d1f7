"""Counters of a judge: programs, tests, seconds, and how long programs waited in its queue."""

import threading
import time
from collections import deque

WAITS = 10_000  # programs whose waiting times are kept: the last ones that were started
_COUNTERS = ("programs", "tests", "cache_hits", "retries")
_SECONDS = ("judge_seconds", "wall_seconds", "busy_seconds")


class Stats:
    """Safe for several threads. The queue is measured only while calls of the judge are active."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[str, int | float] = dict.fromkeys(_COUNTERS, 0) | dict.fromkeys(_SECONDS, 0.0)
        self._waits: deque[float] = deque(maxlen=WAITS)
        self._calls = self._length = self._longest = 0
        self._area = self._seconds = self._last_change = 0.0  # area: queue length times seconds

    def count(self, **amounts: int | float) -> None:
        """Adds to counters."""
        with self._lock:
            for name, amount in amounts.items():
                self._counts[name] += amount

    def queue(self, programs: int, calls: int = 0) -> None:
        """Adds programs to the queue (or removes them, below 0) and to the number of active calls."""
        with self._lock:
            now = time.monotonic()
            if self._calls:
                self._seconds += now - self._last_change
                self._area += (now - self._last_change) * self._length
            self._last_change = now
            self._calls += calls
            self._length += programs
            self._longest = max(self._longest, self._length)

    def waited(self, seconds: float) -> None:
        """Records how long a program was in the queue before it was started."""
        with self._lock:
            self._waits.append(seconds)

    def report(self, workers: int, respawns: int) -> dict[str, int | float]:
        """All statistics, as `Judge.stats` describes them."""
        with self._lock:
            counts, waits, wall = dict(self._counts), sorted(self._waits), self._counts["wall_seconds"]
            mean_length = self._area / self._seconds if self._seconds else 0.0
            queue = {"queue_length": self._length, "queue_length_max": self._longest, "queue_length_mean": mean_length}
        p50, p95 = (waits[int(share * (len(waits) - 1) + 0.5)] if waits else 0.0 for share in (0.5, 0.95))
        return {
            **counts,
            **queue,
            "wait_mean": sum(waits) / max(1, len(waits)),
            "wait_p50": p50,
            "wait_p95": p95,
            "respawns": respawns,
            "tests_per_s": counts["tests"] / wall if wall else 0.0,
            "utilisation": min(1.0, counts["busy_seconds"] / (wall * workers)) if wall else 0.0,
        }
