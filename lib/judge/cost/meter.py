"""What a program costs: how much the processor does, and the same number every time, whatever else the machine does.

    with Meter(workers=2) as meter:            # counts by the best tier that this machine has
        costs = meter.measure_many([(program, problem), ...])

A program is as isolated as in a submission, and has a cost only if it gives the right answers where it is measured: to
do less work there does not pay. Each run follows a run of an empty program, whose count is subtracted. Compiling is not
counted; imports, threads and exit functions are. README.md says what each tier counts and how it could be cheated.
"""

import hashlib
import queue
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from ..errors import WorkerFault
from ..host.prepared import check_problem, encoded
from ..problem import Problem
from .process import TIERS, Cost, CostError, CountingProcess

ATTEMPTS = 3
REMEMBERED = 100_000  # costs


class Meter:
    """Measures costs by the first of `tiers` that works here, in `workers` processes. `tier`: its name; `skipped`: tier
    -> why it does not work. `isolation`: as of `Judge`. Raises CostError if no tier works. Use it as a context manager,
    or call `close`."""

    def __init__(self, workers: int = 2, tiers: Sequence[str] = TIERS, isolation: str = "namespaces"):
        self.skipped: dict[str, str] = {}
        self.measured = self.remembered = 0  # programs measured, and found in memory
        self.cpu_seconds = 0.0  # of the measurements, without the start of processes
        self._isolation, self._known, self._lock = isolation, dict[bytes, Cost](), threading.Lock()
        self._idle: queue.LifoQueue[CountingProcess | None] = queue.LifoQueue()
        for self.tier in tiers:
            try:
                counter = CountingProcess(self.tier, isolation)
                break
            except CostError as error:
                self.skipped[self.tier] = str(error)
        else:
            raise CostError(f"nothing here counts: {self.skipped}")
        for _ in range(workers - 1):
            self._idle.put(None)  # starts when it is needed
        self._idle.put(counter)
        self._threads = ThreadPoolExecutor(workers)

    def __enter__(self) -> "Meter":
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def close(self) -> None:
        """Ends the counting processes. The meter can't be used again."""
        self._threads.shutdown(cancel_futures=True)
        while not self._idle.empty():
            if counter := self._idle.get():
                counter.kill()

    def measure(self, program: str, problem: Problem) -> Cost:
        """The cost of a program on all tests of a problem; see `measure_many`."""
        return self.measure_many([(program, problem)])[0]

    def measure_many(self, pairs: Sequence[tuple[str, Problem]]) -> list[Cost]:
        """The costs of (program, problem) pairs, in their order. Equal pairs are measured once in the life of a meter.

        Meant for programs that the judge has accepted: a wrong program has an error type and no count, but only
        outputs are compared, and limits are far above the problem's. Raises what `Judge.judge_many` raises.
        """
        keys = [self._key(program, problem) for program, problem in pairs]
        new = {key: pair for key, pair in zip(keys, pairs, strict=True) if key not in self._known}
        costs = dict(zip(new, self._threads.map(lambda pair: self._measured(*pair), new.values()), strict=True))
        self.measured, self.remembered = self.measured + len(new), self.remembered + len(pairs) - len(new)
        costs |= {key: self._known[key] for key in keys if key not in costs}
        for key in new:
            if costs[key].error_type != "api_error":
                self._known[key] = costs[key]
        while len(self._known) > REMEMBERED:
            del self._known[next(iter(self._known))]
        return [costs[key] for key in keys]

    def _key(self, program: str, problem: Problem) -> bytes:
        check_problem(problem)
        parts = [self.tier, sys.version, program, problem.checker, *(f"{t.input}\0{t.output}" for t in problem.tests)]
        parts.append(repr((problem.kind, problem.prompt, problem.time_limit, problem.memory_limit)))
        digest = hashlib.sha256()
        for part in map(encoded, parts):
            digest.update(len(part).to_bytes(8, "little") + part)
        return digest.digest()

    def _measured(self, program: str, problem: Problem) -> Cost:
        """Measures one program; with another process if one failed, up to ATTEMPTS."""
        counter = self._idle.get()
        try:
            for _ in range(ATTEMPTS):
                try:
                    counter = counter or CountingProcess(self.tier, self._isolation)
                    cost = counter.measure(program, problem)
                    with self._lock:
                        self.cpu_seconds += counter.spent
                    return cost
                except (WorkerFault, CostError):
                    if counter:
                        counter.kill()
                    counter = None
            return Cost(self.tier, None, "api_error")
        finally:
            self._idle.put(counter)
