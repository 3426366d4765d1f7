import asyncio
import os
import signal

import pytest

from lib.runs.papermill.client import interruptible


@pytest.mark.parametrize(("number", "raised"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)])
def test_a_signal_ends_no_task_in_the_middle_of_a_step(number, raised):
    noted = []

    async def read():
        os.kill(os.getpid(), number)
        noted.append("what the kernel sent")
        await asyncio.sleep(60)

    loop = asyncio.new_event_loop()
    task = loop.create_task(read())
    with pytest.raises(raised), interruptible():
        loop.run_until_complete(task)
    assert noted == ["what the kernel sent"]
    assert not task.done(), "it can be waited for still"
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        loop.run_until_complete(task)
    loop.close()


@pytest.mark.parametrize(("number", "raised"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)])
def test_without_a_loop_it_is_raised_at_once(number, raised):
    with pytest.raises(raised), interruptible():
        os.kill(os.getpid(), number)
