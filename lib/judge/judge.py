"""`Judge`: a queue over a few workers. One thread, no busy waiting; retries what the judge itself got wrong."""

import hashlib
import selectors
import sys
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Iterable

from lib.judge import scoring
from lib.judge.verdict import TestResult, Verdict
from lib.judge.worker import OUTPUT_LIMIT, PreparedProblem, Worker, WorkerFault
from lib.problems import Problem

CACHED_VERDICTS = 20_000
PREPARED_PROBLEMS = 64
LONGEST_PROGRAM = 4 << 20  # bytes
_ISOLATION = {
    "namespaces": "namespaces (user, mount, pid, network, ipc, uts), read-only root, no capabilities, seccomp, rlimits",
    "none": "no namespaces: seccomp and rlimits only, this user's files can be read",
}


class Judge:
    """Judges programs in `workers` isolated processes, at most that many at once.

    `isolation`: "namespaces", or "none" where a machine can't have them. `stop_at_timeout`: a submission ends at its
    first timeout. Raises IsolationError if the machine can't isolate. Use it as a context manager, or call `close`.
    """

    def __init__(self, workers: int = 2, isolation: str = "namespaces", stop_at_timeout: bool = True):
        if workers < 1:
            raise ValueError(f"workers must be at least 1, not {workers}")
        if isolation not in _ISOLATION:
            raise ValueError(f"isolation must be one of {', '.join(_ISOLATION)}, not {isolation!r}")
        self._isolation, self._stop_at_timeout = isolation, stop_at_timeout
        self._lock = threading.Lock()
        self._prepared: OrderedDict[int, PreparedProblem] = OrderedDict()
        self._verdicts: OrderedDict[tuple[bytes, bytes], Verdict] = OrderedDict()
        self._counts = {"programs": 0, "tests": 0, "cache_hits": 0, "retries": 0, "respawns": 0}
        self._judge_seconds = self._wall_seconds = 0.0
        self._idle: list[Worker] = []
        self._closed = False
        self._workers = workers
        try:
            self._idle = [Worker(isolation) for _ in range(workers)]
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
        for prepared in self._prepared.values():
            prepared.close()
        self._prepared.clear()

    @property
    def isolation(self) -> str:
        """What keeps a program apart from the machine."""
        return _ISOLATION[self._isolation]

    def stats(self) -> dict[str, int | float]:
        """Counts since the start: programs asked for, tests run, cache hits, retries, respawns of workers; CPU seconds
        spent in programs (`judge_seconds`) and wall seconds spent in `judge_many` (`wall_seconds`)."""
        return {**self._counts, "judge_seconds": self._judge_seconds, "wall_seconds": self._wall_seconds}

    def judge(self, program: str, problem: Problem) -> Verdict:
        """Judges one program. Raises as `judge_many`."""
        return self.judge_many([(program, problem)])[0]

    def judge_many(self, pairs: Iterable[tuple[str, Problem]], progress: bool = False) -> list[Verdict]:
        """Judges (program, problem) pairs; the verdicts come in the order of the pairs.

        Equal pairs are judged once. A failure of the judge is tried once more on another worker and then becomes an
        `api_error`. `progress` shows a counter on a terminal. Raises ValueError for a problem without tests or with
        limits that make no sense, TypeError for a program that is no string, RuntimeError after `close`.
        """
        if self._closed:
            raise RuntimeError("this judge is closed")
        with self._lock:
            start = time.monotonic()
            try:
                return self._judge_many(list(pairs), progress and sys.stderr.isatty())
            finally:
                self._wall_seconds += time.monotonic() - start

    def _judge_many(self, pairs: list[tuple[str, Problem]], progress: bool) -> list[Verdict]:
        keys, queue, found = [], deque(), {}
        for program, problem in pairs:
            source = _source(program)
            key = (hashlib.sha256(source).digest(), self._prepare(problem).digest)
            keys.append(key)
            self._counts["programs"] += 1
            if key in found:
                self._counts["cache_hits"] += 1
            elif (cached := self._verdicts.get(key)) is not None:
                self._counts["cache_hits"] += 1
                self._verdicts.move_to_end(key)
                found[key] = cached
            else:
                found[key] = refused = _refusal(source, problem)
                if refused is None:
                    queue.append(_Job(key, program, problem))
        total = len(queue)
        with selectors.DefaultSelector() as selector:
            try:
                while queue or selector.get_map():
                    while queue and len(selector.get_map()) < self._workers:
                        self._start(queue.popleft(), selector, queue, found)
                    self._step(selector, queue, found)
                    if progress:
                        left = len(queue) + len(selector.get_map())
                        print(f"\rjudged {total - left} of {total}", end="", file=sys.stderr, flush=True)
            finally:
                for registered in list(selector.get_map().values()):  # interrupted: what runs now is of no use
                    registered.data[0].kill()
        if progress:
            print(file=sys.stderr)
        return [found[key] for key in keys]

    def _start(self, job: "_Job", selector, queue: deque, found: dict) -> None:
        worker = self._idle.pop() if self._idle else None
        try:
            if worker is None:
                self._counts["respawns"] += 1
                worker = Worker(self._isolation)
                worker.hello()
            worker.submit(_source(job.program), self._prepare(job.problem), self._stop_at_timeout)
        except (WorkerFault, OSError, MemoryError, RuntimeError) as error:
            self._failed(job, worker, str(error), queue, found)
        else:
            selector.register(worker.socket, selectors.EVENT_READ, (worker, job))

    def _step(self, selector, queue: deque, found: dict) -> None:
        """Waits until a worker has something to say or has been silent for too long, and deals with it."""
        running = [registered.data for registered in selector.get_map().values()]
        if not running:
            return
        patience = min(worker.deadline for worker, _ in running) - time.monotonic()
        ready = [registered.data for registered, _ in selector.select(max(0.0, patience))]
        for worker, job in ready:
            try:
                done = job.advance(worker, self._prepare(job.problem))
            except (WorkerFault, OSError, MemoryError, LookupError, TypeError, ValueError) as error:
                selector.unregister(worker.socket)
                self._failed(job, worker, str(error) or type(error).__name__, queue, found)
            else:
                if done:
                    selector.unregister(worker.socket)
                    self._idle.append(worker)
                    self._finished(job, found)
        for worker, job in running if not ready else ():
            if time.monotonic() > worker.deadline:
                selector.unregister(worker.socket)
                self._failed(job, worker, "a worker did not answer", queue, found)

    def _finished(self, job: "_Job", found: dict) -> None:
        verdict = job.verdict()
        found[job.key] = self._verdicts[job.key] = verdict
        if len(self._verdicts) > CACHED_VERDICTS:
            self._verdicts.popitem(last=False)
        self._counts["tests"] += len(verdict.tests)
        self._judge_seconds += verdict.judge_time

    def _failed(self, job: "_Job", worker: Worker | None, reason: str, queue: deque, found: dict) -> None:
        if worker is not None:
            worker.kill()  # its state is unknown; another one is started when work is waiting
        if job.first_attempt:
            self._counts["retries"] += 1
            queue.append(_Job(job.key, job.program, job.problem, first_attempt=False))
        else:
            found[job.key] = scoring.failed_judge(job.problem, reason)

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


