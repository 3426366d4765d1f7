"""`Judge`: hands programs to a few workers. One thread, no busy waiting; what the judge itself got wrong is retried."""

import asyncio
import hashlib
import selectors
import sys
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

from lib.judge import scoring
from lib.judge.job import Job, encoded, refusal
from lib.judge.verdict import Verdict
from lib.judge.worker import PreparedProblem, Worker, WorkerFault, check_problem
from lib.problems import Problem

ATTEMPTS = 4  # with a submission, when the judge fails
CACHED_VERDICTS = 2_000
PREPARED_PROBLEMS = 64
_FAULTS = (WorkerFault, OSError, MemoryError, RuntimeError, LookupError, TypeError, ValueError)
_ISOLATION = {
    "namespaces": "namespaces (user, mount, pid, network, ipc, uts), read-only root, no capabilities, seccomp, rlimits",
    "none": "no namespaces: seccomp and rlimits only, this user's files can be read",
}


class Judge:
    """Judges programs in `workers` isolated processes, at most that many at once.

    `isolation`: "namespaces", or "none" where a machine can't have them. `stop_at_timeout`: a submission ends at its
    first timeout; `stop_at_first_failure`: at its first test that fails, for rewards that ask for all or nothing.
    `strict`: every test in a process and a namespace of its own, also those that a quick pass would settle.
    `cache`: a folder where verdicts are kept for later runs and other processes. `backend`: "local", this machine, or
    "sandbox_fusion", servers at the addresses `url`; there `isolation` means the servers', and everything is strict.
    Raises IsolationError if the machine can't isolate, ServerError if no server can judge. Use it as a context manager,
    or call `close`.
    """

    def __init__(
        self,
        workers: int = 2,
        isolation: str = "namespaces",
        stop_at_timeout: bool = True,
        stop_at_first_failure: bool = False,
        strict: bool = False,
        cache: str | Path | None = None,
        backend: str = "local",
        url: str | Iterable[str] | None = None,
    ):
        if workers < 1:
            raise ValueError(f"workers must be at least 1, not {workers}")
        if isolation not in _ISOLATION:
            raise ValueError(f"isolation must be one of {', '.join(_ISOLATION)}, not {isolation!r}")
        if backend not in ("local", "sandbox_fusion") or (backend == "local" and url is not None):
            raise ValueError(f"backend must be local, or sandbox_fusion with a url, not {backend!r} with {url!r}")
        self._isolation, self._workers, self._strict = isolation, workers, strict or backend != "local"
        self._where, self._hire = "", partial(Worker, isolation)
        if backend == "sandbox_fusion":
            from lib.judge.sandbox_fusion import RemoteWorker, Servers  # here: else nobody needs requests

            servers = Servers(url, isolation)
            self._where, self._hire = str(servers), partial(RemoteWorker, servers)
        self._disk, self._salt = None, b""
        if cache is not None:
            from lib.judge.cache import VerdictCache, judge_version  # here: without a cache nothing beyond Python

            self._disk, self._salt = VerdictCache(cache), judge_version()
        self._stops = frozenset(["timeout"] * stop_at_timeout + ["failure"] * stop_at_first_failure)
        self._lock = threading.Lock()
        self._prepared: OrderedDict[int, PreparedProblem] = OrderedDict()
        self._verdicts: OrderedDict[tuple[bytes, bytes], Verdict] = OrderedDict()
        self._counts = {"programs": 0, "tests": 0, "cache_hits": 0, "retries": 0, "respawns": 0}
        self._judge_seconds = self._wall_seconds = self._busy_seconds = 0.0
        self._waiting = 0
        self._closed = False
        self._idle: list[Worker] = []
        try:
            for _ in range(workers):
                self._idle.append(self._hire())
            for worker in self._idle:
                worker.hello()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> "Judge":
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def close(self) -> None:
        """Ends the workers. The judge can't be used again."""
        self._closed = True
        for worker in self._idle:
            worker.kill()
        self._idle.clear()
        if self._disk:
            self._disk.close()
        for prepared in self._prepared.values():
            prepared.close()
        self._prepared.clear()

    @property
    def isolation(self) -> str:
        """What keeps a program apart from the machine."""
        return (f"{self._where}, inside it " if self._where else "") + _ISOLATION[self._isolation]

    def stats(self) -> dict[str, int | float]:
        """Counts since the start: `programs` asked for, `tests` run, `cache_hits`, `retries`, `respawns` of workers;
        `queue_length`: programs waiting now. Seconds: of CPU spent in programs (`judge_seconds`), of wall time spent in
        `judge_many` (`wall_seconds`), of all workers at work (`busy_seconds`). Of these: `tests_per_s`, and
        `utilisation`, the share of its wall time that a worker was at work, in [0, 1]."""
        wall, busy = self._wall_seconds, self._busy_seconds
        return {
            **self._counts,
            "queue_length": self._waiting,
            "judge_seconds": self._judge_seconds,
            "wall_seconds": wall,
            "busy_seconds": busy,
            "tests_per_s": self._counts["tests"] / wall if wall else 0.0,
            "utilisation": min(1.0, busy / (wall * self._workers)) if wall else 0.0,
        }

    def judge(self, program: str, problem: Problem) -> Verdict:
        """Judges one program. Raises as `judge_many`."""
        return self.judge_many([(program, problem)])[0]

    def judge_many(self, pairs: Iterable[tuple[str, Problem]], progress: bool = False) -> list[Verdict]:
        """Judges (program, problem) pairs; the verdicts come in the order of the pairs.

        Equal pairs are judged once. A submission that the judge failed with is tried again on other workers, ATTEMPTS
        times in all, and then becomes an `api_error`. `progress` shows a counter on a terminal. Raises TypeError for a
        program that is no string, ValueError for a problem without tests or with limits that make no sense,
        RuntimeError after `close`.
        """
        if self._closed:
            raise RuntimeError("this judge is closed")
        pairs = list(pairs)
        for program, problem in pairs:
            encoded(program)
            check_problem(problem)
        with self._lock:
            start = time.monotonic()
            try:
                return self._judge_many(pairs, progress and sys.stderr.isatty())
            finally:
                self._wall_seconds += time.monotonic() - start

    async def judge_async(self, pairs: Iterable[tuple[str, Problem]]) -> list[Verdict]:
        """As `judge_many`, for callers with an event loop: it goes on while a thread waits for the workers. Calls that
        overlap are served one after the other."""
        return await asyncio.to_thread(self.judge_many, pairs)

    def _judge_many(self, pairs: list[tuple[str, Problem]], progress: bool) -> list[Verdict]:
        keys: list[tuple[bytes, bytes]] = []
        found: dict[tuple[bytes, bytes], Verdict | None] = {}
        retries: deque[Job] = deque()
        jobs = self._jobs(pairs, keys, found)
        running: dict[Worker, Job] = {}
        with selectors.DefaultSelector() as selector:
            try:
                while True:
                    while len(running) < self._workers and (job := retries.popleft() if retries else next(jobs, None)):
                        self._start(job, running, selector, retries, found)
                    if running:
                        self._step(running, selector, retries, found)
                    elif not retries:
                        break
                    self._waiting = len(pairs) - len(keys) + len(retries)
                    if progress:
                        done = len(keys) - len(running)
                        print(f"\rjudged {done} of {len(pairs)}", end="", file=sys.stderr, flush=True)
            finally:
                self._waiting = 0
                for worker in running:  # interrupted: what runs now is of no use
                    worker.kill()
        if progress:
            print(file=sys.stderr)
        return [found[key] for key in keys]

    def _jobs(self, pairs: list, keys: list, found: dict) -> Iterator[Job]:
        """What has to be judged, taken as workers become free, so that only the problems in use are prepared."""
        for program, problem in pairs:
            source = encoded(program)
            prepared = self._prepare(problem)
            key = (hashlib.sha256(source).digest(), prepared.digest)
            keys.append(key)
            self._counts["programs"] += 1
            if key in found:
                self._counts["cache_hits"] += 1
            elif key in self._verdicts:
                self._counts["cache_hits"] += 1
                self._verdicts.move_to_end(key)
                found[key] = self._verdicts[key]
            else:
                found[key] = refusal(source, prepared)
                if (
                    found[key] is None
                    and self._disk
                    and (known := self._disk.get(self._name(key), sum(prepared.cases)))
                ):
                    self._counts["cache_hits"] += 1
                    found[key] = known
                if found[key] is None:
                    yield Job(key, program, problem, self._stops, self._strict)

    def _name(self, key: tuple[bytes, bytes]) -> bytes:
        """What a submission is called on disk, where other judges with other rules write too."""
        rules = repr((sorted(self._stops), self._isolation, self._strict, self._where)).encode()
        return hashlib.sha256(b"".join((*key, self._salt, rules))).digest()

    def _start(self, job: Job, running: dict, selector, retries: deque, found: dict) -> None:
        worker = None
        try:
            while self._idle and worker is None:
                worker = self._idle.pop()
                if not worker.alive:  # it died while nobody was looking
                    worker.kill()
                    worker = None
            if worker is None:
                self._counts["respawns"] += 1
                worker = self._hire()
                worker.hello()
            job.start(worker, encoded(job.program), self._prepare(job.problem))
        except _FAULTS as error:
            self._failed(job, worker, error, retries, found)
        except BaseException:
            if worker is not None:
                worker.kill()
            raise
        else:
            running[worker] = job
            job.began = time.monotonic()
            selector.register(worker.socket, selectors.EVENT_READ, worker)

    def _step(self, running: dict, selector, retries: deque, found: dict) -> None:
        """Waits until a worker has something to say, or has been silent for too long, and deals with it."""
        patience = min(worker.deadline for worker in running) - time.monotonic()
        ready = [event.data for event, _ in selector.select(max(0.0, patience))]
        silent = [worker for worker in running if worker not in ready and time.monotonic() > worker.deadline]
        for worker in ready + silent:
            job = running[worker]
            try:
                if worker in silent:
                    raise WorkerFault("a worker did not answer")
                if not job.advance(worker, self._prepare(job.problem)):
                    continue
                found[job.key] = self._remember(job.key, job.verdict(self._prepare(job.problem)))
            except _FAULTS as error:
                self._take_off(worker, running, selector)
                self._failed(job, worker, error, retries, found)
            else:
                self._take_off(worker, running, selector)
                self._idle.append(worker)

    def _take_off(self, worker: Worker, running: dict, selector) -> None:
        selector.unregister(worker.socket)
        self._busy_seconds += time.monotonic() - running.pop(worker).began

    def _remember(self, key: tuple[bytes, bytes], verdict: Verdict) -> Verdict:
        self._verdicts[key] = verdict
        if self._disk:
            self._disk.put(self._name(key), verdict)
        if len(self._verdicts) > CACHED_VERDICTS:
            self._verdicts.popitem(last=False)
        self._counts["tests"] += len(verdict.tests)
        self._judge_seconds += verdict.judge_time
        return verdict

    def _failed(self, job: Job, worker: Worker | None, error: Exception, retries: deque, found: dict) -> None:
        if worker is not None:
            worker.kill()  # its state is unknown; another one is started when work is waiting
        job.attempts += 1
        if job.attempts < ATTEMPTS:
            self._counts["retries"] += 1
            retries.append(job)
        else:
            found[job.key] = scoring.failed_judge(job.problem, str(error) or type(error).__name__)

    def _prepare(self, problem: Problem) -> PreparedProblem:
        """The prepared form, kept for the problems used last; by identity, since a hash reads all tests."""
        prepared = self._prepared.get(id(problem))
        if prepared is None:
            prepared = self._prepared[id(problem)] = PreparedProblem(problem)
            if len(self._prepared) > PREPARED_PROBLEMS:
                self._prepared.popitem(last=False)[1].close()
        else:
            self._prepared.move_to_end(id(problem))
        return prepared
