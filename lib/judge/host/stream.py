"""One call of the judge: takes pairs, keeps the workers busy, yields verdicts in the order of the pairs.

Memory stays bounded however many pairs there are: pairs are taken as workers become free, and at most AHEAD verdicts
wait for an earlier one. Submissions with which the judge failed are tried again.
"""

import hashlib
import re
import selectors
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sized

from ..errors import WorkerFault
from ..problem import Problem
from ..verdict import Verdict
from . import scoring
from .job import Job, refusal
from .memory import Key, Memory
from .pool import Pool
from .prepared import check_problem, encoded
from .stats import Stats
from .worker import Worker

ATTEMPTS = 8  # per submission, when the judge fails
AHEAD = 1_000  # pairs that are taken before the verdict on the first of them is given
_FAULTS = (WorkerFault, OSError, MemoryError, RuntimeError, LookupError, TypeError, ValueError)
_COMMENT = re.compile(rb"(?m)^([^'\"#\n]*)#.*$")


def without_comments(source: bytes) -> bytes:
    """The program without comments and white space that mean nothing, as far as a quick look can tell."""
    source = source.replace(b"\r\n", b"\n")
    if any(mark in source for mark in (b"\r", b"\\\n", b"'''", b'"""')):  # a line may begin anywhere
        return source
    return b"\n".join(line for line in map(bytes.rstrip, _COMMENT.sub(rb"\1", source).split(b"\n")) if line)


def shareable(verdict: Verdict) -> bool:
    """Whether programs that differ in comments alone have this very verdict: one that shows nothing of the program."""
    failures = [result.error_type for result in verdict.tests if result.error_type != "success"]
    return failures[:1] == ["timeout"]


class _Place:
    """The place of a pair in the line of verdicts; equal pairs in progress share a place."""

    verdict: Verdict | None = None