class _Job:
    """One submission under way."""

    def __init__(self, key: tuple[bytes, bytes], program: str, problem: Problem, first_attempt: bool = True):
        self.key, self.program, self.problem, self.first_attempt = key, program, problem, first_attempt
        self.results: dict[int, TestResult] = {}
        self.stderr: dict[int, str] = {}

    def advance(self, worker: Worker, prepared: PreparedProblem) -> bool:
        """Takes one frame of the worker. Returns whether it was the last one. Raises WorkerFault, and LookupError,
        TypeError or ValueError on a frame that makes no sense."""
        header, output = worker.receive(self.problem)
        if "ask" in header:
            first, end = header["ask"]
            worker.ask_again([test for test in range(first, end) if test not in self.results])
        elif "test" in header:
            test = header["test"]
            expected = prepared.expected[test]
            if header.get("alone"):
                self.results[test] = scoring.alone_result(header, output, expected, self.problem, OUTPUT_LIMIT)
                self.stderr[test] = header["stderr"]
            elif (result := scoring.quick_result(header, output, expected)) is not None:
                self.results[test] = result
        return bool(header.get("done"))

    def verdict(self) -> Verdict:
        results = [self.results[test] for test in sorted(self.results)]
        failing = [test for test in sorted(self.results) if self.results[test].error_type != "success"]
        stderr = self.stderr.get(failing[0], "") if failing else ""
        return scoring.verdict(results, self.problem, self.program, stderr)


def _source(program: str) -> bytes:
    if not isinstance(program, str):
        raise TypeError(f"a program is a string, not {type(program).__name__}")
    return program.encode("utf-8", "surrogatepass")


def _refusal(source: bytes, problem: Problem) -> Verdict | None:
    """The verdict on what need not be run."""
    if not source.strip():
        reason = "empty program"
    elif len(source) > LONGEST_PROGRAM:
        reason = f"program longer than {LONGEST_PROGRAM} bytes"
    else:
        return None
    return scoring.verdict([TestResult("syntax_error", detail=reason)], problem, "", reason)
