"""One call of the judge under way: takes pairs, keeps the workers busy, gives verdicts in the order of the pairs.

However many pairs there are, a bounded number is held: they are taken as workers become free, and at most AHEAD
verdicts wait for an earlier one. What the judge itself got wrong is tried again.
"""

import hashlib
import selectors
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sized

from lib.judge import scoring
from lib.judge.job import Job, encoded, refusal
from lib.judge.load import Load, Pace
from lib.judge.memory import Key, Memory
from lib.judge.pool import Pool
from lib.judge.problem import Problem
from lib.judge.verdict import Verdict
from lib.judge.worker import Worker, WorkerFault, check_problem

ATTEMPTS = 8  # with a submission, when the judge fails
AHEAD = 1_000  # pairs taken whose verdicts have not been given yet
_FAULTS = (WorkerFault, OSError, MemoryError, RuntimeError, LookupError, TypeError, ValueError)


class _Place:
    """Of a pair in the line; equal pairs under way share one."""

    verdict: Verdict | None = None


class Stream:
    """Iterate once. `counts` are counted up; `rules`: what a `Job` is made with beside program and problem."""

    def __init__(
        self,
        pairs: Iterable[tuple[str, Problem]],
        rules: dict,
        pool: Pool,
        memory: Memory,
        load: Load,
        pace: Pace,
        counts: dict,
    ):
        self.total = len(pairs) if isinstance(pairs, Sized) else None
        self._pairs, self._rules, self._pool, self._memory = iter(pairs), rules, pool, memory
        self._load, self._pace, self._counts = load, pace, counts
        self._line: deque[_Place] = deque()
        self._under_way: dict[Key, _Place] = {}
        self._waiting: deque[Job] = deque()  # to be started: new, or to be tried again
        self._running: dict[Worker, Job] = {}
        self._selector = selectors.DefaultSelector()
        self._queued, self._came = self.total or 0, time.monotonic()
        load.change(self._queued, calls=1)

    def __iter__(self) -> Iterator[Verdict]:
        while True:
            while self._pool.free and (self._waiting or self._take()) and self._pace.delay() == 0:
                self._start(self._waiting.popleft())
            ready = bool(self._line) and self._line[0].verdict is not None
            if self.total and not self._waiting:  # nothing to wait for: one is made ready while the workers work
                self._take()
            if self._running:
                self._step(wait=not ready)
            elif self._waiting:
                time.sleep(self._pace.delay())
            if ready:
                yield self._line.popleft().verdict
            elif not self._line:
                return

    def stop(self) -> None:
        """Leaves nothing running: what runs now is of no use."""
        for worker in self._running:
            self._pool.drop(worker)
        self._running.clear()

    def close(self) -> None:
        """Leaves the queue; after `stop`, and also if its turn never came."""
        self._selector.close()
        self._load.change(-self._queued, calls=-1)

    def _take(self) -> bool:
        """Takes pairs until one has to wait for a worker. Returns whether there is one."""
        while len(self._line) < AHEAD and (pair := next(self._pairs, None)) is not None:
            self._counts["programs"] += 1
            entered = self._came
            if self.total is None:
                self._queue(1)
                entered = time.monotonic()
            program, problem = pair
            source = encoded(program)
            check_problem(problem)
            prepared = self._memory.prepare(problem)
            key = (hashlib.sha256(source).digest(), prepared.digest)
            place = self._under_way.get(key)
            known = place is not None
            if place is None:
                place = _Place()
                place.verdict = self._memory.recall(key, prepared)
                known = place.verdict is not None
                place.verdict = place.verdict or refusal(source, prepared)
            self._counts["cache_hits"] += known
            self._line.append(place)
            if not known and place.verdict is None:
                self._under_way[key] = place
                self._waiting.append(Job(key, program, problem, entered=entered, **self._rules))
                return True
            self._queue(-1)
        return False

    def _queue(self, change: int) -> None:
        self._queued += change
        self._load.change(change)

    def _start(self, job: Job) -> None:
        self._pace.started()
        self._queue(-1)
        if job.attempts == 0:
            self._load.waited(time.monotonic() - job.entered)
        try:
            worker = self._pool.take()
        except _FAULTS as error:  # tried often enough
            job.attempts = ATTEMPTS
            return self._failed(job, None, error)
        try:
            job.start(worker, encoded(job.program), self._memory.prepare(job.problem))
        except _FAULTS as error:
            self._failed(job, worker, error)
        except BaseException:
            self._pool.drop(worker)
            raise
        else:
            self._running[worker] = job
            job.began = time.monotonic()
            self._selector.register(worker.socket, selectors.EVENT_READ, worker)

    def _step(self, wait: bool) -> None:
        """Deals with the workers that have something to say, or have been silent for too long. `wait`s for one, unless
        it becomes time to start another."""
        patience = min(worker.deadline for worker in self._running) - time.monotonic()
        if self._waiting and self._pool.free:
            patience = min(patience, self._pace.delay())
        ready = [event.data for event, _ in self._selector.select(max(0.0, patience) if wait else 0)]
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
                self._memory.remember(job.key, verdict)
                self._counts["tests"] += len(verdict.tests)
                self._counts["judge_seconds"] += verdict.judge_time
                self._under_way.pop(job.key).verdict = verdict

    def _take_off(self, worker: Worker) -> None:
        self._selector.unregister(worker.socket)
        self._counts["busy_seconds"] += time.monotonic() - self._running.pop(worker).began

    def _failed(self, job: Job, worker: Worker | None, error: Exception) -> None:
        if worker is not None:
            self._pool.drop(worker)
        job.attempts += 1
        if job.attempts < ATTEMPTS:
            self._counts["retries"] += 1
            self._queue(1)
            self._waiting.append(job)
        else:
            failed = scoring.failed_judge(job.problem, str(error) or type(error).__name__)
            self._under_way.pop(job.key).verdict = failed