class Stream:
    """Iterate once. Then `stop` ends what is running and `close` leaves the queue. `strict`: see `Judge`; `modules`:
    those that programs may import besides the standard library."""

    def __init__(
        self,
        pairs: Iterable[tuple[str, Problem]],
        pool: Pool,
        memory: Memory,
        stats: Stats,
        strict: bool = False,
        modules: tuple[str, ...] = (),
    ):
        self.total = len(pairs) if isinstance(pairs, Sized) else None
        self._pairs, self._pool, self._memory, self._stats, self._strict = iter(pairs), pool, memory, stats, strict
        self._modules = modules
        self._line: deque[_Place] = deque()
        self._in_progress: dict[Key, _Place] = {}
        self._waiting: deque[Job] = deque()  # to be started: new, or to be tried again
        self._running: dict[Worker, Job] = {}
        self._held: dict[Key, list[Job]] = {}  # by `alike` of a running job: those that wait for its verdict
        self._selector = selectors.DefaultSelector()
        self._queued, self._began = self.total or 0, time.monotonic()
        stats.queue(self._queued, calls=1)

    def __iter__(self) -> Iterator[Verdict]:
        while True:
            while self._pool.free and (self._waiting or self._take()):
                self._start(self._waiting.popleft())
            if self.total and not self._waiting:  # prepare the next job while the workers work
                self._take()
            first = self._line[0].verdict if self._line else None
            if self._running:
                self._step(wait=first is None)
            if first is not None:
                self._line.popleft()
                yield first
            elif not self._line:
                return

    def stop(self) -> None:
        """Ends the running submissions: nobody will ask for their verdicts."""
        for worker in self._running:
            self._pool.drop(worker)
        self._running.clear()

    def close(self) -> None:
        """Leaves the queue; after `stop`, and also if the call never had its turn."""
        self._selector.close()
        self._stats.queue(-self._queued, calls=-1)

    def _take(self) -> bool:
        """Takes pairs until one of them needs a worker. Returns whether there is one."""
        while len(self._line) < AHEAD and (pair := next(self._pairs, None)) is not None:
            self._stats.count(programs=1)
            entered = self._began
            if self.total is None:
                self._queue(1)
                entered = time.monotonic()
            program, problem = pair
            source = encoded(program)
            check_problem(problem, self._modules)
            prepared = self._memory.prepare(problem)
            key = (hashlib.sha256(source).digest(), prepared.digest)
            place, known = self._in_progress.get(key), True
            if place is None:
                place = _Place()
                alike = (
                    hashlib.sha256(b"alike" + hashlib.sha256(without_comments(source)).digest()).digest(),
                    prepared.digest,
                )
                place.verdict = self._memory.recall(key, prepared) or self._memory.recall(alike, prepared)
                known = place.verdict is not None
                place.verdict = place.verdict or refusal(source, prepared)
            self._stats.count(cache_hits=known)
            self._line.append(place)
            if not known and place.verdict is None:
                self._in_progress[key] = place
                self._waiting.append(Job(key, alike, program, problem, entered, self._strict))
                return True
            self._queue(-1)
        return False

    def _queue(self, change: int) -> None:
        self._queued += change
        self._stats.queue(change)

    def _start(self, job: Job) -> None:
        if job.alike in self._held:
            self._held[job.alike].append(job)
            return
        self._queue(-1)
        if job.attempts == 0:
            self._stats.waited(time.monotonic() - job.entered)
        try:
            worker = self._pool.take()
        except _FAULTS as error:  # the pool has tried often enough
            job.attempts = ATTEMPTS
            return self._failed(job, None, error)
        try:
            job.start(worker, self._memory.prepare(job.problem))
        except _FAULTS as error:
            self._failed(job, worker, error)
        except BaseException:
            self._pool.drop(worker)
            raise
        else:
            self._running[worker] = job
            self._held[job.alike] = []
            self._selector.register(worker.socket, selectors.EVENT_READ, worker)

    def _step(self, wait: bool) -> None:
        """Handles workers that have sent a frame or have been silent for too long; waits for one if asked to."""
        patience = max(0.0, min(worker.deadline for worker in self._running) - time.monotonic())
        ready = [event.data for event, _ in self._selector.select(patience if wait else 0)]
        silent = [w for w in self._running if w not in ready and time.monotonic() > w.deadline]
        for worker in ready + silent:
            job = self._running[worker]
            try:
                if worker in silent:
                    raise WorkerFault("a worker did not answer")
                prepared = self._memory.prepare(job.problem)
                if not job.advance(worker, prepared):
                    continue
                verdict = job.verdict(prepared)
            except _FAULTS as error:
                self._take_off(worker)
                self._failed(job, worker, error)
            else:
                self._take_off(worker)
                self._pool.give_back(worker)
                self._stats.count(tests=len(verdict.tests), judge_seconds=verdict.judge_time)
                self._ended(job, verdict)

    def _ended(self, job: Job, verdict: Verdict) -> None:
        self._memory.remember(job.key, verdict)
        self._in_progress.pop(job.key).verdict = verdict
        if not shareable(verdict):
            return
        self._memory.remember(job.alike, verdict)
        others = [other for other in self._waiting if other.alike == job.alike]
        for other in others:
            self._waiting.remove(other)
            self._queue(-1)
            self._stats.count(cache_hits=1)
            self._memory.remember(other.key, verdict)
            self._in_progress.pop(other.key).verdict = verdict

    def _take_off(self, worker: Worker) -> None:
        self._selector.unregister(worker.socket)
        job = self._running.pop(worker)
        self._waiting.extendleft(self._held.pop(job.alike))
        self._stats.count(busy_seconds=time.monotonic() - job.began)

    def _failed(self, job: Job, worker: Worker | None, error: Exception) -> None:
        if worker is not None:
            self._pool.drop(worker)
        job.attempts += 1
        if job.attempts < ATTEMPTS:
            self._stats.count(retries=1)
            self._queue(1)
            self._waiting.append(job)
        else:
            verdict = scoring.failed_judge(job.problem, str(error) or type(error).__name__)
            self._in_progress.pop(job.key).verdict = verdict
