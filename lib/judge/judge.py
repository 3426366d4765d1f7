"""`Judge`: judges programs in isolated workers. A call runs in the calling thread; `host.stream` does its work."""

import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path

from .answers import BLOCKS
from .host.memory import Memory
from .host.packages import find_packages
from .host.pool import Pool
from .host.prepared import check_problem, encoded
from .host.stats import Stats
from .host.stream import Stream
from .host.worker import Worker
from .problem import Problem
from .verdict import Verdict


class Judge:
    """Judges programs in `workers` isolated processes, at most that many at a time.

    `isolation`: "namespaces", or "none" for machines that can't provide them. `strict`: every test runs in a process
    and namespace of its own, including those that the quick pass would settle. `cache`: a folder in which verdicts are
    kept for later runs and other processes. `backend`: "local" (this machine), or "sandbox_fusion" with the `url` of
    one or several servers; then `isolation` applies to the servers. `packages`: installed distributions that programs
    may import, such as ("numpy",); what they need themselves has to be named too. `answer_block`: of several blocks of
    an answer, the block that evaluations and trainings with this judge take as its program (`block` of `extract`).
    Raises IsolationError if the machine can't isolate, ServerError if no server can judge. Use it as a context manager,
    or call `close`. `options`: the arguments of this judge, to create another like it.
    """

    def __init__(
        self,
        workers: int = 2,
        isolation: str = "namespaces",
        strict: bool = False,
        cache: str | Path | None = None,
        backend: str = "local",
        url: str | Iterable[str] | None = None,
        packages: Iterable[str] = (),
        answer_block: str = "last",
    ):
        packages = tuple(packages)
        self.options: dict = {"workers": workers, "isolation": isolation, "strict": strict}
        self.options |= {"cache": cache, "backend": backend, "url": url, "packages": packages}
        self.options["answer_block"] = self.answer_block = answer_block
        if workers < 1:
            raise ValueError(f"workers must be at least 1, not {workers}")
        if isolation not in ("namespaces", "none"):
            raise ValueError(f"isolation must be one of namespaces, none, not {isolation!r}")
        if answer_block not in BLOCKS:
            raise ValueError(f"answer_block must be one of {', '.join(BLOCKS)}, not {answer_block!r}")
        if backend not in ("local", "sandbox_fusion") or (backend == "local" and url is not None):
            raise ValueError(f"backend must be local, or sandbox_fusion with a url, not {backend!r} with {url!r}")
        if packages and (backend != "local" or isolation != "namespaces"):
            raise ValueError("packages can be offered only by the local backend with namespaces")
        places, versions = find_packages(packages)
        self._modules = tuple(Path(place).name.removesuffix(".py") for place in places)
        place, new_worker = "", partial(Worker, isolation, places)
        if backend == "sandbox_fusion":
            from .remote.sandbox_fusion import RemoteWorker, Servers  # only this backend needs requests

            servers = Servers(url, isolation)
            place, new_worker = str(servers), partial(RemoteWorker, servers)
        self._strict, self._closed = strict, False
        self._memory, self._stats = Memory(cache, repr((isolation, strict, place, *versions))), Stats()
        self._lock, self._judging_thread = threading.Lock(), 0
        self._pool = Pool(workers, new_worker)

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
        """What keeps programs apart from the machine, as the workers reported it at their start."""
        return ", ".join(self._pool.layers)

    def stats(self) -> dict[str, int | float]:
        """Counts since the start: `programs` taken, `tests` run, `cache_hits`, `retries`, `respawns` of workers.

        Programs waiting for a worker: `queue_length` now, `queue_length_max`, and `queue_length_mean` over the time in
        which calls were active. A collection waits as a whole; a pair of any other iterable waits once it is taken.
        `wait_mean`, `wait_p50`, `wait_p95`: seconds in the queue, of the last 10,000 programs that were started.
        Seconds: of CPU in programs (`judge_seconds`), of wall time in calls (`wall_seconds`), of all workers at work
        (`busy_seconds`). `tests_per_s` of wall time; `utilisation`: share of it that a worker was busy, in [0, 1]."""
        return self._stats.report(self._pool.count, self._pool.respawns)

    def judge(self, program: str, problem: Problem) -> Verdict:
        """Judges one program. Raises as `judge_stream`."""
        return self.judge_many([(program, problem)])[0]

    def judge_many(self, pairs: Iterable[tuple[str, Problem]], progress: bool = False) -> list[Verdict]:
        """The verdicts on (program, problem) pairs, in the order of the pairs; see `judge_stream`. A list of pairs is
        checked as a whole before anything runs."""
        if isinstance(pairs, Sequence):
            for program, problem in pairs:
                encoded(program)
                check_problem(problem, self._modules)
        return list(self.judge_stream(pairs, progress))

    def judge_stream(self, pairs: Iterable[tuple[str, Problem]], progress: bool = False) -> Iterator[Verdict]:
        """Yields the verdicts on (program, problem) pairs, in the order of the pairs. Takes pairs as workers become
        free, so that memory stays bounded however many there are.

        Equal pairs close to each other are judged once. If the judge fails with a submission, it tries again with
        other workers, a few times; then the verdict is an `api_error`. `progress` shows a counter on a terminal.
        Raises TypeError for a program that is not a string and ValueError for a problem without tests or with
        impossible limits, when it takes that pair; RuntimeError after `close`. However it ends, nothing keeps running.
        Other threads wait for their turn; the iterating thread can't judge anything else in the meantime.
        """
        if self._closed:
            raise RuntimeError("this judge is closed")
        return self._stream(pairs, progress and sys.stderr.isatty())

    def _stream(self, pairs: Iterable[tuple[str, Problem]], progress: bool) -> Iterator[Verdict]:
        if self._judging_thread == threading.get_ident():
            raise RuntimeError("this thread is judging: take all verdicts of its judge_stream first, or close that")
        stream = Stream(pairs, self._pool, self._memory, self._stats, self._strict, self._modules)
        with closing(stream), self._lock:
            self._judging_thread = threading.get_ident()
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
                self._judging_thread = 0

    def _timed(self, verdicts: Iterator[Verdict]) -> Verdict | None:
        if self._closed:
            raise RuntimeError("this judge was closed")
        start = time.monotonic()
        try:
            return next(verdicts, None)
        finally:
            self._stats.count(wall_seconds=time.monotonic() - start)
