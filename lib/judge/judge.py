"""`Judge`: programs in, verdicts out. One thread, no busy waiting; `stream` does the work of a call."""

import asyncio
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path

from lib.judge.job import encoded
from lib.judge.load import Load, Pace
from lib.judge.memory import Memory
from lib.judge.pool import Pool
from lib.judge.problem import Problem
from lib.judge.stream import Stream
from lib.judge.verdict import Verdict
from lib.judge.worker import Worker, check_problem

_ISOLATION = ("namespaces", "none")


class Judge:
    """Judges programs in `workers` isolated processes, at most that many at once.

    `isolation`: "namespaces", or "none" where a machine can't have them. `stop_at_timeout`: a submission ends at its
    first timeout; `stop_at_first_failure`: at its first test that fails, for rewards that ask for all or nothing.
    `strict`: every test in a process and a namespace of its own, also those that a quick pass would settle.
    `cache`: a folder where verdicts are kept for later runs and other processes. `programs_per_second`: no more than
    that are started on average. `backend`: "local", this machine, or "sandbox_fusion", servers at the addresses `url`;
    there `isolation` means the servers'.
    Raises IsolationError if the machine can't isolate, ServerError if no server can judge. Use it as a context manager,
    or call `close`. `options`: the arguments it was made with.
    """

    def __init__(
        self,
        workers: int = 2,
        isolation: str = "namespaces",
        stop_at_timeout: bool = True,
        stop_at_first_failure: bool = False,
        strict: bool = False,
        cache: str | Path | None = None,
        programs_per_second: float | None = None,
        backend: str = "local",
        url: str | Iterable[str] | None = None,
    ):
        self.options = {name: value for name, value in locals().items() if name != "self"}
        if workers < 1:
            raise ValueError(f"workers must be at least 1, not {workers}")
        if isolation not in _ISOLATION:
            raise ValueError(f"isolation must be one of {', '.join(_ISOLATION)}, not {isolation!r}")
        if programs_per_second is not None and not programs_per_second > 0:
            raise ValueError(f"programs_per_second must be more than 0, not {programs_per_second}")
        if backend not in ("local", "sandbox_fusion") or (backend == "local" and url is not None):
            raise ValueError(f"backend must be local, or sandbox_fusion with a url, not {backend!r} with {url!r}")
        where, hire = "", partial(Worker, isolation)
        if backend == "sandbox_fusion":
            from lib.judge.sandbox_fusion import RemoteWorker, Servers  # here: else nobody needs requests

            servers = Servers(url, isolation)
            where, hire = str(servers), partial(RemoteWorker, servers)
        stops = frozenset(["timeout"] * stop_at_timeout + ["failure"] * stop_at_first_failure)
        self._rules = {"stops": stops, "strict": strict}
        self._memory = Memory(cache, repr((sorted(stops), isolation, strict, where)))
        self._load, self._pace = Load(), Pace(programs_per_second)
        self._counts = {"programs": 0, "tests": 0, "cache_hits": 0, "retries": 0}
        self._counts |= {"judge_seconds": 0.0, "wall_seconds": 0.0, "busy_seconds": 0.0}
        self._lock, self._owner = threading.Lock(), 0
        self._closed = False
        self._pool = Pool(workers, hire)

    def __enter__(self) -> "Judge":
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def close(self) -> None:
        """Ends the workers. The judge can't be used again."""
        self._closed = True
        self._pool.close()
        self._memory.close()

    @property
    def isolation(self) -> str:
        """What keeps programs apart from the machine, as its workers found it when they started."""
        return ", ".join(self._pool.layers)

    def stats(self) -> dict[str, int | float]:
        """Counts since the start: `programs` taken on, `tests` run, `cache_hits`, `retries`, `respawns` of workers.

        Programs waiting for a worker: `queue_length` now, `queue_length_max`, and `queue_length_mean` over the time in
        which calls were under way. A collection of known length waits as a whole; of other iterables a program waits
        once it is taken. `wait_mean`, `wait_p50`, `wait_p95`: seconds between coming in and being started, of the
        programs started last (10,000 at most; what the cache knows is not started).

        Seconds: of CPU spent in programs (`judge_seconds`), of wall time spent in judging (`wall_seconds`), of all
        workers at work (`busy_seconds`). Of these: `tests_per_s`, and `utilisation`, the share of its wall time that a
        worker was at work, in [0, 1]."""
        counts, wall = self._counts, self._counts["wall_seconds"]
        return {
            **counts,
            **self._load.stats(),
            "respawns": self._pool.respawns,
            "tests_per_s": counts["tests"] / wall if wall else 0.0,
            "utilisation": min(1.0, counts["busy_seconds"] / (wall * self._pool.count)) if wall else 0.0,
        }

    def judge(self, program: str, problem: Problem) -> Verdict:
        """Judges one program. Raises as `judge_stream`."""
        return self.judge_many([(program, problem)])[0]

    def judge_many(self, pairs: Iterable[tuple[str, Problem]], progress: bool = False) -> list[Verdict]:
        """The verdicts on (program, problem) pairs, in the order of the pairs; see `judge_stream`. A list of pairs is
        checked as a whole before anything runs."""
        if isinstance(pairs, Sequence):
            for program, problem in pairs:
                encoded(program)
                check_problem(problem)
        return list(self.judge_stream(pairs, progress))

    async def judge_async(self, pairs: Iterable[tuple[str, Problem]]) -> list[Verdict]:
        """As `judge_many`, for callers with an event loop: it goes on while a thread waits for the workers. Calls that
        overlap are served one after the other."""
        return await asyncio.to_thread(self.judge_many, pairs)

    def judge_stream(self, pairs: Iterable[tuple[str, Problem]], progress: bool = False) -> Iterator[Verdict]:
        """Yields the verdicts on (program, problem) pairs, in the order of the pairs, and takes pairs as it gets on: a
        bounded number is held, however many there are.

        Of equal pairs near one another one is judged. A submission that the judge failed with is tried again on other
        workers, a few times in all, and then becomes an `api_error`. `progress` shows a counter on a terminal.
        Raises TypeError for a program that is no string and ValueError for a problem without tests or with limits that
        make no sense, when it comes to them; RuntimeError after `close`. Whatever ends it, nothing is left running.
        Other threads wait until it is through; the thread that iterates can't judge anything else meanwhile.
        """
        if self._closed:
            raise RuntimeError("this judge is closed")
        return self._stream(pairs, progress and sys.stderr.isatty())

    def _stream(self, pairs: Iterable[tuple[str, Problem]], progress: bool) -> Iterator[Verdict]:
        if self._owner == threading.get_ident():
            raise RuntimeError("this thread is judging: take all verdicts of its judge_stream first, or close that")
        stream = Stream(pairs, self._rules, self._pool, self._memory, self._load, self._pace, self._counts)
        with closing(stream), self._lock:
            self._owner = threading.get_ident()
            try:
                verdicts, done = iter(stream), 0
                while (verdict := self._timed(verdicts)) is not None:
                    done += 1
                    if progress:
                        print(f"\rjudged {done} of {stream.total or 'many'}", end="", file=sys.stderr, flush=True)
                    yield verdict
                if progress:
                    print(file=sys.stderr)
            finally:
                stream.stop()
                self._owner = 0

    def _timed(self, verdicts: Iterator[Verdict]) -> Verdict | None:
        if self._closed:
            raise RuntimeError("this judge was closed")
        start = time.monotonic()
        try:
            return next(verdicts, None)
        finally:
            self._counts["wall_seconds"] += time.monotonic() - start
