"""Coroutines across the wire: each end runs its own, on an event loop that the end which awaits keeps going.

`asyncio` is imported only where something really waits: a coroutine that never does is run by `send` alone.
"""

import sys

_SLICE = 0.005  # seconds for which an end keeps its loop running before the other end has its turn
_loops: list = []


async def awaited(ask, stand_in):
    """Awaits what the other end knows as `stand_in`."""
    task = ask("start", stand_in)
    try:
        while not ask("step", task):
            from asyncio import sleep

            await sleep(0)
    except BaseException:
        ask("cancel", task)
        raise
    return ask("result", task)


class _Finished:
    """A coroutine that has run to its end without any event loop."""

    def __init__(self, coroutine):
        self.value = self.error = None
        try:
            coroutine.send(None)
        except StopIteration as end:
            self.value = end.value
        except BaseException as error:
            self.error = error
        else:
            self.error = RuntimeError("a coroutine waits for something, but there is no event loop")

    def done(self) -> bool:
        return True

    def result(self):
        if self.error is not None:
            raise self.error
        return self.value


async def _run(awaitable):
    return await awaitable


def _start(awaitable):
    if "asyncio" not in sys.modules:
        return _Finished(_run(awaitable))
    import asyncio

    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        if not _loops:
            _loops.append(asyncio.new_event_loop())
        loop = _loops[0]
    return loop.create_task(_run(awaitable))


def _step(task) -> bool:
    """Keeps the loop of this end running for a moment. Returns whether the task is done."""
    if not task.done() and not task.get_loop().is_running():
        import asyncio

        task.get_loop().run_until_complete(asyncio.wait({task}, timeout=_SLICE))
    return task.done()


OPERATIONS = {
    "start": _start,
    "step": _step,
    "result": lambda task: task.result(),
    "cancel": lambda task: None if task.done() else task.cancel(),
    "aiter": lambda target: target.__aiter__(),
    "anext": lambda target: target.__anext__(),
    "aenter": lambda target: target.__aenter__(),
    "aexit": lambda target, *ending: target.__aexit__(*ending),
}
