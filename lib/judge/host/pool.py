"""The workers of a judge: started, lent, taken back, and replaced after they have died."""

import time
from collections.abc import Callable

from ..errors import IsolationError
from .worker import Worker

PATIENCE = 10  # seconds of attempts to start a worker: whatever kills workers may also kill one that starts


class Pool:
    """`count` workers, made by `new_worker` and started at once. Raises IsolationError if the machine can't isolate.
    `layers`: what isolates programs; `respawns`: workers started later, in place of others."""

    def __init__(self, count: int, new_worker: Callable[[], Worker]):
        self.count, self.respawns, self._new_worker = count, 0, new_worker
        self._idle: list[Worker] = []
        self._busy: set[Worker] = set()
        try:
            for _ in range(count):
                self._idle.append(new_worker())
            for worker in self._idle:
                worker.hello()
            self.layers = self._idle[0].layers
        except BaseException:
            self.close()
            raise

    @property
    def free(self) -> bool:
        """Whether one more worker can be taken."""
        return len(self._busy) < self.count

    def take(self) -> Worker:
        """A worker that is alive. Raises IsolationError or OSError if none can be started for a while."""
        while self._idle:
            worker = self._idle.pop()
            if worker.alive:
                self._busy.add(worker)
                return worker
            worker.kill()  # it died while it was idle
        end = time.monotonic() + PATIENCE
        while True:
            self.respawns += 1
            worker = self._new_worker()
            self._busy.add(worker)
            try:
                worker.hello()
                return worker
            except BaseException as error:
                self.drop(worker)
                if not isinstance(error, IsolationError) or time.monotonic() > end:
                    raise

    def give_back(self, worker: Worker) -> None:
        self._busy.discard(worker)
        self._idle.append(worker)

    def drop(self, worker: Worker) -> None:
        """Ends a worker whose state is unknown; a new one starts when work is waiting."""
        self._busy.discard(worker)
        worker.kill()

    def close(self) -> None:
        for worker in (*self._idle, *self._busy):
            worker.kill()
        self._idle.clear()
        self._busy.clear()
